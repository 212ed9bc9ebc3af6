"""Every file under recipes/ loads, and trains tiny models for two steps on a CPU."""

import json
import math
import re
from pathlib import Path

import pytest
import torch
from ruamel.yaml import YAML
from tiny_models_in_recipes import FILES, FOLDER, STEPS, read

from sekd_plugin import SelfEvolutionKD, WordKD
from sekd_plugin.cli import main
from sekd_plugin.toolkits.fairseq2.recipe_loading import load_recipe
from sekd_plugin.toolkits.fairseq2.sweeping.plan import planned_runs
from sekd_plugin.toolkits.fairseq2.sweeping.sweep_file import read_sweep

SWEEPS = [file for file in FILES if "rows" in read(file)]
PLANS_OF_THE_DEMO = [file for file in FILES if "continuations" in read(file)]
LAID_OVER = {
    file: file.parents[1] / file.name
    for file in FILES
    if file.parent.name == "on_a_gpu" and file.parents[1] / file.name in SWEEPS
} | {file: file.parents[1] / "studies.yaml" for file in FILES if file.parent.name == "pairs"}
"""Files that are laid over sweep files → these."""

RECIPES = [file for file in FILES if file not in [*SWEEPS, *LAID_OVER, *PLANS_OF_THE_DEMO]]

TRAINED_IN = {
    "cluster/llama_13b_to_7b.yaml": "cluster/test_the_cluster_recipe.py",
    "cluster/nllb_3b_to_600m.yaml": "sequence_to_sequence/test_the_recipe_for_nllb.py",
    **{
        f"demo/{name}.yaml": "demo/test_the_whole_demo.py"
        for name in ("teacher", "student", "cross_entropy", "word_kd", "self_evolution_kd")
    },
}
"""Those that a test of their own trains whole, in two processes or one after the other."""


@pytest.mark.parametrize("recipe", RECIPES, ids=str)
def test_a_recipe_is_read_whole(recipe, capfd):
    file = FOLDER / recipe
    # Of the demo's recipes only the demo knows where the teacher will be.
    is_bare = "path" not in read(recipe).get("teacher", {"path": None})
    added = ["--config", "teacher.path=runs/teacher"] if is_bare else []
    assert main(["train", "--config-file", str(file), *added, "--dump-config"]) == 0
    dumped = YAML(typ="safe", pure=True).load(capfd.readouterr().out)
    text = file.read_text(encoding="utf-8").replace("${dir}", str(file.parent))
    assert list(differences(YAML(typ="safe", pure=True).load(text), dumped)) == []


def differences(written, dumped, place=""):
    """Where the whole configuration does not hold what the file says."""
    for key, value in written.items() if isinstance(written, dict) else enumerate(written):
        found = dumped[key]
        if isinstance(value, dict | list) and isinstance(found, dict | list):
            yield from differences(value, found, f"{place}.{key}")
        elif found != value:
            yield f"{place}.{key}", value, found


@pytest.mark.parametrize("sweep", SWEEPS, ids=str)
def test_a_sweep_plans_runs_that_are_recipes(sweep):
    trials = planned_runs(read_sweep(FOLDER / sweep))
    assert trials
    for first, *others in trials.values():
        load_recipe(None, [first.recipe])
        assert all(
            without(each.recipe, "common", "model") == without(first.recipe, "common", "model")
            for each in others
        )


@pytest.mark.parametrize("over", LAID_OVER, ids=str)
def test_a_file_laid_over_a_sweep_changes_its_runs(over):
    file = FOLDER / LAID_OVER[over]
    changed = planned_runs(read_sweep(file, [FOLDER / over]))
    plain = planned_runs(read_sweep(file))
    assert changed.keys() == plain.keys()
    for trial, (first, *_) in changed.items():
        load_recipe(None, [first.recipe])
        assert first.recipe != plain[trial][0].recipe


@pytest.mark.parametrize(
    "recipe", [each for each in RECIPES if str(each) not in TRAINED_IN], ids=str
)
def test_a_recipe_trains(recipe, bench, workshop):
    content = read(recipe)
    settings = bench.settings(content)
    if "teacher_cache" in content:
        folder = workshop.folder / "cache"
        teacher = bench.model(content["model"], is_read=True)
        workshop.sekd(
            "cache-teacher", folder, "--config-file", FOLDER / recipe, "--top-k", 8,
            "--config", *settings, f"teacher={json.dumps(teacher)}",
        )  # fmt: skip
        settings.append(f"teacher_cache.path={folder}")
    workshop.sekd(
        "train", workshop.folder / "run", "--config-file", FOLDER / recipe, "--config", *settings
    )

    reports = workshop.metrics("run")
    assert len(reports) == STEPS
    assert all(math.isfinite(report["Loss"]) and report["Loss"] > 0.0 for report in reports)
    assert all(report["Gradient Norm"] > 0.0 for report in reports)
    assert workshop.metrics("run", "valid")[-1]["Loss"] > 0.0
    is_taught = "teacher" in content or "teacher_cache" in content
    assert ("Teacher Agreement" in reports[-1]) == is_taught


