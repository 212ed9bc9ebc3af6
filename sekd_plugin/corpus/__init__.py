"""Parallel text on disk: reading it, prompting with it, preparing it. No toolkit in here."""

from sekd_plugin.corpus.pairs import read_pairs
from sekd_plugin.corpus.sentence_pair import SentencePair
from sekd_plugin.corpus.template import PromptTemplate

__all__ = ["PromptTemplate", "SentencePair", "read_pairs"]
