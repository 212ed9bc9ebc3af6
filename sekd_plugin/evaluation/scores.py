"""SacreBLEU, chrF2 and TER of whole test sets, each with its signature."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.metrics.ter import TER

from sekd_plugin.errors import SekdError


@dataclass(frozen=True, kw_only=True)
class Score:
    """One metric of one system on one test set."""

    metric: str
    """``BLEU``, ``chrF2`` or ``TER``."""

    value: float
    """In [0, 100] for BLEU and chrF2; TER may exceed 100."""

    signature: str
    """SacreBLEU's own record of version and settings."""

    higher_is_better: bool
    """False for TER."""


def corpus_scores(hypotheses: Sequence[str], references: Sequence[str]) -> list[Score]:
    """BLEU, chrF2 and TER of a system's translations.

    Args:
        hypotheses: one translation a sentence.
        references: one reference a sentence.

    Raises:
        SekdError: their numbers differ, or there are none.
    """
    check_counts(hypotheses, references)
    scores = []
    for metric, higher in ((BLEU(), True), (CHRF(), True), (TER(), False)):
        result = metric.corpus_score(list(hypotheses), [list(references)])
        scores.append(
            Score(
                metric=str(result.name),
                value=float(result.score),
                signature=str(metric.get_signature()),
                higher_is_better=higher,
            )
        )
    return scores


def check_counts(hypotheses: Sequence[str], references: Sequence[str]) -> None:
    """Check that there is one translation for each reference.

    Raises:
        SekdError: there is not.
    """
    if len(hypotheses) != len(references):
        raise SekdError(
            f"there are {len(hypotheses)} translations for {len(references)} references; "
            "each sentence needs one"
        )
    if not references:
        raise SekdError("the test set is empty")
