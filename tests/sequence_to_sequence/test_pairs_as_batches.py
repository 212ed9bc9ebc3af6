"""The decoder is given the language and learns the words: nothing else of a pair is a target."""

import pytest
from fairseq2.device import CPU
from tiny_encoder_decoder import END, LANGUAGES, PAD

from sekd_plugin.errors import ConfigError
from sekd_plugin.rows import TargetRows
from sekd_plugin.toolkits.fairseq2.sequence_to_sequence.batch import collate_pairs
from sekd_plugin.toolkits.fairseq2.sequence_to_sequence.encoding import Direction
from sekd_plugin.toolkits.fairseq2.sequence_to_sequence.student import model_inputs
from sekd_plugin.toolkits.fairseq2.tokenizer_file import load_tokenizer

PAIRS = [("open the file", "öffne das dokument"), ("red", "rote"), ("and now", "und jetzt")]


def language(tokenizer, name):
    """The id of a language piece: the first of what the tokenizer itself makes of a source."""
    return int(tokenizer.create_encoder(lang=name, mode="source")("x")[0])


def test_a_pair_has_the_languages_where_nllb_has_them(direction, language_pieces):
    english, german = (language(language_pieces, name) for name in LANGUAGES)
    assert english != german and direction.prefix == (END, german)
    words = [int(word) for word in language_pieces.create_raw_encoder()("open the file")]
    assert direction.encode_source("open the file") == [english, *words, END]
    words = [int(word) for word in language_pieces.create_raw_encoder()("das dokument")]
    assert direction.encode_target("das dokument") == [*words, END]


def test_words_and_ends_are_learnt_and_languages_and_padding_are_not(direction):
    sources = [direction.encode_source(source) for source, _ in PAIRS]
    targets = [direction.encode_target(target) for _, target in PAIRS]
    prefixes = [direction.prefix] * len(PAIRS)
    batch = collate_pairs(sources, targets, prefixes=prefixes, pad_index=PAD)
    trimmed, target_batch = batch.as_auto_regressive()
    rows = TargetRows.of(target_batch.seqs, target_batch.target_mask)

    assert rows.targets.tolist() == [word for target in targets for word in target]
    assert rows.sentences.tolist() == [n for n, target in enumerate(targets) for _ in target]
    source_seqs, source_layout, target_seqs, target_layout = model_inputs(trimmed)
    assert list(source_layout.seq_lens) == [len(source) for source in sources]
    assert list(target_layout.seq_lens) == [len(target) + 1 for target in targets]
    for row, (source, target) in enumerate(zip(sources, targets, strict=True)):
        assert source_seqs[row, : len(source)].tolist() == source
        assert source_seqs[row, len(source) :].eq(PAD).all()
        # What is read lies one place before what is learnt.
        assert target_seqs[row, : len(target) + 1].tolist() == [*direction.prefix, *target[:-1]]


def test_a_language_that_the_vocabulary_lacks_is_refused_by_name(language_pieces):
    with pytest.raises(ConfigError, match=r"target_language: 'ces_Latn' is not a language"):
        Direction(tokenizer=language_pieces, source="eng_Latn", target="ces_Latn")


def test_a_vocabulary_without_languages_is_refused(shared_folder):
    tokenizer = load_tokenizer("llama", shared_folder / "vocabulary.model", CPU)
    with pytest.raises(ConfigError, match="without pieces for languages"):
        Direction(tokenizer=tokenizer, source="eng_Latn", target="deu_Latn")
