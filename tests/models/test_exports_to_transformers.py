"""An exported student in ``transformers``: same special tokens, same logits, same translations."""

import json
from types import SimpleNamespace

import pytest
import torch
import transformers
from fairseq2.device import CPU
from fairseq2.gang import create_fake_gangs
from fairseq2.models import ModelFamily
from fairseq2.models.hg import get_hugging_face_converter, save_hugging_face_model
from fairseq2.nn import BatchLayout
from fairseq2.runtime.dependency import get_dependency_resolver
from fairseq2.utils.structured import StandardValueConverter
from model_families import FAMILIES, settings_of
from sentencepiece import SentencePieceProcessor

import sekd_plugin.toolkits.fairseq2.export as export_module
from sekd_plugin.cli import main
from sekd_plugin.toolkits.fairseq2.export import DecoderMending, mend_exports
from sekd_plugin.toolkits.fairseq2.loading import load_translator
from sekd_plugin.toolkits.fairseq2.tokenizer_file import load_tokenizer

TEMPLATE = "to German: {source}\n"
BEGIN, END, PAD = 1, 2, 3
LONGEST = 60
LEARNING = (
    "regime.num_steps=200",  # enough that translations end, and are not all the same
    "regime.publish_metrics_every_n_steps=100",
    "regime.validate_every_n_steps=null",
    "regime.checkpoint_every_n_steps=200",
    "dataset.valid=[]",
)
WIDER = {"model_dim": 32}


def sources(shared_folder, count=10):
    lines = (shared_folder / "valid.jsonl").read_text(encoding="utf-8").splitlines()[:count]
    return [json.loads(line)["src"] for line in lines]


def sekd(workshop, *arguments, expect=0):
    workshop.capture()
    code = main([str(argument) for argument in arguments])
    out, error = workshop.capture()
    assert code == expect, error
    return out if code == 0 else error


def shape_of(kind, **overrides):
    name, shape = FAMILIES[kind]
    family = get_dependency_resolver().resolve(ModelFamily, key=name)
    return family, StandardValueConverter().structure({**shape, **overrides}, family.config_kls)


def export(model, config, kind, folder, tokenizer):
    """What fairseq2 does after a checkpoint, in a process of its own, and what mends it."""
    converter = get_hugging_face_converter(FAMILIES[kind][0])
    state = converter.to_hg_state_dict(dict(model.state_dict()), config)
    to = folder / "checkpoints/step_1/hg"
    save_hugging_face_model(to, state, converter.to_hg_config(config))
    mend_exports(folder, DecoderMending(model, tokenizer))(SimpleNamespace(step_nr=1))
    return to


def exported_untrained(kind, folder, tokenizer, **overrides):
    family, config = shape_of(kind, **overrides)
    torch.manual_seed(0)
    gangs = create_fake_gangs(CPU)
    model = family.create_new_model(config, gangs, torch.float32, False, False).eval()
    return model, export(model, config, kind, folder, tokenizer)


@pytest.fixture
def tokenizer(workshop, shared_folder):
    return load_tokenizer("llama", shared_folder / "vocabulary.model", CPU)


@pytest.mark.parametrize("kind", FAMILIES)
def test_an_exported_student_is_the_same_model(workshop, shared_folder, tokenizer, kind):
    workshop.train("run", settings_of("model", kind, **WIDER), *LEARNING)
    ours = load_translator(str(workshop.folder / "run"), device="cpu")
    _, config = shape_of(kind, **WIDER)
    folder = export(ours.model, config, kind, workshop.folder, tokenizer)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()

    assert theirs.config.model_type == kind
    for settings in (theirs.config, theirs.generation_config):
        special = (settings.bos_token_id, settings.eos_token_id, settings.pad_token_id)
        assert special == (BEGIN, END, PAD)

    pieces = SentencePieceProcessor(model_file=str(shared_folder / "vocabulary.model"))
    prompts = [
        [BEGIN, *pieces.encode(TEMPLATE.format(source=source))] for source in sources(shared_folder)
    ]
    translations, num_ended = [], 0
    for prompt in prompts:
        words = torch.tensor([prompt])
        with torch.no_grad():
            logits = ours.model(words, BatchLayout.of(words))
        torch.testing.assert_close(theirs(words).logits, logits, rtol=1e-5, atol=1e-5)
        room = min(LONGEST, theirs.config.max_position_embeddings - len(prompt))
        produced = theirs.generate(words, max_new_tokens=room)[0, len(prompt) :].tolist()
        num_ended += END in produced
        text = pieces.decode([word for word in produced if word != END])
        translations.append(" ".join(text.split()))
    assert num_ended > 0 and len(set(translations)) > 2

    lines = workshop.folder / "source.txt"
    lines.write_text("".join(source + "\n" for source in sources(shared_folder)))
    limits = ("--max-target-tokens", LONGEST, "--max-target-ratio", 100)
    command = ("translate", "--input", lines, *limits, "--model")
    assert sekd(workshop, *command, workshop.folder / "run").splitlines() == translations

    command += (folder, "--tokenizer", shared_folder / "vocabulary.model", "--template", TEMPLATE)
    if kind == "mistral":  # read back as a Llama, which has no window
        assert "the model takes 8 with" in sekd(workshop, *command, expect=2)
    else:
        assert sekd(workshop, *command).splitlines() == translations


