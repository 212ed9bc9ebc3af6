"""NLLB of Hugging Face: what a run exports is read there, and what is made there is read here."""

import json
import shutil
from types import SimpleNamespace

import pytest
import torch
import transformers
from fairseq2.models.hg import get_hugging_face_converter, save_hugging_face_model
from fairseq2.models.nllb import NllbConfig
from fairseq2.nn import BatchLayout
from tiny_encoder_decoder import PAIR_MODEL, PUBLISHED_LANGUAGES, teacher_of
from transformers.models.nllb.tokenization_nllb import FAIRSEQ_LANGUAGE_CODES

from sekd_plugin.errors import ConfigError
from sekd_plugin.toolkits.fairseq2.export import mend_exports
from sekd_plugin.toolkits.fairseq2.loading import load_exported, load_translator
from sekd_plugin.toolkits.fairseq2.sequence_to_sequence.export import NllbMending

WORDS = 300
OURS = torch.tensor([2, 0, 3, 1, *range(4, WORDS)])
"""The id here of each id in ``transformers``."""
LANGUAGES = ("--source-language", "eng_Latn", "--target-language", "deu_Latn")


@pytest.fixture
def every_language(pair_workshop):
    """A workshop whose vocabulary has NLLB's languages."""
    langs = json.dumps({"langs": PUBLISHED_LANGUAGES})
    settings = (
        f"tokenizer.config_overrides={langs}",
        f"model.config_overrides.vocab_size={WORDS}",
        "model.config_overrides.model_dim=24",
    )
    return pair_workshop, settings


def export(translator, folder):
    """What fairseq2 does after a checkpoint, in a process of its own, and what mends it."""
    converter = get_hugging_face_converter("nllb")
    config = NllbConfig(**{**PAIR_MODEL, "vocab_size": WORDS, "model_dim": 24})
    state = converter.to_hg_state_dict(dict(translator.model.state_dict()), config)
    to = folder / "checkpoints/step_1/hg"
    save_hugging_face_model(to, state, converter.to_hg_config(config))
    mend_exports(folder, NllbMending(translator.encoding))(SimpleNamespace(step_nr=1))
    return to


def test_an_exported_student_is_the_same_model_and_translates_alike(
    every_language, language_file, shared_folder
):
    workshop, settings = every_language
    workshop.train(
        "run", *settings, "regime.num_steps=160", "regime.checkpoint_every_n_steps=160",
        "regime.validate_every_n_steps=null",
    )  # fmt: skip
    ours = load_translator(str(workshop.folder / "run"), device="cpu")
    folder = export(ours, workshop.folder)
    theirs = transformers.AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    moved = shutil.copytree(folder, workshop.folder / "moved")
    shutil.copy(language_file, moved / "sentencepiece.bpe.model")
    pieces = transformers.AutoTokenizer.from_pretrained(moved)

    special = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2}
    for settings_ in (theirs.config, theirs.generation_config, pieces):
        assert {key: getattr(settings_, key) for key in special} == special
    german = pieces.convert_tokens_to_ids("deu_Latn")
    assert theirs.generation_config.forced_bos_token_id == german == ours.encoding.prefix[-1]
    assert (pieces.src_lang, pieces.tgt_lang) == ("eng_Latn", "deu_Latn")

    lines = (shared_folder / "valid.jsonl").read_text(encoding="utf-8").splitlines()[:10]
    sources = [json.loads(line)["src"] for line in lines]
    text = workshop.folder / "source.txt"
    text.write_text("".join(source + "\n" for source in sources), encoding="utf-8")
    for beam_size in (1, 4):
        produced = []
        for source in sources:
            read = pieces(source, return_tensors="pt")
            ids = ours.encoding.encode_source(source)
            assert OURS[read["input_ids"][0]].tolist() == ids
            (words,) = theirs.generate(**read, max_new_tokens=30)
            produced.append(" ".join(pieces.decode(words, skip_special_tokens=True).split()))
            source_ids, target_ids = torch.tensor([ids]), OURS[words][None]
            with torch.no_grad():
                logits = ours.model(
                    source_ids, BatchLayout.of(source_ids), target_ids, BatchLayout.of(target_ids)
                )
                found = theirs(**read, decoder_input_ids=words[None]).logits
            torch.testing.assert_close(found, logits[..., OURS], rtol=1e-4, atol=1e-4)
        assert len(set(produced)) > 5
        # One word more there, because the language counts as one.
        command = (
            "translate", "--input", text, "--max-target-tokens", 29, "--beam-size", beam_size,
            "--length-penalty", 0, "--max-target-ratio", 100, "--model",
        )  # fmt: skip
        found = workshop.sekd(*command, workshop.folder / "run").splitlines()
        # Theirs overlooks an end that is not among the likeliest words; so greedily only.
        assert beam_size > 1 or found == produced
        parts = ("--family", "nllb", "--tokenizer", language_file, *LANGUAGES)
        assert workshop.sekd(*command, moved, *parts).splitlines() == found


