"""sekd analyze, from training runs to the page."""

import json
import math
import shutil

import numpy
import pytest
import torch

from sekd_plugin.analysis.difficulty import result
from sekd_plugin.checksum import sha256_of_file
from sekd_plugin.cli import main
from sekd_plugin.corpus import PromptTemplate
from sekd_plugin.criterion import SelfEvolutionKD
from sekd_plugin.errors import DataError
from sekd_plugin.progress import SilentProgress
from sekd_plugin.toolkits.fairseq2 import measured_corpus
from sekd_plugin.toolkits.fairseq2.dataset import encode_corpus
from sekd_plugin.toolkits.fairseq2.decoder_only import DECODER_ONLY
from sekd_plugin.toolkits.fairseq2.loading import load_run_model
from sekd_plugin.toolkits.fairseq2.measured_corpus import Measurement, measure_corpus
from sekd_plugin.toolkits.fairseq2.piece_texts import PieceTexts
from sekd_plugin.toolkits.fairseq2.prompts import PromptedPairs
from sekd_plugin.toolkits.fairseq2.sections import CorpusFileSection
from sekd_plugin.toolkits.fairseq2.tokenizer_file import load_tokenizer

CPU = torch.device("cpu")


def analyze(workshop, *arguments, expect=0):
    workshop.capture()
    code = main(["analyze", *map(str, arguments)])
    out, error = workshop.capture()
    assert code == expect, error
    return out if expect == 0 else error


def read(folder):
    return json.loads((folder / "analysis.json").read_text(encoding="utf-8"))


def test_the_difficulties_are_those_that_the_run_validated(distilled, shared_folder):
    out, kd = distilled.folder / "analysis", distilled.folder / "kd"
    said = analyze(distilled, out, "--run", f"{kd}@all")
    figures = read(out)
    assert [each["name"] for each in figures["checkpoints"]] == ["kd@step_8", "kd@step_16"]
    assert f"{figures['reference']['gamma']:.4g}" in said and "analysis.html" in said
    items = figures["shown"]["items"]
    for column in figures["columns"]:
        if column["divergence"] != "forward_kl":
            continue
        step = figures["checkpoints"][column["checkpoint"]]["step"]
        recorded = json.loads((kd / "difficulty" / f"step_{step}.json").read_text())
        number = figures["columns"].index(column)
        values = [value for item in items for value in item["difficulty"][number]]
        counts, _ = numpy.histogram(values, [*recorded["edges"], math.inf])
        assert counts.tolist() == recorded["counts"]

    pairs = [json.loads(line) for line in (shared_folder / "valid.jsonl").read_text().splitlines()]
    pieces = figures["shown"]["pieces"]
    for item, pair in zip(items, pairs, strict=True):
        *words, end = [pieces[str(word)] for word in item["words"]]
        assert end == "<eos>" and "".join(words).strip() == pair["tgt"]
        assert (item["source"], item["target"]) == (pair["src"], pair["tgt"])
    assert [item["line"] for item in items] == list(range(1, 25))
    written = {path.name for path in out.iterdir()}
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert written == {*report["files"], "report.json"} and "gamma.svg" in written
    for name, entry in report["files"].items():
        assert sha256_of_file(out / name) == entry["sha256"]


def test_a_plain_student_is_measured_against_a_named_teacher(distilled):
    """What one does before distilling: a student that cross-entropy trained, a recipe to come."""
    out, teacher = distilled.folder / "analysis", distilled.folder / "teacher"
    command = (out, "--run", teacher, "--teacher", teacher, "--sentences", 5, "--show", 3)
    analyze(distilled, *command, "--divergence", "{name: skew_forward_kl, config: {skew: 0.2}}")
    figures = read(out)
    assert figures["criterion"]["teacher_weight"] == 0.5 and figures["sentences"] == 5
    assert [each["divergence"] for each in figures["columns"]] == [
        *("forward_kl", "skew_forward_kl (skew 0.2)"),
    ]
    assert len(figures["shown"]["items"]) == 3
    for item in figures["shown"]["items"]:  # it is its own teacher
        assert item["student"] == item["teacher"]
        half_of_gold = [math.log(2 / (1 + p)) / 2 for p in item["teacher"]["gold"]]
        assert all(d >= 0.5 * h for d, h in zip(item["difficulty"][0], half_of_gold, strict=True))


