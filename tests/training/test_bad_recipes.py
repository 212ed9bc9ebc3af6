"""Each of a user's mistakes is one line that names the place, exit code 2, and leaves no trace."""

import json
import logging
import os
from pathlib import Path

import pytest
import sentencepiece
import torch
import yaml

from sekd_plugin.toolkits.fairseq2.output_folder import discard_if_nothing_came
from sekd_plugin.toolkits.fairseq2.redaction import EnvironmentFilter

KD = "criterion.name=self_evolution_kd"

MISTAKES = [
    ("criterion.name=self_evolution_k", "criterion.name", "'self_evolution_kd'?"),
    (f"{KD} criterion.config.bta=1", "criterion.config.bta", "'beta'?"),
    (f"{KD} criterion.config.beta=1.5", "criterion.config.beta", "0 <= beta <= 1"),
    (f"{KD} criterion.config.beta=half", "criterion.config.beta", "a number"),
    (f"{KD} criterion.config.temperature=0", "criterion.config.temperature", "0 < temperature"),
    (f"{KD} criterion.config.divergence=foward_kl", "criterion.config.divergence", "'forward_kl'?"),
    (
        f"{KD} criterion.config.threshold={{name: top_k, config: {{ratio: 2.0}}}}",
        "criterion.config.threshold.config.ratio",
        "0 <= ratio <= 1",
    ),
    (f"{KD} criterion.config.threshold.name=dynamik", "threshold.name", "'dynamic'?"),
    (f"{KD} criterion.config.proxy=liner", "criterion.config.proxy", "'linear'?"),
    (
        f"{KD} criterion.config.threshold={{name: dynamic, config: {{momentun: 0.9}}}}",
        "criterion.config.threshold.config.momentun",
        "'momentum'?",
    ),
    (f"{KD} criterion.kernel=chunkd", "criterion.kernel", "'chunked'?"),
    (f"{KD} criterion.kernel=triton", "criterion.kernel", "needs a GPU"),
    ("criterion.kernel=triton", "criterion.kernel", "use 'auto'"),
    ("trainer.grad_accumulation.num_batchs=3", "num_batchs", "'num_batches'?"),
    ("trainer.mixed_precision.mode=full", "trainer.mixed_precision.mode", "'static'"),
    ("dataset.batch_tokens=abc", "dataset.batch_tokens", "a whole number"),
    ("dataset.batch_tokens=0", "dataset.batch_tokens", "1 or more"),
    ("dataset.shuffle=maybe", "dataset.shuffle", "true or false"),
    ("dataset.train=[]", "dataset.train", "at least one file"),
    ("dataset.train=[{pat: x}]", "dataset.train.0.pat", "'path'?"),
    ("dataset.template=hello", "dataset.template", "{source}"),
    ("model.config_overrides.vocab_sze=3", "model.config_overrides.vocab_sze", "'vocab_size'?"),
    ("model.family=lama", "model.family", "'llama'?"),
    ("optimizer.config.lr=fast", "optimizer.config.lr", "a number"),
    ("optimizer.name=adam", "optimizer.name", "'adamw'?"),
    ("lr_scheduler.name=cosine", "lr_scheduler.name", "'cosine_annealing'?"),
    ("lr_scheduler=null", "lr_scheduler: ", "passthrough"),
    ("regime={num_steps: null, num_data_epochs: 1}", "lr_scheduler.config.cycle_len", "num_steps"),
    ("tokenizer={path: null}", "tokenizer: ", "name or path"),
    ("tokenizer.path=/tmp", "tokenizer.path", "without a tokenizer_config.json"),
    ("regime.num_steps=0", "regime.num_steps", "greater than or equal to 1"),
    ("regime.score_metric=bleu", "regime.score_metric", "translation.bleu"),
    ("tokenizer.path=/nowhere/vocabulary.model", "tokenizer.path", "not a file"),
    ("teacher={path: /nowhere, family: llama}", "teacher", "remove it"),
    ("modle.family=llama", "modle", "'model'?"),
    ("dataset.train=[{path: x, weight: .inf}]", "dataset.train.0.weight", "weight <= 1000"),
    ("faults.non_finite=skp", "faults.non_finite", "'stop' or 'skip'"),
    ("faults.max_skipped=-1", "faults.max_skipped", "0 or more"),
    ("faults.max_skiped=9", "faults.max_skiped", "'max_skipped'?"),
    ("common.no_sweep_dir=false", "common.no_sweep_dir", "cannot resume it"),
    ("model.config_overrides.tied_embeddings=true", "shard_embed_dim", "must be false"),
]


