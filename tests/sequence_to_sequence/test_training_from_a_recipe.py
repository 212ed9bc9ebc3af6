"""A recipe trains encoder–decoder students and teachers; the language is not learnt."""

import json

import pytest
import torch
from fairseq2.models.nllb import NllbConfig, create_nllb_model
from fairseq2.nn import BatchLayout
from method_definition import method
from sentencepiece import SentencePieceProcessor
from tiny_encoder_decoder import END, LANGUAGES, PAIR_MODEL, teacher_of
from tiny_recipe import MODEL, WORDS

STEPS = (
    "regime.num_steps=40",
    "regime.validate_every_n_steps=40",
    "regime.checkpoint_every_n_steps=40",
)
SETTINGS = {"teacher_weight": 0.4, "beta": 0.8}
GAMMA = 0.7
KD = (
    "criterion.name=self_evolution_kd",
    f"criterion.config={{**, threshold: {{name: fixed, config: {{gamma: {GAMMA}}}}}}}".replace(
        "**", ", ".join(f"{key}: {value}" for key, value in SETTINGS.items())
    ),
)


@pytest.fixture
def taught(pair_workshop, pair_teacher):
    """A workshop, and the setting that makes a tiny NLLB its teacher."""
    return pair_workshop, teacher_of(pair_teacher)


def read_checkpoint(folder):
    """A model as it was saved, without any of the package."""
    model = create_nllb_model(NllbConfig(**PAIR_MODEL))
    (file,) = folder.rglob("sdp_*.pt")
    model.load_state_dict(torch.load(file, weights_only=True))
    return model.double().eval()


@torch.no_grad()
def logits_of(model, source, read):
    rows = torch.tensor([source]), torch.tensor([read])
    source, read = rows
    return model(source, BatchLayout.of(source), read, BatchLayout.of(read))[0]


def defined_losses(student, teacher, pairs, vocabulary):
    """Each sentence alone, its words and its end: losses by the equations, in float64."""
    pieces = SentencePieceProcessor(model_file=str(vocabulary))
    english, german = (pieces.get_piece_size() + 1 + number for number in range(len(LANGUAGES)))
    losses, hard = [], []
    for pair in pairs:
        # fairseq2 puts a padding piece before all others, and languages behind them.
        source, words = ([piece + 1 for piece in pieces.encode(pair[side])] for side in pair)
        source = [english, *source, END]
        read, learnt = [END, german, *words], [*words, END]
        theirs = logits_of(teacher, source, read)[1:]
        ours = logits_of(student, source, read)[1:]
        _, decided, rows = method(ours, theirs, torch.tensor(learnt), gamma=GAMMA, **SETTINGS)
        losses += rows.tolist()
        hard += decided.tolist()
    return torch.tensor(losses), torch.tensor(hard)


@pytest.mark.parametrize("kernel", ["auto", "reference"])
def test_the_reported_loss_is_the_definitions_on_words_and_ends(
    taught, shared_folder, language_file, pair_teacher, kernel
):
    workshop, teacher = taught
    workshop.train("student", *STEPS, *KD, teacher, f"criterion.kernel={kernel}")
    (reported,) = workshop.metrics("student", "valid")

    lines = (shared_folder / "valid.jsonl").read_text(encoding="utf-8").splitlines()
    losses, hard = defined_losses(
        read_checkpoint(workshop.checkpoint("student", 40)),
        read_checkpoint(pair_teacher),
        [json.loads(line) for line in lines],
        language_file,
    )
    assert hard.any() and not hard.all()
    assert reported["Loss"] == pytest.approx(float(losses.mean()), rel=1e-5)
    assert reported["Hard Ratio"] == pytest.approx(float(hard.double().mean()), abs=1e-9)
    assert reported["Loss of Hard Tokens"] == pytest.approx(float(losses[hard].mean()), rel=1e-5)

    first, *_, last = workshop.metrics("student")
    assert last["Loss"] < 0.7 * first["Loss"]