@pytest.mark.parametrize(
    ("kind", "overrides", "words"),
    [
        ("qwen2", {"q_norm": True, "k_norm": True}, "qwen2 has no q_norm and k_norm"),
        ("qwen3", {"q_norm": False}, "qwen3 has q_norm and k_norm, the model q_norm: False"),
        (
            "olmo3",
            {"yarn_scale_config": {"original_max_seq_len": 32}},
            "fairseq2 scales the positions of layers with a sliding window too",
        ),
        (
            "olmo2",
            {"yarn_scale_config": {"original_max_seq_len": 32}},
            "yarn_scale_config has no effect without sliding_window",
        ),
    ],
)
def test_an_export_that_would_be_another_model_is_removed(
    tmp_path, tokenizer, monkeypatch, kind, overrides, words
):
    said = []
    monkeypatch.setattr(
        export_module.log, "error", lambda text, *parts: said.append(text.format(*parts))
    )
    _, folder = exported_untrained(kind, tmp_path, tokenizer, **overrides)
    assert not folder.exists()
    assert len(said) == 1 and said[0].startswith("The export of step 1 is removed")
    assert words in said[0]


@pytest.mark.parametrize(
    ("kind", "overrides"),
    [
        (
            "olmo3",
            {
                "layer_types": ["full_attention", "full_attention"],
                "yarn_scale_config": {"original_max_seq_len": 32, "scale_factor": 4.0},
            },
        ),
        ("olmo3", {"num_layers": 5}),
        ("olmo2", {"tied_embeddings": True, "shard_embed_dim": False}),
        ("qwen2", {"head_dim": 12, "tied_embeddings": False}),
        ("qwen3", {"tied_embeddings": True, "num_layers": 2}),
        ("mistral", {"num_layers": 2, "num_key_value_heads": 2}),
    ],
)
def test_other_shapes_are_exported_as_they_are(tmp_path, tokenizer, kind, overrides):
    ours, folder = exported_untrained(kind, tmp_path, tokenizer, **overrides)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    words = torch.arange(4, 64)[None]
    with torch.no_grad():
        logits = ours(words, BatchLayout.of(words))
    torch.testing.assert_close(theirs(words).logits, logits, rtol=1e-5, atol=1e-5)


def test_an_exported_mistral_translates_and_teaches_as_a_llama(workshop, shared_folder):
    window = {"attn_window_len": 128}
    model = settings_of("model", "mistral", **window)
    workshop.train("run", model, "regime.export_hugging_face=true")
    folder = workshop.folder / "run/checkpoints/step_8/hg"
    lines = workshop.folder / "source.txt"
    lines.write_text("".join(source + "\n" for source in sources(shared_folder)))
    parts = ("--tokenizer", shared_folder / "vocabulary.model", "--template", TEMPLATE)
    command = ("translate", "--input", lines, "--model")
    found = sekd(workshop, *command, folder, *parts)
    assert found == sekd(workshop, *command, workshop.folder / "run") and found.strip()

    llama = {
        "family": "llama",
        "path": str(folder),
        "config_overrides": {
            **FAMILIES["mistral"][1],
            "ffn_inner_dim_scale": 1.0,
            "ffn_inner_dim_multiple_of": 1,
        },
    }
    del llama["config_overrides"]["attn_window_len"]
    native = settings_of("teacher", "mistral", folder.parent / "model", **window)
    steps = (
        "criterion.name=word_kd",
        "regime.num_steps=4",
        "regime.publish_metrics_every_n_steps=2",
    )
    workshop.train("by_itself", native, *steps)
    workshop.train("as_llama", f"teacher={json.dumps(llama)}", *steps)
    for ours, theirs in zip(
        workshop.metrics("by_itself"), workshop.metrics("as_llama"), strict=True
    ):
        assert ours["Loss"] == pytest.approx(theirs["Loss"], rel=1e-5)