def test_a_model_of_transformers_is_read_as_teacher_and_as_student(
    every_language, language_file, tmp_path
):
    workshop, settings = every_language
    torch.manual_seed(3)
    config = transformers.M2M100Config(
        vocab_size=WORDS, d_model=24, max_position_embeddings=64, dropout=0.0, layerdrop=0.0,
        encoder_layers=1, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2,
        encoder_ffn_dim=32, decoder_ffn_dim=32, scale_embedding=True, init_std=0.3,
        encoder_layerdrop=0.0, decoder_layerdrop=0.0, attention_dropout=0.0,
    )  # fmt: skip
    theirs = transformers.M2M100ForConditionalGeneration(config).eval()
    theirs.save_pretrained(tmp_path / "published")
    words = {"additional_special_tokens": FAIRSEQ_LANGUAGE_CODES}
    (tmp_path / "published/special_tokens_map.json").write_text(json.dumps(words))

    translator = load_exported(
        tmp_path / "published",
        family="nllb",
        tokenizer=language_file,
        settings={"source_language": "eng_Latn", "target_language": "deu_Latn"},
        device="cpu",
    )
    source, target = torch.tensor([[150, 5, 9, 77, 2]]), torch.tensor([[2, 200, 4, 3, 8, 8]])
    given, read = OURS[source], OURS[target]
    with torch.no_grad():
        logits = translator.model(given, BatchLayout.of(given), read, BatchLayout.of(read))
        expected = theirs(input_ids=source, decoder_input_ids=target).logits
    torch.testing.assert_close(logits[..., OURS], expected, rtol=1e-4, atol=1e-4)

    shape = {"vocab_size": WORDS, "model_dim": 24}
    section = {"family": "nllb", "path": str(tmp_path / "published")}
    section["config_overrides"] = {**PAIR_MODEL, **shape}
    workshop.train(
        "run", *settings, f"model={json.dumps(section)}", "criterion.name=word_kd",
        "criterion.config={teacher_weight: 1.0}", "optimizer.config.lr=0.0",
        teacher_of(tmp_path / "published", **shape),
    )  # fmt: skip
    (reported,) = workshop.metrics("run", "valid")
    assert reported["Loss"] == pytest.approx(0.0, abs=1e-6)
    assert reported["Cross-Entropy"] > 1.0


def test_an_export_without_its_languages_says_what_it_needs(language_file, tmp_path):
    config = transformers.M2M100Config(
        vocab_size=WORDS, d_model=8, encoder_layers=1, decoder_layers=1, encoder_ffn_dim=8,
        decoder_ffn_dim=8, encoder_attention_heads=1, decoder_attention_heads=1,
        activation_function="gelu",
    )  # fmt: skip
    transformers.M2M100ForConditionalGeneration(config).save_pretrained(tmp_path)
    parts = {"family": "nllb", "tokenizer": language_file, "device": "cpu"}
    with pytest.raises(Exception, match="activation_function is 'gelu'; fairseq2's NLLB has 'rel"):
        load_exported(tmp_path, settings={}, **parts)
    file = tmp_path / "config.json"
    file.write_text(file.read_text().replace('"gelu"', '"relu"'))
    with pytest.raises(Exception, match=r"name --target-language$"):
        load_exported(tmp_path, settings={"source_language": "eng_Latn"}, **parts)
    words = {"source_language": "eng_Latn", "target_language": "deu_Latn", "template": "{source}"}
    (tmp_path / "special_tokens_map.json").write_text(
        json.dumps({"additional_special_tokens": FAIRSEQ_LANGUAGE_CODES})
    )
    with pytest.raises(ConfigError, match=r"^--template: would never be used"):
        load_exported(tmp_path, settings=words, **parts)