def test_translation_during_validation_is_that_of_the_command(pair_workshop, shared_folder):
    workshop = pair_workshop
    search = ("translation={bleu: true, max_target_tokens: 30, beam_size: 3}",)
    workshop.train(
        "student", *search, "model.config_overrides.model_dim=32", "regime.score_metric=bleu",
        *(step.replace("40", "240") for step in STEPS),
    )  # fmt: skip
    (reported,) = workshop.metrics("student", "valid/bleu")
    scores = workshop.folder / "scores.json"
    workshop.sekd(
        "evaluate", shared_folder / "valid.jsonl", "--output", scores, "--beam-size", 3,
        "--max-target-tokens", 30, "--system", f"student={workshop.folder / 'student@best'}",
    )  # fmt: skip
    (system,) = json.loads(scores.read_text(encoding="utf-8"))["systems"]
    assert system["scores"][0]["metric"] == "BLEU"
    assert reported["BLEU"] == pytest.approx(system["scores"][0]["value"], abs=1e-4)
    assert reported["BLEU"] > 0.0


def test_files_have_directions_of_their_own(pair_workshop, shared_folder):
    back = {"source_language": "deu_Latn", "target_language": "eng_Latn"}
    fields = {"source_field": "tgt", "target_field": "src"}
    file = {"path": str(shared_folder / "train.jsonl")}
    train = json.dumps([file, {**file, **back, **fields}])
    pair_workshop.train(
        "both", *STEPS, f"dataset.train={train}", "regime.num_steps=120",
        "regime.validate_every_n_steps=null", "regime.checkpoint_every_n_steps=120",
    )  # fmt: skip
    translate = ("translate", "--model", pair_workshop.folder / "both")
    languages = ("--source-language", "deu_Latn", "--target-language", "eng_Latn")
    lines = pair_workshop.folder / "lines.txt"
    lines.write_text("open the file\n", encoding="utf-8")
    there = pair_workshop.sekd(*translate, "--input", lines)
    lines.write_text("öffne das dokument\n", encoding="utf-8")
    back = pair_workshop.sekd(*translate, *languages, "--input", lines)
    assert there.split() and set(there.split()) <= set(WORDS.values())
    assert back.split() and set(back.split()) <= set(WORDS)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            ["dataset.target_language=deu_Lat"],
            "dataset.target_language: 'deu_Lat' is not a language of the vocabulary; "
            "did you mean 'deu_Latn'? known: deu_Latn, eng_Latn",
        ),
        (
            ["dataset.source_language=null"],
            "dataset.source_language: is missing; an encoder–decoder model needs it",
        ),
        (["dataset.template='{source} ->'"], "dataset.template: would never be used: an encoder–"),
        (
            [f"model={json.dumps({'family': 'llama', 'config_overrides': MODEL})}"],
            "dataset.source_language: would never be used: a decoder-only model is told by",
        ),
        (
            ["criterion.name=word_kd", "teacher={path: /nowhere, family: llama}"],
            "teacher.family: the teacher is decoder-only, the student encoder–decoder; they must",
        ),
        (
            ["model={family: jepa}"],
            "model.family: gives a JepaModel, which does not translate; it must be one of llama,",
        ),
        (
            ["tokenizer.config_overrides={langs: []}"],
            "tokenizer.family: gives a vocabulary without pieces for languages",
        ),
    ],
)
def test_what_does_not_go_together_is_refused_in_one_line(pair_workshop, settings, message):
    error = pair_workshop.train("run", *settings, expect=2)
    assert error.startswith(f"sekd train: {message}")
    assert len(error.strip().splitlines()) == 1
    assert not (pair_workshop.folder / "run").exists()


def test_pairs_too_long_for_encoder_or_decoder_are_dropped_and_named(pair_workshop):
    size = "model.config_overrides.max_seq_len"
    log = pair_workshop.train("run", f"{size}=10", "dataset.valid=[]", "regime.num_steps=1")
    assert "longer than the 10 tokens that the student takes" in log
    error = pair_workshop.train("valid", f"{size}=10", expect=2)
    assert "is longer than the 10 tokens that the student takes" in error.splitlines()[-1]
