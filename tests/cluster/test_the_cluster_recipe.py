"""The recipe and the Slurm script for 13B → 7B: read by fairseq2, and run with tiny models."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from fairseq2.runtime.dependency import get_dependency_resolver
from tiny_recipe import MODEL

from sekd_plugin.cli import main
from sekd_plugin.recipes_folder import recipes_folder
from sekd_plugin.toolkits.fairseq2.plan_settings import plan_settings
from sekd_plugin.toolkits.fairseq2.recipe_loading import load_recipe

ROOT = Path(__file__).parents[2]
FOLDER = recipes_folder() / "cluster"
RECIPE = FOLDER / "llama_13b_to_7b.yaml"
SCRIPT = FOLDER / "slurm_13b_to_7b.sh"
PAGE = ROOT / "docs" / "cluster.md"


def test_fairseq2_reads_the_recipe_whole(capfd):
    code = main(["train", "--config-file", str(RECIPE), "--dump-config"])

    dumped = yaml.safe_load(capfd.readouterr().out)
    assert code == 0
    written = yaml.safe_load(RECIPE.read_text(encoding="utf-8"))
    for section in ("gang", "trainer", "regime"):
        for key, value in written[section].items():
            found = dumped[section][key]
            if isinstance(value, dict):
                assert found == found | value, key
            else:
                assert found == value, key


def test_the_script_is_a_script():
    subprocess.run(["bash", "-n", str(SCRIPT)], check=True)
    assert os.access(SCRIPT, os.X_OK)


def test_the_script_asks_slurm_for_one_task_a_machine_and_eight_gpus():
    asked = dict(re.findall(r"^#SBATCH --([\w-]+)=(\S+)$", SCRIPT.read_text(), re.M))
    assert asked["ntasks-per-node"] == "1"
    assert asked["nodes"] == "2"
    assert asked["gpus-per-node"] == "8"


def test_without_a_folder_the_script_says_how_it_is_used():
    done = subprocess.run(["bash", str(SCRIPT)], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: sbatch slurm_13b_to_7b.sh OUT")


@pytest.fixture
def slurm(tmp_path):
    """An environment in which one machine of Slurm's is this one."""
    commands = tmp_path / "bin"
    commands.mkdir()
    python = shlex.quote(sys.executable)
    stand_ins = {
        "srun": '#!/bin/sh\nwhile case "$1" in --*) true ;; *) false ;; esac; do shift; done\n'
        'exec "$@"\n',
        "scontrol": "#!/bin/sh\necho 127.0.0.1\necho 127.0.0.2\n",
        "torchrun": f'#!/bin/sh\nexec {python} -m torch.distributed.run "$@"\n',
    }
    for name, text in stand_ins.items():
        (commands / name).write_text(text)
        (commands / name).chmod(0o755)
    return {
        **os.environ,
        "PATH": f"{commands}{os.pathsep}{os.environ['PATH']}",
        "SLURM_JOB_ID": str(os.getpid()),
        "SLURM_JOB_NUM_NODES": "1",
        "SLURM_JOB_NODELIST": "here",
        "SLURM_CPUS_PER_TASK": "2",
        "SLURM_SUBMIT_DIR": str(FOLDER),
        "GPUS_PER_NODE": "2",
        "FAIRSEQ2_DEVICE": "cpu",
    }


@pytest.mark.slow
def test_the_recipe_trains_tiny_models_in_two_processes_that_the_script_starts(
    taught, slurm, shared_folder
):
    model = {"family": "llama", "config_overrides": MODEL}
    settings = [
        f"model={json.dumps(model)}",
        taught.teacher("teacher", 8).replace("teacher={", 'teacher={"dtype": "bfloat16", '),
        f"tokenizer.path={shared_folder / 'vocabulary.model'}",
        f"dataset.train=[{{path: {shared_folder / 'train.jsonl'}}}]",
        f"dataset.valid=[{{path: {shared_folder / 'valid.jsonl'}}}]",
        "dataset.batch_tokens=256",
        "optimizer.config.lr=0.01",
        "lr_scheduler.config.num_warmup_steps=0",
        "regime.num_steps=6",
        "regime.publish_metrics_every_n_steps=2",
        "regime.validate_every_n_steps=6",
        "regime.checkpoint_every_n_steps=6",
    ]
    done = subprocess.run(
        ["bash", str(SCRIPT), str(taught.folder / "run"), *settings],
        env=slurm,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr

    first, _, last = taught.metrics("run")
    assert last["Loss"] < first["Loss"]
    assert "Gamma" in last
    assert taught.metrics("run", "valid")[-1]["Loss"] > 0.0
    shards = sorted(taught.checkpoint("run", 6).rglob("sdp_*.pt"))
    state = torch.load(shards[0], weights_only=True)
    config = load_recipe(RECIPE, [{"model": model}])
    plan = plan_settings(config, get_dependency_resolver(), devices=len(shards))
    assert plan.cluster.shards == len(shards) == 2
    planned = {weight.name: weight.on_shard(1, 2) for weight in plan.student.shape.weights()}
    assert {name: tensor.numel() for name, tensor in state.items()} == planned
    exported = taught.folder / "run" / "checkpoints" / "step_6" / "hg"
    assert list(exported.glob("*.safetensors"))


def shown_commands():
    """Each indented block of the page that starts with a command, and what it is said to print."""
    for block in re.findall(r"(?:^    .*\n|^\n(?=    ))+", PAGE.read_text("utf-8"), re.M):
        lines = [line[4:] for line in block.strip("\n").splitlines()]
        if lines[0].startswith("$ sekd memory-plan"):
            yield lines[0].removeprefix("$ sekd "), "\n".join(lines[1:]).strip()


def test_the_page_shows_what_the_command_prints(capsys):
    shown = list(shown_commands())
    assert shown
    for command, printed in shown:
        words = [
            str(ROOT / word) if word.startswith("recipes/") else word
            for word in shlex.split(command)
        ]
        assert main(words) == 0
        assert capsys.readouterr().out.strip() == printed


def test_what_the_page_says_of_other_clusters_is_so(capsys):
    def plan(devices, *settings):
        words = ["--devices", str(devices), "--device-memory", "80GiB", "--json"]
        words += ["--config", *settings] if settings else []
        assert main(["memory-plan", "--config-file", str(RECIPE), *words]) == 0
        return json.loads(capsys.readouterr().out)

    text = PAGE.read_text("utf-8")
    eight = plan(8)
    needed = (eight["peak_bytes"] + eight["reserve_bytes"]) / 1024**3
    assert f"(`--devices 8`: {needed:.2f} of 80 GiB)" in text
    assert "a teacher of 70B needs 4 for 80 GiB" in text
    seventy = ("teacher.arch=llama2_70b", "teacher.config_overrides=null")
    fits = [plan(16, *seventy, f"gang.tensor_parallel_size={size}")["fits"] for size in (1, 2, 4)]
    assert fits == [False, False, True]
