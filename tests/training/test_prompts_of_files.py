"""A file may have a prompt of its own: in training, validation, caches, translation, analysis."""

import json

import pytest
import yaml
from tiny_recipe import write_pairs

from sekd_plugin.toolkits.fairseq2.sections import CorpusSection

GERMAN, ENGLISH = "to German: {source}\n", "auf Englisch: {source}\n"
STEPS = (
    "regime.num_steps=2",
    "regime.publish_metrics_every_n_steps=1",
    "regime.validate_every_n_steps=2",
    "regime.checkpoint_every_n_steps=2",
    "trainer.gc_every_n_steps=null",
    "common.metric_recorders.tensorboard.enabled=false",
)
KD = "criterion.name=self_evolution_kd"


def files(split, *sections):
    """The setting that makes these the files of a split."""
    return f"dataset.{split}={json.dumps(sections)}"


def there(file, **settings):
    return {"path": str(file), **settings}


def back(file, **settings):
    """The other direction of the same pairs."""
    return {**there(file, **settings), "source_field": "tgt", "target_field": "src"}


@pytest.fixture
def pairs(shared_folder):
    """The training and the validation file."""
    return shared_folder / "train.jsonl", shared_folder / "valid.jsonl"


@pytest.fixture
def two_ways(workshop, pairs):
    """A workshop with the run ``both``, whose two files have a prompt each."""
    both = files("train", there(pairs[0], template=GERMAN), back(pairs[0], template=ENGLISH))
    workshop.train("both", *STEPS, both)
    return workshop


def losses(workshop, run):
    """What says that two trainings were the same, to the last bit."""
    return [
        (line["Loss"], line.get("Gradient Norm"))
        for split in ("train", "valid")
        for line in workshop.metrics(run, split)
    ]


def test_a_file_with_a_prompt_is_read_as_if_it_were_everyones(workshop, pairs):
    own = {"template": ENGLISH}
    workshop.train("all", *STEPS, f"dataset.template={json.dumps(ENGLISH)}")
    workshop.train(
        "own",
        *STEPS,
        files("train", there(pairs[0], **own)),
        files("valid", there(pairs[1], **own)),
    )
    assert losses(workshop, "own") == losses(workshop, "all")


def test_a_model_of_several_prompts_must_be_told_which_and_of_one_need_not(two_ways, pairs):
    lines = two_ways.folder / "lines.txt"
    lines.write_text("open the file\n", encoding="utf-8")
    translate = ("translate", "--model", two_ways.folder / "both", "--input", lines)
    told = two_ways.sekd(*translate, "--template", GERMAN)
    assert told.endswith("\n")
    said = two_ways.sekd(*translate, expect=2)
    assert "or says several things; name --template" in said

    evaluate = ("evaluate", pairs[1], "--system", f"both={two_ways.folder / 'both'}")
    assert "name --template" in two_ways.sekd(*evaluate, "--sentences", 2, expect=2)
    kept = two_ways.folder / "kept"
    two_ways.sekd(
        *evaluate, "--sentences", 2, "--template", GERMAN.replace("\n", "\\n"),
        "--translations", kept,
    )  # fmt: skip
    assert json.loads((kept / "both.json").read_text())["template"] == GERMAN

    record = two_ways.folder / "both" / "config.yaml"
    config = yaml.safe_load(record.read_text(encoding="utf-8"))
    first, second = config["dataset"]["train"]
    for templates, asked in (
        ((ENGLISH, ENGLISH), ENGLISH),
        ((ENGLISH, None), GERMAN),
        ((None, None), GERMAN),
    ):
        first["template"], second["template"] = templates
        record.write_text(yaml.safe_dump(config), encoding="utf-8")
        kept = two_ways.folder / f"kept {templates}"
        two_ways.sekd(
            "evaluate", pairs[1], "--system", f"both={two_ways.folder / 'both'}",
            "--sentences", 1, "--translations", kept,
        )  # fmt: skip
        assert json.loads((kept / "both.json").read_text())["template"] == asked


def test_a_cache_holds_the_prompts_of_all_files_and_refuses_others_by_key(taught, pairs):
    teacher, cache = taught.teacher("teacher", 8), taught.folder / "cache"
    both = there(pairs[0], template=GERMAN), back(pairs[0], template=ENGLISH)
    words = ("cache-teacher", cache, "--top-k", 300, "--probability-bits", 32)
    taught.sekd(*words, *taught.arguments((KD, teacher, files("train", *both))))

    read = f"teacher_cache.path={cache}"
    for run, said in (("read", read), ("live", teacher)):
        taught.train(run, *STEPS, KD, said, files("train", both[1]))
    live, found = ([loss for loss, _ in losses(taught, run)] for run in ("live", "read"))
    assert found == pytest.approx(live, rel=1e-4)

    other = back(pairs[0], template="auf Deutsch: {source}\n")
    error = taught.train("other", KD, read, files("train", both[0], other), expect=2)
    assert error.splitlines()[-1] == (
        f"sekd train: dataset.train.1.template: is {other['template']!r}; the teacher cache "
        f"{cache} was made with {ENGLISH!r} and {GERMAN!r}"
    )
    # Each prompt is in the cache, but this file was not read behind it.
    error = taught.train("turned", KD, read, files("train", back(pairs[0])), expect=2)
    assert f"the first is {pairs[0]}, line 1" in error.splitlines()[-1]


def test_an_analysis_reads_a_development_set_by_its_own_prompt(taught, pairs):
    valid = files("valid", there(pairs[1], template=ENGLISH))
    taught.train("kd", *STEPS, KD, taught.teacher("teacher", 8), valid)
    reported = taught.metrics("kd", "valid")[-1]["Difficulty"]
    same = write_pairs(taught.folder / "same.jsonl", 24, seed=2)
    for name, data in (("recipes", ()), ("named", ("--data", same))):
        out = taught.folder / name
        taught.sekd("analyze", out, "--run", taught.folder / "kd", *data)
        shown = json.loads((out / "analysis.json").read_text(encoding="utf-8"))["shown"]["items"]
        measured = [value for item in shown for value in item["difficulty"][0]]
        assert sum(measured) / len(measured) == pytest.approx(reported, rel=1e-3)
        report = json.loads((out / "report.json").read_text(encoding="utf-8"))
        assert report["made_from"]["settings"]["template"] == ENGLISH


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"template": "to German:"}, "template: 'to German:' has {source} 0 times"),
        ({"template": "{src} ->"}, "template: '{src}' is not allowed in '{src} ->'"),
        ({"template": 3}, "template: 3 is not allowed; it must be a text or null"),
        ({"tempalte": GERMAN}, "tempalte: is not a known key; did you mean 'template'"),
    ],
)
def test_a_prompt_that_cannot_be_used_is_refused_by_its_file(workshop, pairs, section, message):
    error = workshop.train("run", files("train", there(pairs[0], **section)), expect=2)
    assert error.startswith(f"sekd train: dataset.train.0.{message}")
    assert len(error.splitlines()) == 1


def test_an_encoder_decoder_model_has_no_use_for_it(workshop, pairs):
    settings = files("train", there(pairs[0])), files("valid", there(pairs[1], template=ENGLISH))
    error = workshop.train(
        "run", "model={family: nllb}", f"dataset.template={json.dumps(CorpusSection.template)}",
        *settings, expect=2,
    )  # fmt: skip
    assert error.startswith(
        "sekd train: dataset.valid.0.template: would never be used: an encoder–"
    )