def test_a_result_is_never_overwritten_and_never_half_there(distilled, monkeypatch):
    out, kd = distilled.folder / "analysis", distilled.folder / "kd"
    command = (out, "--run", kd, "--sentences", 4, "--divergence", "hellinger")

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(result, "sha256_of_file", interrupted)  # after all files but the last
        assert "interrupted" in analyze(distilled, *command, expect=130)
    assert sorted(path.name for path in distilled.folder.glob("analysis*")) == []
    first = analyze(distilled, *command)
    before = {path: path.read_bytes() for path in out.iterdir()}
    assert analyze(distilled, *command) == first
    error = analyze(distilled, *command, "--hard-ratio", 0.3, expect=2)
    assert "hard_ratio was 0.2, is now 0.3" in error and "another folder" in error
    assert {path: path.read_bytes() for path in out.iterdir()} == before
    (out / "analysis.html").write_text("mine")
    assert "was changed since" in analyze(distilled, *command, expect=2)
    assert (out / "analysis.html").read_text() == "mine"


@pytest.fixture
def mistakes(distilled):
    """A command that is right but for what a test adds; nothing is loaded for it."""
    kd = distilled.folder / "kd"
    command = (distilled.folder / "x", "--run", kd)
    return lambda *more: analyze(
        distilled, *command, *(each.replace("{kd}", str(kd)) for each in more), expect=2
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--teacher", "teachr"), "teachr is not a folder"),
        (("--divergence", "jensen"), "did you mean 'jensen_shannon'?"),
        (("--divergence", "{name: jensen_shannon, config: {beta: 2}}"), "config.beta: 2"),
        (("--divergence", "{name: "), "--divergence: '{name: ' is not allowed"),
        (("--threshold", "topk"), "did you mean 'top_k'?"),
        (("--threshold", "{config: {}}"), "--threshold.name: None is not a name"),
        (("--threshold", "{name: dynamic, confg: {}}"), "--threshold.confg: is not allowed here"),
        (("--threshold", "fixed"), "gamma: is missing"),
        (("--data", "gone.jsonl"), "gone.jsonl: no such file"),
        (("--target-file", "x.txt"), "--target-file: needs --data"),
        (("--hard-ratio", "1"), "--hard-ratio: 1.0 is out of range"),
        (("--sentences", "0"), "--sentences: 0 is out of range"),
        (("--run", "gone@step_1"), "gone is not a folder"),
        (("--config-file", "gone.yaml"), "gone.yaml: is not a recipe file"),
        (("--config", "teacher=null"), "teacher: is missing; name the teacher with --teacher"),
        (("--config", "dataset.valid=[]"), "dataset.valid: is empty"),
        (
            ("--config", "criterion.config={teacher_weight: 0}", "--divergence", "reverse_kl"),
            "reverse_kl is infinite against a one-hot target",
        ),
        (("--teacher", "{kd}@all"), "--teacher: '@all' is not allowed here"),
        (("--divergence", "all", "--divergence", "jensen"), "did you mean 'jensen_shannon'?"),
    ],
)
def test_a_mistake_is_told_in_one_line_before_anything_is_loaded(mistakes, arguments, words):
    error = mistakes(*arguments)
    assert words in error and error.startswith("sekd analyze: ") and error.count("\n") == 1


def test_gamma_is_given_for_the_checkpoint_that_was_named_last(distilled):
    out, kd = distilled.folder / "analysis", distilled.folder / "kd"
    analyze(distilled, out, "--run", f"{kd}@all", "--run", f"{kd}@step_8", "--sentences", 2)
    names = [each["name"] for each in read(out)["checkpoints"]]
    assert names == ["kd@step_16", "kd@step_8"]


