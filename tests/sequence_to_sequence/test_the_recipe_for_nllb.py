"""The recipe for 3.3B → 600M: read by fairseq2, and run in two processes with tiny models."""

import json

import pytest
import torch
import yaml
from forked_training import fork_ranks
from same_training import expect_the_same, model_state
from tiny_encoder_decoder import LANGUAGES, NLLB_RECIPE, PAIR_MODEL, teacher_of
from tiny_recipe import Workshop

from sekd_plugin.cli import main


def model_of(**settings):
    """The setting that makes a tiny NLLB the student."""
    section = {"family": "nllb", "config_overrides": PAIR_MODEL | settings}
    return f"model={json.dumps(section)}"


CUT_IN_TWO = "trainer.grad_accumulation.num_batches=2"
CUTS = {
    "one_process": (1, CUT_IN_TWO),
    "two_processes_as_the_recipe_has_them": (
        2,
        CUT_IN_TWO,
        "trainer.mixed_precision.mode=auto",
        "translation.bleu=true",
        "regime.score_metric=bleu",
        "regime.export_hugging_face=true",
    ),
    "two_sharded_processes": (
        2,
        "trainer.grad_accumulation.num_batches=1",
        "trainer.data_parallelism=fsdp",
    ),
    "two_tensor_parallel_processes": (2, CUT_IN_TWO, "gang.tensor_parallel_size=2"),
    "two_tensor_parallel_processes_with_dropout": (
        2,
        CUT_IN_TWO,
        "gang.tensor_parallel_size=2",
        model_of(dropout_p=0.3),
    ),
}


def test_fairseq2_reads_the_recipe_whole(capfd):
    code = main(["train", "--config-file", str(NLLB_RECIPE), "--dump-config"])

    dumped = yaml.safe_load(capfd.readouterr().out)
    assert code == 0
    written = yaml.safe_load(NLLB_RECIPE.read_text(encoding="utf-8"))
    for section in ("gang", "trainer", "regime", "translation", "tokenizer"):
        for key, value in written[section].items():
            found = dumped[section][key]
            assert found == (found | value if isinstance(value, dict) else value), key


@pytest.fixture(scope="module")
def trained(tmp_path_factory, shared_folder, language_file):
    """A folder of runs of the recipe with tiny models: one process's, and two processes'."""
    workshop = Workshop(tmp_path_factory.mktemp("nllb"), NLLB_RECIPE, lambda: ("", ""))
    settings = tiny_settings(shared_folder, language_file)
    teacher = words_of(
        workshop,
        "teacher",
        *settings,
        "teacher=null",
        "criterion={name: cross_entropy, config: null}",
        "common.seed=5",
        CUT_IN_TWO,
    )
    with pytest.MonkeyPatch.context() as during:
        during.setenv("FAIRSEQ2_DEVICE", "cpu")
        assert main(["train", *teacher]) == 0
        checkpoint = teacher_of(workshop.checkpoint("teacher", 6))
        for name, (ranks, *cut) in CUTS.items():
            words = ["train", *words_of(workshop, name, *settings, checkpoint, *cut)]
            if ranks == 1:
                assert main(words) == 0
            else:
                fork_ranks(words, workshop.folder / f"{name}.log", ranks).output()
    return workshop


def tiny_settings(shared_folder, language_file):
    """What of the recipe must be another for tiny models on a CPU in fp32."""
    files = {
        split: [{"path": str(shared_folder / f"{split}.jsonl"), "target_language": LANGUAGES[1]}]
        for split in ("train", "valid")
    }
    words = {"family": "nllb", "path": str(language_file), "config_overrides": {"langs": LANGUAGES}}
    return [
        model_of(),
        f"tokenizer={json.dumps(words)}",
        *(f"dataset.{split}={json.dumps(file)}" for split, file in files.items()),
        "dataset.batch_tokens=256",
        "optimizer.config.lr=0.01",
        # A bias of keys has no gradient but rounding, which must not become a step.
        "optimizer.config.eps=1.0e-5",
        "lr_scheduler.config.num_warmup_steps=0",
        "trainer.mixed_precision.mode=off",
        "translation.bleu=false",
        "regime.export_hugging_face=false",
        "regime.score_metric=null",
        "regime.num_steps=6",
        "regime.publish_metrics_every_n_steps=2",
        "regime.validate_every_n_steps=6",
        "regime.checkpoint_every_n_steps=6",
    ]


def words_of(workshop, run, *settings):
    return [str(workshop.folder / run), *workshop.arguments(settings)]


@pytest.mark.slow
def test_the_recipe_trains_tiny_models_in_two_processes(trained):
    run = "two_processes_as_the_recipe_has_them"
    first, _, last = trained.metrics(run)
    assert last["Loss"] < first["Loss"]
    assert "Gamma" in last
    assert trained.metrics(run, "valid")[-1]["Loss"] > 0.0
    assert "BLEU" in trained.metrics(run, "valid/bleu")[-1]
    exported = trained.folder / run / "checkpoints" / "step_6" / "hg"
    assert list(exported.glob("*.safetensors"))


@pytest.mark.slow
@pytest.mark.parametrize("cut", ["two_sharded_processes", "two_tensor_parallel_processes"])
def test_losses_gamma_and_weights_do_not_depend_on_how_the_step_is_cut(trained, cut):
    expect_the_same(trained, cut, "one_process", 6)


@pytest.mark.slow
def test_tensor_parallel_ranks_drop_the_same_out_and_so_stay_one_model(trained):
    first, *_ = trained.metrics("two_tensor_parallel_processes_with_dropout")
    assert first["Loss"] != pytest.approx(trained.metrics("one_process")[0]["Loss"], rel=1e-3)
    state = model_state(trained, "two_tensor_parallel_processes_with_dropout", 6)
    whole = [name for name, (first, _) in state.items() if is_whole(name)]
    assert whole
    for name in whole:
        first, second = state[name]
        assert torch.equal(first, second), name


def is_whole(name):
    """Whether each tensor-parallel rank has all of a parameter."""
    return "norm" in name or "frontend" in name or name.endswith("output_proj.bias")


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
