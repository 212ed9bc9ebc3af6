"""A student whose weights are no numbers is not saved over one whose weights are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from fairseq2.io import TensorFileDumper, TensorFileDumpOptions
from torch import Tensor
from torch.distributed.tensor import DTensor
from typing_extensions import override

from sekd_plugin.toolkits.fairseq2.faults.non_finite_step import NonFiniteStepError


class FiniteWeightsDumper(TensorFileDumper):
    """Writes files as another dumper does, but refuses a diverged model."""

    def __init__(self, dumper: TensorFileDumper) -> None:
        self._dumper = dumper

    @override
    def dump(
        self,
        data: Mapping[str, object],
        file: Path,
        options: TensorFileDumpOptions | None = None,
    ) -> None:
        """Write ``data``.

        Raises:
            NonFiniteStepError: it is a model's, and a weight is infinite or no number.
        """
        if file.parts[-4:-3] == ("model",):  # model/pp_00/tp_00/sdp_00.pt
            name = first_not_finite(data)
            if name is not None:
                step = next((part for part in file.parts if part.startswith("step_")), file.name)
                raise NonFiniteStepError(
                    f"{step.removesuffix('.tmp')}: the student's weights are not finite any more "
                    f"({name} first), so no checkpoint was made of them; the one before it stands"
                )
        self._dumper.dump(data, file, options)


def first_not_finite(state: Mapping[str, object]) -> str | None:
    """The name of the first tensor that holds an infinity or a NaN, or None."""
    for name, value in state.items():
        if not isinstance(value, Tensor):
            continue
        # A rank looks at what it holds itself; this runs beside the training, in a thread.
        local = value.to_local() if isinstance(value, DTensor) else value
        if local.is_floating_point() and not bool(torch.isfinite(local).all()):
            return name
    return None