def test_runs_of_one_name_are_told_apart_by_what_stands_before_it(distilled):
    out, kd = distilled.folder / "analysis", distilled.folder / "kd"
    for row in ("a", "b"):
        shutil.copytree(kd.resolve(), distilled.folder / row / "seed_1")
    runs = [str(distilled.folder / row / "seed_1@all") for row in ("a", "b")]
    analyze(distilled, out, "--run", runs[0], "--run", runs[1], "--sentences", 2)
    checkpoints = [(each["run"], each["step"]) for each in read(out)["checkpoints"]]
    assert checkpoints == [(f"{row}/seed_1", step) for row in ("a", "b") for step in (8, 16)]


def test_of_the_first_sentences_what_stands_behind_them_is_neither_measured_nor_counted(
    distilled, shared_folder
):
    lines = (shared_folder / "valid.jsonl").read_text(encoding="utf-8").splitlines()
    far_too_long = json.dumps({"src": "a " * 5000, "tgt": "a"})
    data = distilled.folder / "dev.jsonl"
    data.write_text("\n".join([far_too_long, *lines[:3], far_too_long]), encoding="utf-8")
    out, kd = distilled.folder / "analysis", distilled.folder / "kd"
    analyze(distilled, out, "--run", kd, "--data", data, "--sentences", 3)
    assert sum(read(out)["dropped"].values()) == 1
    analyze(distilled, distilled.folder / "all", "--run", kd, "--data", data)
    assert sum(read(distilled.folder / "all")["dropped"].values()) == 2


def test_difficulties_do_not_depend_on_batches_and_chunks(distilled, shared_folder, monkeypatch):
    def measured(batch_tokens):
        pieces = load_tokenizer("llama", shared_folder / "vocabulary.model", CPU)
        corpus = encode_corpus(
            [CorpusFileSection(path=shared_folder / "valid.jsonl")],
            key="",
            encodings=[PromptedPairs(pieces, PromptTemplate("to German: {source}\n"))],
        )
        student, teacher = (
            load_run_model(
                distilled.folder / run, distilled.checkpoint(run, step), torch.device("cpu")
            )
            for run, step in (("kd", 16), ("teacher", 8))
        )
        with torch.no_grad():
            embeddings = student.decoder_frontend.embed.weight
            if batch_tokens == 1:  # a sentence a batch; and one of its words is broken
                embeddings[corpus.targets[5][0]] = math.nan
        measurement = Measurement(
            kind=DECODER_ONLY,
            criterion=SelfEvolutionKD(),
            main="own",
            others={},
            batch_tokens=batch_tokens,
            pad_index=3,
            device=CPU,
        )
        return measure_corpus(student, teacher, corpus, measurement, SilentProgress(), "")

    whole = measured(4096)
    sizes = []

    def recorded(*arguments):
        sizes.append(arguments[-1].numel())
        return real(*arguments)

    real = measured_corpus.measure
    monkeypatch.setattr(measured_corpus, "measure", recorded)
    monkeypatch.setattr(measured_corpus, "_CHUNK_BYTES", 4 * 300 * 7)
    cut = measured(64)
    assert max(sizes) == 7 and sum(sizes) == whole.num_tokens
    assert torch.equal(cut.student.words[:, 0], whole.student.words[:, 0])
    assert torch.allclose(cut.difficulty["own"], whole.difficulty["own"], rtol=1e-4, atol=1e-5)
    with pytest.raises(DataError, match=r"valid\.jsonl, line \d+: the student's logits are not"):
        measured(1)


def test_pieces_put_together_are_the_sentence(shared_folder, vocabulary_folder):
    sentences = ["öffne das dokument", "schließe das kleine Ünbekannte!"]
    for family, path in (
        ("llama", shared_folder / "vocabulary.model"),
        ("qwen", vocabulary_folder),
    ):
        tokenizer = load_tokenizer(family, path, CPU)
        texts = PieceTexts(tokenizer)
        for sentence in sentences:
            found = [texts(int(piece)) for piece in tokenizer.create_raw_encoder()(sentence)]
            if not any(text.startswith("<") for text in found):  # parts of letters have numbers
                assert "".join(found).strip() == sentence
            assert any(text.startswith(" ") for text in found)
        assert texts(tokenizer.vocab_info.eos_idx) == "<eos>"
        broken = [texts(piece) for piece in range(tokenizer.vocab_info.size)]
        assert any(text == f"<{piece}>" for piece, text in enumerate(broken))
