"""The recipe for 3.3B → 600M: read by fairseq2, and run in two processes with tiny models."""

import json
import os
import subprocess
import sys

import pytest
import yaml
from tiny_encoder_decoder import LANGUAGES, NLLB_RECIPE, PAIR_MODEL, teacher_of

from sekd_plugin.cli import main


def test_fairseq2_reads_the_recipe_whole(capfd):
    code = main(["train", "--config-file", str(NLLB_RECIPE), "--dump-config"])

    dumped = yaml.safe_load(capfd.readouterr().out)
    assert code == 0
    written = yaml.safe_load(NLLB_RECIPE.read_text(encoding="utf-8"))
    for section in ("gang", "trainer", "regime", "translation", "tokenizer"):
        for key, value in written[section].items():
            found = dumped[section][key]
            assert found == (found | value if isinstance(value, dict) else value), key


@pytest.mark.slow
def test_the_recipe_trains_tiny_models_in_two_processes(
    pair_workshop, pair_teacher, shared_folder, language_file
):
    files = {
        split: [{"path": str(shared_folder / f"{split}.jsonl"), "target_language": LANGUAGES[1]}]
        for split in ("train", "valid")
    }
    words = {"family": "nllb", "path": str(language_file), "config_overrides": {"langs": LANGUAGES}}
    settings = [
        f"model={json.dumps({'family': 'nllb', 'config_overrides': PAIR_MODEL})}",
        teacher_of(pair_teacher),
        f"tokenizer={json.dumps(words)}",
        *(f"dataset.{split}={json.dumps(file)}" for split, file in files.items()),
        "dataset.batch_tokens=256",
        "optimizer.config.lr=0.01",
        "lr_scheduler.config.num_warmup_steps=0",
        "regime.num_steps=6",
        "regime.publish_metrics_every_n_steps=2",
        "regime.validate_every_n_steps=6",
        "regime.checkpoint_every_n_steps=6",
    ]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", "2", "-m", "sekd_plugin", "train"]
    command += [str(pair_workshop.folder / "run"), "--config-file", str(NLLB_RECIPE)]
    done = subprocess.run(
        [*command, "--config", *settings],
        env={**os.environ, "OMP_NUM_THREADS": "1", "FAIRSEQ2_DEVICE": "cpu"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stdout

    first, _, last = pair_workshop.metrics("run")
    assert last["Loss"] < first["Loss"]
    assert "Gamma" in last
    assert last["Number of Examples"] > 0
    assert pair_workshop.metrics("run", "valid")[-1]["Loss"] > 0.0
    exported = pair_workshop.folder / "run" / "checkpoints" / "step_6" / "hg"
    assert list(exported.glob("*.safetensors"))


def test_training_from_a_cache_of_all_words_is_training_with_the_live_teacher(
    pair_workshop, pair_teacher
):
    criterion, teacher = "criterion.name=self_evolution_kd", teacher_of(pair_teacher)
    cache = pair_workshop.folder / "cache"
    words = ["cache-teacher", str(cache), "--top-k", "10000", "--probability-bits", "32"]
    assert main([*words, *pair_workshop.arguments((criterion, teacher))]) == 0

    pair_workshop.train("live", criterion, teacher)
    pair_workshop.train("read", criterion, f"teacher_cache.path={cache}")

    for split in ("train", "valid"):
        pairs = zip(
            pair_workshop.metrics("live", split), pair_workshop.metrics("read", split), strict=True
        )
        for live, read in pairs:
            for name in ("Loss", "Difficulty"):
                assert read[name] == pytest.approx(live[name], rel=1e-4, abs=1e-6), name
