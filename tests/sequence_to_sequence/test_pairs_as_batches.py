"""The decoder is given the language and learns the words: nothing else of a pair is a target."""

import random

import numpy as np
import pytest
from fairseq2.device import CPU
from tiny_encoder_decoder import END, LANGUAGES, PAD

from sekd_plugin.errors import ConfigError
from sekd_plugin.rows import TargetRows
from sekd_plugin.toolkits.fairseq2.batching import plan_epoch
from sekd_plugin.toolkits.fairseq2.dataset import EncodedCorpus
from sekd_plugin.toolkits.fairseq2.sections import CorpusSection
from sekd_plugin.toolkits.fairseq2.sequence_to_sequence.batch import PAIR_BATCHES, collate_pairs
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


@pytest.mark.parametrize("batch_tokens", [300, 1501, 30])
def test_encoder_and_decoder_are_given_half_of_the_tokens_each_at_most(batch_tokens):
    """Padding included; a pair that is longer than that is a batch of its own."""
    draw = random.Random(4)
    corpus = EncodedCorpus()
    for place in range(400):
        corpus.prompts.append([5] * draw.randint(1, 20))
        corpus.targets.append([6] * draw.randint(1, 25))
        corpus.prefixes.append((END, 7))
        corpus.places.append(("corpus", place))
    dataset = CorpusSection(batch_tokens=batch_tokens, max_source_tokens=20, max_target_tokens=25)
    largest = PAIR_BATCHES.largest(dataset)
    steps = plan_epoch(
        PAIR_BATCHES.widths(corpus),
        batch_tokens=batch_tokens,
        batches_per_step=1,
        generator=np.random.default_rng(1),
    )
    batches = [PAIR_BATCHES.collate(corpus, batch, PAD) for step in steps for batch in step]
    for side, planned in (("source", largest.sources), ("target", largest.tokens)):
        sizes = [getattr(batch, f"{side}_seqs").shape for batch in batches]
        assert 0.7 * planned <= max(rows * width for rows, width in sizes) <= planned
        assert max(width for _, width in sizes) <= largest.longest == 27
    assert largest.sources + largest.tokens == max(batch_tokens // 2 * 2, 2 * 27)


def test_a_language_that_the_vocabulary_lacks_is_refused_by_name(language_pieces):
    with pytest.raises(ConfigError, match=r"target_language: 'ces_Latn' is not a language"):
        Direction(tokenizer=language_pieces, source="eng_Latn", target="ces_Latn")


def test_a_vocabulary_without_languages_is_refused(shared_folder):
    tokenizer = load_tokenizer("llama", shared_folder / "vocabulary.model", CPU)
    with pytest.raises(ConfigError, match="without pieces for languages"):
        Direction(tokenizer=tokenizer, source="eng_Latn", target="deu_Latn")