def test_the_recipes_that_are_trained_elsewhere_are_there_and_so_are_their_tests():
    assert set(TRAINED_IN) <= set(map(str, RECIPES))
    assert all((Path(__file__).parents[1] / test).is_file() for test in TRAINED_IN.values())


WMT22 = [file for file in RECIPES if file.parts[0] == "wmt22"]
DIRECTIONS = {
    "en_de": ("en-de", "src", "tgt"), "de_en": ("en-de", "tgt", "src"),
    "en_cs": ("en-cs", "src", "tgt"), "cs_en": ("en-cs", "tgt", "src"),
}  # fmt: skip
LANGUAGES = {"en": "English", "de": "German", "cs": "Czech"}


def without(content, *sections):
    return {key: value for key, value in content.items() if key not in sections}


def test_the_recipes_for_wmt22_differ_in_their_models_alone():
    models = ("model", "teacher", "teacher_cache", "tokenizer")
    first, *others = (without(read(file), *models) for file in WMT22)
    assert len(others) == 3
    assert all(other == first for other in others)


@pytest.mark.parametrize("split", ["train", "valid"])
@pytest.mark.parametrize("recipe", [*WMT22, "sample/teacher.yaml", "sample/student.yaml"], ids=str)
def test_four_directions_each_have_their_prompt_and_fields(recipe, split):
    found = load_recipe(FOLDER / recipe, []).dataset
    files = getattr(found, split)
    assert len(files) == 4
    for file, (name, (corpus, source, target)) in zip(files, DIRECTIONS.items(), strict=True):
        asked = " to ".join(LANGUAGES[code] for code in name.split("_"))
        assert asked in file.template
        assert file.path.parts[-2:] == (corpus, f"{split}.jsonl")
        assert (file.source_field, file.target_field) == (source, target)


def test_the_recipes_for_the_sample_corpus_differ_in_their_data_alone():
    first, *others = (read(f"sample/{name}.yaml") for name in [*DIRECTIONS, "noisy"])
    for other in others:
        assert without(other, "dataset") == without(first, "dataset")
    for other in map(read, ("sample/paper.yaml", "sample/recommended.yaml")):
        assert without(other, "criterion") == without(first, "criterion")
    sequences = read("sample/sequence_level_kd.yaml")
    gone = ("dataset", "criterion", "teacher")
    assert without(sequences, *gone) == without(first, *gone)
    for name, (corpus, source, target) in DIRECTIONS.items():
        dataset = load_recipe(FOLDER / f"sample/{name}.yaml", []).dataset
        assert dataset.template.startswith(
            " to ".join(LANGUAGES[code] for code in name.split("_")) + ": {source}"
        )
        for split in ("train", "valid"):
            (file,) = getattr(dataset, split)
            assert file.path.resolve() == FOLDER / "corpus" / corpus / f"{split}.jsonl"
            assert file.path.is_file()
            assert (file.source_field, file.target_field) == (source, target)


def test_the_recommended_loss_is_plain_distillation_by_the_skewed_divergence_it_names():
    file = FOLDER / "sample" / "recommended.yaml"
    (named,) = re.findall(r"'criterion.config=(\{.+\})'", file.read_text(encoding="utf-8"))
    config = read("sample/recommended.yaml")["criterion"]["config"]
    torch.manual_seed(1)
    logits = torch.randn(9, 13, dtype=torch.float64, requires_grad=True)
    teacher, targets = torch.randn(9, 13, dtype=torch.float64), torch.randint(0, 13, (9,))
    losses = [
        criterion(logits, teacher, targets).loss
        for criterion in (
            SelfEvolutionKD(**config),
            WordKD(**YAML(typ="safe", pure=True).load(named)),
        )
    ]
    torch.testing.assert_close(*losses)
    torch.testing.assert_close(*(torch.autograd.grad(loss, logits)[0] for loss in losses))
