"""Numbers that are none: from the teacher, from a student that diverges, from fp16."""

import pytest
import torch
from interruptions import steps
from poisoned_teacher import LINE, poisoned_teacher, with_one_marked_sentence

KD = "criterion.name=self_evolution_kd"
SAVING = (
    "regime.num_steps=40",
    "regime.publish_metrics_every_n_steps=1",
    "regime.validate_every_n_steps=null",
    "regime.checkpoint_every_n_steps=1",
    "dataset.valid=[]",
)


def saved(workshop, run):
    """The steps whose checkpoints stand, each with finite weights."""
    found = []
    for step in (workshop.folder / run / "checkpoints").glob("step_*"):
        if step.name[5:].isdecimal():
            state = torch.load(step / "model/pp_00/tp_00/sdp_00.pt", weights_only=True)
            assert all(bool(torch.isfinite(value).all()) for value in state.values()), step
            found.append(int(step.name[5:]))
    return sorted(found)


def fault_the_teacher_gives_nan_on_one_sentence(taught, figure):
    piece, file = with_one_marked_sentence(taught)
    settings = (poisoned_teacher(taught, piece), KD, *SAVING)
    settings += (f"dataset.train=[{{path: {file}}}]",)

    said = taught.train("run", *settings, expect=3)

    last = said.strip().splitlines()[-1]
    step = int(last.removeprefix("sekd train: step ").partition(":")[0])
    assert "the teacher's logits are not finite on " in last
    assert last.endswith(f"in {file}, line {LINE}"), last
    reported = steps(taught, "run") if step > 1 else []
    assert reported == list(range(1, step))
    stand = saved(taught, "run") if step > 1 else []
    assert all(number < step for number in stand)
    figure(
        f"stopped at step {step}, naming line {LINE} of 120 alone; {len(stand)} sound checkpoints"
    )


@pytest.mark.parametrize("rate", ["1e4", "1e20", "1e30"])
def fault_a_student_diverges(taught, figure, rate):
    settings = (taught.teacher("teacher", 8), KD, *SAVING, f"optimizer.config.lr={rate}")
    settings += ("lr_scheduler.config.cycle_len=1000",)

    said = taught.train("run", *settings, expect=3)

    last = said.strip().splitlines()[-1]
    assert (last.startswith("sekd train: step") and "not finite" in last) or "infinite" in last, (
        last
    )
    figure(f"lr {rate}: {last.removeprefix('sekd train: ')[:90]}…; sound: {saved(taught, 'run')}")


@pytest.mark.parametrize("every", [1, 5])
def fault_fp16_overflows_without_a_loss_scale(taught, monkeypatch, figure, every):
    """fairseq2 scales losses on a GPU alone; here an overflow must end the run, not the student."""
    (taught.folder / "steep.py").write_text(
        "from sekd_plugin.divergences import ForwardKL\n"
        "class Steep(ForwardKL):\n"
        "    def forward(self, log_target, log_student):\n"
        "        return 1e9 * super().forward(log_target, log_student)\n"
    )
    monkeypatch.syspath_prepend(taught.folder)
    settings = (taught.teacher("teacher", 8), KD, *SAVING, "criterion.kernel=reference")
    settings += ("criterion.config.divergence=steep:Steep",)
    settings += ("trainer.mixed_precision={mode: auto, dtype: float16}",)
    settings += (f"regime.publish_metrics_every_n_steps={every}",)
    settings += (f"regime.checkpoint_every_n_steps={every}",)

    said = taught.train("run", *settings, expect=3)

    last = said.strip().splitlines()[-1]
    assert last.startswith("sekd train: step ") and "not finite" in last, last
    assert saved(taught, "run") == []
    figure(f"{last.removeprefix('sekd train: ')[:90]}…; nothing unsound saved")
