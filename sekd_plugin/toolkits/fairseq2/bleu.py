"""BLEU on the validation set during training."""

from __future__ import annotations

from collections.abc import MutableMapping

import torch
from fairseq2.data.tokenizers import Tokenizer
from fairseq2.evaluator import EvalUnit
from fairseq2.gang import Gangs
from fairseq2.metrics import MetricBag
from fairseq2.metrics.text import BleuMetric
from torch.nn import Module
from typing_extensions import override

from sekd_plugin.errors import ConfigError
from sekd_plugin.toolkits.fairseq2.batch_form import Batch
from sekd_plugin.toolkits.fairseq2.dataset import EncodedCorpus, prompt_tensor
from sekd_plugin.toolkits.fairseq2.model_kind import ModelKind
from sekd_plugin.toolkits.fairseq2.sections import TranslationSection
from sekd_plugin.toolkits.fairseq2.vocabulary import padding_index


class TranslationEvalUnit(EvalUnit[Batch]):
    """Translates the validation set with the model as it is, and scores it with SacreBLEU.

    The batches of its reader only set the pace: the sentences are shared out among the ranks
    and translated at the end.
    """

    def __init__(
        self,
        model: Module,
        kind: ModelKind,
        tokenizer: Tokenizer,
        corpus: EncodedCorpus,
        gangs: Gangs,
        section: TranslationSection,
    ) -> None:
        """What is translated, and with what.

        Args:
            model: the student itself, not its data-parallel wrapper.
            kind: what kind of model it is.
            tokenizer: the vocabulary.
            corpus: the validation set, with its text.
            gangs: which data-parallel rank this is, of how many.
            section: how to translate.
        """
        end = tokenizer.vocab_info.eos_idx
        if end is None:
            raise ConfigError("translation.bleu", "needs a tokenizer with an end-of-sequence piece")
        self._end = end
        self._begin = tokenizer.vocab_info.bos_idx
        self._model = model
        self._kind = kind
        self._tokenizer = tokenizer
        self._corpus = corpus
        self._device = gangs.device
        count = len(corpus) if section.max_sentences is None else section.max_sentences
        self._mine = list(range(len(corpus)))[:count][gangs.dp.rank :: gangs.dp.size]
        self._section = section

    @property
    @override
    def name(self) -> str | None:
        return "bleu"

    @override
    def prepare_metric_bag(self, metric_bag: MetricBag) -> None:
        metric_bag.add("bleu", BleuMetric())

    @override
    def process_batch(self, batch: Batch, metric_bag: MetricBag) -> None:
        """Nothing: see the class."""

    @override
    def finalize(self, metric_bag: MetricBag) -> None:
        """Translate this rank's sentences and add them to the score."""
        if not self._mine:
            return
        translations = self._kind.translate(
            self._model,
            [prompt_tensor(self._corpus, example).to(self._device) for example in self._mine],
            [self._corpus.prefix(example) for example in self._mine],
            eos_index=self._end,
            pad_index=padding_index(self._tokenizer),
            max_length=self._section.max_target_tokens,
            beam_size=self._section.beam_size,
            banned=[] if self._begin is None else [self._begin],
        )
        decode = self._tokenizer.create_decoder(skip_special_tokens=True)
        hypotheses = [decode(torch.tensor(ids, dtype=torch.int64)) for ids in translations]
        references = [self._corpus.pairs[example].target for example in self._mine]
        metric_bag.get("bleu", BleuMetric).update(references, hypotheses)

    @override
    def process_metric_values(self, values: MutableMapping[str, object]) -> None:
        """The score is all there is."""
