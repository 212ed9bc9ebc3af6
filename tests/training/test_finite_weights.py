"""Weights that are no numbers are not saved."""

import fairseq2.recipe  # noqa: F401  # else metrics is the first to import it, in a circle
import pytest
import torch
from fairseq2.io import TensorFileDumper

from sekd_plugin.toolkits.fairseq2.durability.finite_weights import FiniteWeightsDumper
from sekd_plugin.toolkits.fairseq2.faults.non_finite_step import NonFiniteStepError


class Recording(TensorFileDumper):
    def __init__(self):
        self.files = []

    def dump(self, data, file, options=None):
        self.files.append(file)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_diverged_model_is_refused_by_the_name_of_its_first_weight(tmp_path, value, dtype):
    written = Recording()
    state = {name: torch.ones(3, 2, dtype=dtype) for name in ("a", "b", "c")}
    state["b"][2, 1] = state["c"][0, 0] = value
    file = tmp_path / "checkpoints/step_7.tmp/model/pp_00/tp_00/sdp_00.pt"
    with pytest.raises(NonFiniteStepError, match=r"^step_7: .* \(b first\)"):
        FiniteWeightsDumper(written).dump(state, file)
    assert written.files == []


def test_everything_else_is_written(tmp_path):
    written = Recording()
    sound = {"a": torch.ones(2), "n": torch.tensor([1, 2]), "flag": True}
    infinite = {"best": torch.tensor(float("inf")), "loss": float("nan")}
    step = tmp_path / "model/checkpoints/step_7.tmp"
    FiniteWeightsDumper(written).dump(sound, step / "model/pp_00/tp_00/sdp_00.pt")
    FiniteWeightsDumper(written).dump(infinite, step / "trainer/rank_00.pt")
    assert len(written.files) == 2
