"""The ranges of fairseq2's numbers, where it has none of its own or tells them too late."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fairseq2.recipe.config import (
    AdafactorConfig,
    AdafactorGroupConfig,
    AdamWConfig,
    AdamWGroupConfig,
    CommonSection,
    CosineAnnealingLRConfig,
    MyleLRConfig,
    NoamLRConfig,
    PolynomialDecayLRConfig,
    RegimeSection,
    TorchConfig,
    TrainerSection,
    TriStageLRConfig,
)

from sekd_plugin.checks import between
from sekd_plugin.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Range:
    """From where to where a number may lie; it must be finite in any case."""

    low: float = -math.inf
    """The lowest number."""

    high: float = math.inf
    """The highest number."""

    open_low: bool = False
    """Whether the lowest number itself is out of range."""

    open_high: bool = False
    """Whether the highest number itself is out of range."""


FINITE = Range()
POSITIVE = Range(low=0.0, open_low=True)
NOT_NEGATIVE = Range(low=0.0)
SHARE = Range(low=0.0, high=1.0)
SHARE_BELOW_ONE = Range(low=0.0, high=1.0, open_high=True)
AT_LEAST_ONE = Range(low=1.0)

_ADAMW: dict[str, Range] = {
    "lr": NOT_NEGATIVE,
    "betas": SHARE_BELOW_ONE,
    "eps": NOT_NEGATIVE,
    "weight_decay": NOT_NEGATIVE,
}
_ADAFACTOR: dict[str, Range] = {
    "lr": NOT_NEGATIVE,
    "beta2_decay": Range(high=0.0),
    "eps": NOT_NEGATIVE,
    "d": AT_LEAST_ONE,
    "weight_decay": NOT_NEGATIVE,
}
_REGULAR = ("validate", "checkpoint", "publish_metrics")
_UNITS = ("steps", "data_epochs")

_BY_SECTION: dict[type[Any], dict[str, Range]] = {
    AdamWConfig: _ADAMW | {"fp16_loss_scale": POSITIVE, "max_grad_norm": POSITIVE},
    AdamWGroupConfig: _ADAMW,
    AdafactorConfig: _ADAFACTOR,
    AdafactorGroupConfig: _ADAFACTOR,
    CosineAnnealingLRConfig: {
        "cycle_len": AT_LEAST_ONE,
        "num_warmup_steps": NOT_NEGATIVE,
        "cycle_mul": POSITIVE,
        "lr_mul": POSITIVE,
        "start_lr": NOT_NEGATIVE,
        "final_lr": NOT_NEGATIVE,
        "final_lr_scale": NOT_NEGATIVE,
    },
    MyleLRConfig: {"num_warmup_steps": AT_LEAST_ONE, "start_lr": NOT_NEGATIVE},
    NoamLRConfig: {"num_warmup_steps": NOT_NEGATIVE},
    PolynomialDecayLRConfig: {
        "num_warmup_steps": NOT_NEGATIVE,
        "power": FINITE,
        "start_lr": NOT_NEGATIVE,
        "final_lr": NOT_NEGATIVE,
    },
    TriStageLRConfig: {
        "stage_ratio": SHARE,
        "start_lr_scale": NOT_NEGATIVE,
        "final_lr_scale": NOT_NEGATIVE,
    },
    CommonSection: {"seed": Range(low=0.0, high=2.0**32 - 1000)},
    RegimeSection: {
        **{f"{what}_after_n_{unit}": NOT_NEGATIVE for what in _REGULAR for unit in _UNITS},
        # fairseq2 divides by these two before it looks at them.
        **{f"publish_metrics_every_n_{unit}": AT_LEAST_ONE for unit in _UNITS},
    },
    TorchConfig: {
        "num_threads": AT_LEAST_ONE,
        "compiled_region_activation_memory_budget": SHARE,
    },
    TrainerSection: {"max_grad_norm": POSITIVE, "fp16_loss_scale": POSITIVE},
}

_OF_MODELS: dict[str, Range] = {
    "dropout_p": SHARE_BELOW_ONE,
    "factor": POSITIVE,
    "ffn_inner_dim": AT_LEAST_ONE,
    "ffn_inner_dim_multiple_of": AT_LEAST_ONE,
    "ffn_inner_dim_multiplier": POSITIVE,
    "ffn_inner_dim_scale": POSITIVE,
    "frequency_factors": POSITIVE,
    "init_std": POSITIVE,
    "max_seq_len": AT_LEAST_ONE,
    "model_dim": AT_LEAST_ONE,
    "num_attn_heads": AT_LEAST_ONE,
    "num_key_value_heads": AT_LEAST_ONE,
    "num_layers": AT_LEAST_ONE,
    "original_context_length": AT_LEAST_ONE,
    "pad_idx": NOT_NEGATIVE,
    "rope_theta": POSITIVE,
    "vocab_size": AT_LEAST_ONE,
}
"""By the names that the families' configurations have in common."""


def check_range(kind: type[Any], name: str, value: object, key: str) -> None:
    """Check that a number, or each number of a list, lies where it may.

    Args:
        kind: the class of the section.
        name: the field.
        value: its value, of the right type.
        key: its place in the recipe.

    Raises:
        ConfigError: it does not.
    """
    is_of_a_model = kind.__module__.startswith("fairseq2.models.")
    ranges: Mapping[str, Range] = _OF_MODELS if is_of_a_model else _BY_SECTION.get(kind, {})
    allowed = ranges.get(name)
    if allowed is None:
        return
    if isinstance(value, Sequence) and not isinstance(value, str):
        for number, element in enumerate(value):
            _check(name, element, allowed, f"{key}.{number}")
    else:
        _check(name, value, allowed, key)


def _check(name: str, value: object, allowed: Range, place: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return  # none, or fairseq2's word "default"
    if not math.isfinite(value):
        raise ConfigError(place, f"{value!r} is not allowed; it must be a finite number")
    try:
        between(
            name,
            value,
            allowed.low,
            allowed.high,
            open_low=allowed.open_low,
            open_high=allowed.open_high,
        )
    except ConfigError as error:
        raise ConfigError(place, error.problem) from None
