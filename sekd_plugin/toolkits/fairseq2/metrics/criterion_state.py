"""The criterion's state among the metrics, which fairseq2 saves."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from typing import Any, Self

import torch
from torcheval.metrics import Metric
from typing_extensions import override

from sekd_plugin.base_criterion import Criterion
from sekd_plugin.toolkits.fairseq2.faults.counts import FaultCounts


class CriterionState(Metric[None]):
    """Carries the criterion's state and the run's counts of faults in the checkpoint.

    fairseq2 saves metrics, not units.

    It has nothing to report and never resets. A rolled-back fp16 step replaces metrics by
    copies; a copy of this one carries the same criterion. When metrics are gathered over ranks to
    be reported, it has nothing to send.
    """

    def __init__(
        self,
        criterion: Criterion,
        counts: FaultCounts | None = None,
        *,
        device: torch.device | None = None,
    ) -> None:
        super().__init__(device=device)
        self._criterion = criterion
        self._counts = counts or FaultCounts()
        self._is_gathered = False

    @override
    def update(self, *_: Any, **__: Any) -> Self:
        return self

    @override
    def compute(self) -> None:
        return None

    @override
    def merge_state(self, metrics: Iterable[Self]) -> Self:
        return self

    @override
    def reset(self) -> Self:
        return self

    @override
    def _prepare_for_merge_state(self) -> None:
        self._is_gathered = True  # torcheval takes the state of every metric next

    @override
    def state_dict(self) -> dict[str, Any]:
        """The state as two tensors, numbers in JSON; next to nothing where it is gathered."""
        if self._is_gathered:
            self._is_gathered = False
            return {"numbers": torch.zeros((), device=self.device)}
        state = self._criterion.get_extra_state()
        observed = state.pop("observed")
        state["faults"] = dataclasses.asdict(self._counts)
        return {
            "numbers": torch.tensor(list(json.dumps(state).encode()), dtype=torch.uint8),
            "observed": observed.cpu(),
        }

    @override
    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> None:
        state = json.loads(bytes(state_dict["numbers"].tolist()))
        state["observed"] = state_dict["observed"]
        # Checkpoints of earlier versions counted no faults.
        for name, count in state.pop("faults", {}).items():
            setattr(self._counts, name, count)
        self._criterion.set_extra_state(state)

    def __deepcopy__(self, memo: dict[int, Any]) -> CriterionState:
        return CriterionState(self._criterion, self._counts, device=self.device)