@pytest.mark.parametrize(("settings", "place", "help_"), MISTAKES)
def test_a_mistake_in_a_recipe_is_one_line_that_names_the_key(taught, settings, place, help_):
    words = settings.split(" ", 1) if settings.startswith(KD) else [settings]
    teacher = [taught.teacher("teacher", 8)] if KD in words else []

    error = taught.train("run", *teacher, *words, expect=2)

    assert len(error.strip().splitlines()) == 1
    assert error.startswith("sekd train: ")
    assert place in error
    assert help_ in error
    assert not (taught.folder / "run").exists()


def test_a_criterion_that_needs_a_teacher_says_so(workshop):
    error = workshop.train("run", KD, expect=2)
    assert error == (
        "sekd train: teacher: is missing; the criterion 'self_evolution_kd' needs one\n"
    )


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: None, "does not exist"),
        (lambda path: path.mkdir(), "holds no model checkpoint"),
        (lambda path: (path / "checkpoints/step_7/model").mkdir(parents=True), "step_7/model"),
    ],
)
def test_a_teacher_path_without_a_checkpoint_is_refused(workshop, make, words):
    path = workshop.folder / "teacher"
    make(path)
    error = workshop.train("run", KD, f"teacher={{path: {path}, family: llama}}", expect=2)
    assert error.startswith("sekd train: teacher.path: ")
    assert words in error


def test_a_vocabulary_larger_than_the_model_is_refused_naming_both_sizes(workshop):
    error = workshop.train("run", "model.config_overrides.vocab_size=100", expect=2)
    assert error.startswith(
        "sekd train: model.config_overrides.vocab_size: the model has 100 words, the tokenizer "
    )
    assert not (workshop.folder / "run").exists()


def test_a_padding_id_that_is_not_the_vocabularys_is_refused_naming_both(workshop):
    error = workshop.train("run", "model.config_overrides.pad_idx=5", expect=2)
    assert error.startswith(
        "sekd train: model.config_overrides.pad_idx: the model pads with 5, the tokenizer with 3"
    )


def test_a_teacher_whose_checkpoint_is_of_another_size_is_refused(taught):
    teacher = taught.teacher("teacher", 8).replace('"vocab_size": 300', '"vocab_size": 310')
    error = taught.train("run", teacher, KD, expect=2)
    assert error.splitlines()[-1].startswith(
        "sekd train: teacher.path: the checkpoint does not fit"
    )
    assert not (taught.folder / "run").exists()


def test_a_teacher_with_a_smaller_vocabulary_than_the_student_is_refused(taught):
    error = taught.train(
        "run",
        taught.teacher("teacher", 8),
        KD,
        "model.config_overrides.vocab_size=320",
        expect=2,
    )
    assert error.startswith("sekd train: teacher.config_overrides.vocab_size: the teacher has 300")
    assert "the student 320" in error and len(error.splitlines()) == 1


