"""COMET, for those who have it: a learnt metric with a model of its own."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec

from sekd_plugin.errors import SekdError

DEFAULT_MODEL = "Unbabel/wmt22-comet-da"


def require_comet() -> None:
    """Check that COMET is installed.

    Raises:
        SekdError: it is not; the message says how to get it.
    """
    if find_spec("comet") is None:
        raise SekdError(
            "COMET is not installed; get it with 'pip install unbabel-comet' "
            f"(it downloads the model {DEFAULT_MODEL} when first used)"
        )


def comet_score(
    sources: Sequence[str],
    hypotheses: Sequence[str],
    references: Sequence[str],
    model: str = DEFAULT_MODEL,
) -> float:
    """COMET's system score, about in [0, 1].

    Raises:
        SekdError: COMET is not installed, or its model cannot be had.
    """
    require_comet()
    comet = import_module("comet")
    try:
        scorer = comet.load_from_checkpoint(comet.download_model(model))
    except Exception as error:
        raise SekdError(f"the COMET model {model} cannot be loaded: {error}") from None
    data = [
        {"src": source, "mt": hypothesis, "ref": reference}
        for source, hypothesis, reference in zip(sources, hypotheses, references, strict=True)
    ]
    return float(scorer.predict(data, gpus=0).system_score)
