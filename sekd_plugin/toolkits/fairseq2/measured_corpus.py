"""Runs a student and its teacher over a corpus, to measure every target token."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch.nn import Module

from sekd_plugin.analysis.difficulty.measuring import measure
from sekd_plugin.analysis.difficulty.token_table import TokenPlaces, TokenTable, write_rows
from sekd_plugin.criterion import SelfEvolutionKD
from sekd_plugin.divergences import Divergence
from sekd_plugin.kernels.fused import row_chunks
from sekd_plugin.progress import Progress
from sekd_plugin.rows import TargetRows, shared_vocabulary
from sekd_plugin.toolkits.fairseq2.batching import plan_epoch
from sekd_plugin.toolkits.fairseq2.dataset import EncodedCorpus
from sekd_plugin.toolkits.fairseq2.finite_logits import check_finite
from sekd_plugin.toolkits.fairseq2.model_kind import ModelKind
from sekd_plugin.toolkits.fairseq2.vocabulary import output_size

# Several divergences are measured on a chunk, each with copies of it: small chunks stay in caches.
_CHUNK_BYTES = 8 * 2**20


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What is measured, and how."""

    kind: ModelKind
    """The kind of the two models."""

    criterion: SelfEvolutionKD
    """What is asked how difficult a token is."""

    main: str
    """The name of its own difficulty."""

    others: Mapping[str, Divergence]
    """More divergences, by name."""

    batch_tokens: int
    """The most tokens in a batch, padding included."""

    pad_index: int
    """What fills a batch up."""

    device: torch.device
    """Where the models are."""


def measure_corpus(
    student: Module,
    teacher: Module,
    corpus: EncodedCorpus,
    measurement: Measurement,
    progress: Progress,
    label: str,
) -> TokenTable:
    """Measure all target tokens, in the order of the corpus.

    Logits are there for a chunk of a batch's target tokens at a time.

    Raises:
        DataError: a model's logits are not finite; file and line are named.
    """
    steps = plan_epoch(
        measurement.kind.batches.widths(corpus),
        batch_tokens=measurement.batch_tokens,
        batches_per_step=1,
        generator=None,
    )
    batches = [batch for (batch,) in steps]
    starts = [0, *accumulate(map(len, corpus.targets))]
    whole: list[TokenTable] = []

    def measured() -> Iterator[int]:
        for batch in batches:
            part = TokenTable.joined(_measure_batch(student, teacher, corpus, batch, measurement))
            if not whole:
                # In one piece from the start: small pieces between a batch's large ones would
                # keep the memory of all batches from being used again.
                whole.append(part.chosen(torch.zeros(starts[-1], dtype=torch.int64)))
            rows = [torch.arange(starts[each], starts[each + 1]) for each in batch]
            write_rows(whole[0], torch.cat(rows), part)
            yield from batch

    deque(progress.track(measured(), label, len(corpus)), maxlen=0)
    return whole[0]


@torch.no_grad()
def _measure_batch(
    student: Module,
    teacher: Module,
    corpus: EncodedCorpus,
    sentences: Sequence[int],
    measurement: Measurement,
) -> list[TokenTable]:
    kind = measurement.kind
    batch = kind.batches.collate(corpus, sentences, measurement.pad_index)
    batch.to(measurement.device)
    inputs, targets = batch.as_auto_regressive()
    rows = TargetRows.of(targets.seqs, targets.target_mask)
    outputs = {
        name: kind.run_teacher(model, *kind.batches.inputs(inputs))
        for name, model in (("student", student), ("teacher", teacher))
    }
    states = {name: output.target_states(rows) for name, output in outputs.items()}
    parts = []
    places = [corpus.places[sentence] for sentence in sentences]
    size = output_size(student) or states["student"].shape[-1]
    for chunk in row_chunks(rows.num_targets, size, _CHUNK_BYTES):
        logits = {name: output.project(states[name][chunk]) for name, output in outputs.items()}
        shared = shared_vocabulary(logits["teacher"].shape[-1], logits["student"].shape[-1])
        for name, values in logits.items():
            check_finite(name, values[:, :shared], rows.sentences[chunk], places)
        parts.append(
            measure(
                measurement.criterion,
                measurement.others,
                measurement.main,
                logits["student"],
                logits["teacher"],
                rows.targets[chunk],
            )
        )
    return parts


def token_places(corpus: EncodedCorpus, pieces: Mapping[int, str], end: int) -> TokenPlaces:
    """Where the target tokens of a corpus stand.

    Args:
        corpus: the sentences.
        pieces: id → its text, with the space before it.
        end: the id of the end of a sentence.
    """
    lengths = torch.tensor([len(target) for target in corpus.targets])
    targets = torch.tensor([word for target in corpus.targets for word in target])
    positions = torch.cat([torch.arange(length) for length in lengths.tolist()])
    spaced = torch.tensor([pieces[word][:1].isspace() for word in targets.tolist()])
    return TokenPlaces(
        targets=targets,
        sentences=torch.repeat_interleave(torch.arange(len(corpus)), lengths),
        positions=positions,
        lengths=torch.repeat_interleave(lengths, lengths),
        starts_word=(spaced | (positions == 0)) & (targets != end),
        is_end=targets == end,
    )