def test_a_recipe_that_is_missing_or_not_yaml_is_named(workshop):
    recipe = workshop.recipe
    recipe.rename(recipe.with_name("recepe.yaml"))
    assert "did you mean 'recepe.yaml'?" in workshop.train("run", expect=2)

    recipe.write_text("model: {family: llama\n", encoding="utf-8")
    error = workshop.train("run", expect=2)
    assert f"{recipe}, line " in error and "is not YAML" in error

    recipe.write_bytes(b"model: \xff\n")
    assert "is not UTF-8" in workshop.train("run", expect=2)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b'{"src": "a", "tgt": "b"}\nnot json\n', "line 2"),
        (b'{"src": "a", "tgt": "b"}\n{"src": "a", "target": "b"}\n', "'tgt'"),
        (b'{"src": "a", "tgt": "b"}\n{"src": "\xff", "tgt": "b"}\n', "UTF-8"),
        (b'{"src": "a", "tgt": "b"}\n{"src": "a", "tg', "line 2: is not JSON"),
    ],
)
def test_a_data_file_that_cannot_be_read_stops_before_anything_is_written(workshop, content, words):
    file = workshop.folder / "pairs.jsonl"
    file.write_bytes(content)
    error = workshop.train("run", f"dataset.train=[{{path: {file}}}]", expect=2)
    assert len(error.splitlines()) == 1
    assert str(file) in error and words in error
    assert not (workshop.folder / "run").exists()


def test_a_folder_that_holds_another_run_is_left_alone(workshop):
    workshop.train("run")
    before = {p: p.read_bytes() for p in (workshop.folder / "run").rglob("*") if p.is_file()}

    error = workshop.train("run", "optimizer.config.lr=0.5", expect=2)

    assert "optimizer.config.lr is 0.01 there and 0.5 here" in error
    assert before == {
        p: p.read_bytes() for p in (workshop.folder / "run").rglob("*") if p.is_file()
    }


def test_a_folder_that_fairseq2_could_not_export_from_is_refused_at_once(workshop):
    export = "regime.export_hugging_face=true"
    for name in ("a run", "Läufe/run"):
        error = workshop.train(name, export, expect=2)
        assert error.startswith("sekd train: regime.export_hugging_face: fairseq2 cannot export")
        assert str(workshop.folder / name) in error and len(error.splitlines()) == 1
        assert not (workshop.folder / name).exists()
    workshop.train("a run", "regime.num_steps=2")  # everything else can be done there


def test_a_folder_that_holds_other_files_is_left_alone(workshop):
    (workshop.folder / "run").mkdir()
    (workshop.folder / "run" / "thesis.txt").write_text("years of work")
    assert "is not empty and holds no run" in workshop.train("run", expect=2)
    assert [path.name for path in (workshop.folder / "run").iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    ("file", "stays"),
    [
        ("config.yaml", False),
        ("logs/rank_0.log", False),
        ("checkpoints/model.yaml", False),
        ("checkpoints/step_2/model/a.pt", True),
        ("difficulty/step_2.json", True),
        ("notes.txt", True),
    ],
)
def test_a_run_that_failed_at_start_leaves_no_folder_unless_it_holds_a_result(
    tmp_path, file, stays
):
    run = tmp_path / "run"
    (run / file).parent.mkdir(parents=True)
    (run / file).write_text("")
    discard_if_nothing_came(run)
    assert run.exists() is stays


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_cuda_where_there_is_none_is_refused(workshop, monkeypatch):
    monkeypatch.setenv("FAIRSEQ2_DEVICE", "cuda")
    assert "no CUDA device is found" in workshop.train("run", expect=2)


@pytest.mark.parametrize(
    ("device", "words"),
    [("gpu", "'gpu' is not a device; write cpu"), ("cuda:99", "cuda:99 was asked for, but ")],
)
def test_a_device_that_is_not_there_is_refused(workshop, monkeypatch, device, words):
    monkeypatch.setenv("FAIRSEQ2_DEVICE", device)
    assert workshop.train("run", expect=2).startswith(f"sekd train: device: {words}")
    assert not (workshop.folder / "run").exists()


def test_secrets_in_the_environment_stay_out_of_the_logs(workshop, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_very_secret_value")
    monkeypatch.setenv("SOME_PASSWORD", "correct horse")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    printed = workshop.train("run")

    logged = "".join(
        path.read_text(errors="replace") for path in (workshop.folder / "run/logs").rglob("*.log")
    )
    for text in (printed, logged):
        assert "hf_very_secret_value" not in text
        assert "correct horse" not in text
        assert "OMP_NUM_THREADS=1" in text


@pytest.mark.parametrize(
    ("variable", "shown"),
    [
        ("GIT_AUTHOR_NAME", True),
        ("KEYBOARD", True),
        ("PWD", True),
        ("DB_PASS", False),
        ("GPG_PASSPHRASE", False),
        ("SENTRY_DSN", False),
        ("aws_secret_access_key", False),
    ],
)
def test_a_secret_is_known_by_a_whole_word_of_its_variables_name(monkeypatch, variable, shown):
    monkeypatch.setenv(variable, "student")
    record = logging.makeLogRecord({"msg": "Training the %s model.", "args": ("student",)})
    assert EnvironmentFilter().filter(record)
    assert record.getMessage() == f"Training the {'student' if shown else '***'} model."


@pytest.mark.parametrize("broken", ["student", "teacher"])
def test_logits_that_are_not_finite_stop_training_and_name_step_model_and_lines(taught, broken):
    piece, lines = a_piece_of_some_lines(taught)
    poisoned = taught.folder / "poisoned"
    for file in taught.checkpoint("teacher", 8).rglob("*.pt"):
        copy = poisoned / file.relative_to(taught.checkpoint("teacher", 8))
        copy.parent.mkdir(parents=True)
        state = torch.load(file, weights_only=True)
        state["decoder_frontend.embed.weight"][piece] = float("nan")
        torch.save(state, copy)
    sane = taught.teacher("teacher", 8)
    settings = {
        "teacher": [sane.replace(str(taught.checkpoint("teacher", 8)), str(poisoned))],
        "student": [sane, f"model.path={poisoned}"],
    }[broken]

    error = taught.train("run", *settings, KD, "dataset.batch_tokens=100000", expect=3)

    last = error.strip().splitlines()[-1]
    assert last.startswith(f"sekd train: step 1: the {broken}'s logits are not finite on ")
    named, _, more = last.rsplit("line ", 1)[1].removesuffix(" more").partition(" and ")
    shown = {int(number) for number in named.split(", ")}
    assert shown <= lines and len(shown) + int(more or 0) == len(lines)


def test_an_infinite_loss_stops_training_before_the_student_learns_from_it(taught, monkeypatch):
    (taught.folder / "boundless.py").write_text(
        "import torch\n"
        "from sekd_plugin import Divergence\n"
        "class Boundless(Divergence):\n"
        "    def forward(self, log_target, log_student):\n"
        "        first = torch.arange(len(log_target)) == 0\n"
        "        return log_student.exp().square().sum(-1).masked_fill(first, torch.inf)\n"
    )
    monkeypatch.syspath_prepend(taught.folder)

    error = taught.train(
        "run",
        taught.teacher("teacher", 8),
        KD,
        "criterion.config.divergence=boundless:Boundless",
        expect=3,
    )

    last = error.strip().splitlines()[-1]
    assert last.startswith("sekd train: step 1: the divergence of the student from the target is ")
    assert "train.jsonl, line " in last


def a_piece_of_some_lines(workshop):
    """A piece, and the lines whose prompt holds it: more than none, fewer than all."""
    recipe = yaml.safe_load(workshop.recipe.read_text())
    model = sentencepiece.SentencePieceProcessor(model_file=recipe["tokenizer"]["path"])
    text = Path(recipe["dataset"]["train"][0]["path"]).read_text(encoding="utf-8")
    pairs = [json.loads(line) for line in text.splitlines()]
    prompts = [set(model.encode(f"to German: {pair['src']}\n")) for pair in pairs]
    targets = set().union(*(model.encode(pair["tgt"]) for pair in pairs))
    for piece in sorted(set().union(*prompts) - targets):
        lines = {number for number, pieces in enumerate(prompts, 1) if piece in pieces}
        if 0 < len(lines) < len(prompts) // 2:
            return piece, lines
    raise AssertionError("no piece is in some lines only")


def test_the_first_process_alone_speaks_for_all(workshop, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    assert workshop.train("run", "criterion.name=nothing", expect=2) == ""
    assert not os.path.exists(workshop.folder / "run")
