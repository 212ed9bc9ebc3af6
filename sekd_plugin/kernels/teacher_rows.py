"""What a criterion reads of the teacher: its target rows, of the student's words alone."""

from __future__ import annotations

from torch import Tensor

from sekd_plugin.kernels.division import Division
from sekd_plugin.kernels.fused import Rows, TeacherOf
from sekd_plugin.kernels.projection import ChunkRoom, Projection, factor_dtype
from sekd_plugin.kernels.row_kernel import TeacherRows
from sekd_plugin.rows import TargetRows, shared_vocabulary
from sekd_plugin.teachers import SparseTeacher


def target_rows(rows: TargetRows, given: TeacherRows, size: int) -> TeacherRows:
    """The target rows of what is given for a batch, without gradient.

    Args:
        rows: where the target tokens are.
        given: logits ``[..., V']``, a sparse teacher ``[..., k]``, or None.
        size: V, the student's number of words.
    """
    if isinstance(given, SparseTeacher):
        return given.take(rows, size)
    return None if given is None else rows.take(given.detach(), "teacher_logits")


def shared_words(teacher: TeacherRows, size: int, temperature: float) -> TeacherRows:
    """The student's words alone, of a teacher given for rows: ``[n, V']`` → ``[n, V]``.

    Raises:
        ValueError: there is none, it has too few words, or another temperature.
    """
    if teacher is None:
        raise ValueError(
            "the teacher is missing: teacher_logits are needed by this criterion, or, for "
            "forward_linear, the teacher's hidden states and weight"
        )
    if not isinstance(teacher, SparseTeacher):
        return teacher.detach()[:, : shared_vocabulary(teacher.shape[-1], size)]
    if teacher.temperature != temperature:
        raise ValueError(
            f"the sparse teacher has the temperature {teacher.temperature}, the criterion "
            f"{temperature}; they must be equal"
        )
    return teacher


def no_teacher(chunk: Rows) -> TeacherRows:
    """Nothing, for a criterion that needs none."""
    return None


def ready_teacher(teacher: TeacherRows, division: Division | None) -> TeacherOf:
    """A teacher that is there for all rows and words, cut to this rank's words."""
    if division is not None and isinstance(teacher, Tensor):
        teacher = teacher[:, division.words]
    return lambda chunk: None if teacher is None else teacher[chunk]


def projected_teacher(
    states: Tensor, projection: Projection, size: int, division: Division | None
) -> TeacherOf:
    """A teacher whose logits are formed for some rows at a time; they hold until the next.

    Args:
        states: hidden states of the target rows, ``[n, D']``.
        projection: from them to logits, of V' words or this rank's part of them.
        size: V, the student's number of words, of all ranks.
        division: how the student's words are divided among ranks, if they are.
    """
    room = ChunkRoom()
    if division is None:
        shared = shared_vocabulary(projection.size, size)
        frozen = projection.frozen(shared, factor_dtype(states))
        return lambda chunk: frozen.logits(states[chunk], room)
    own = Division.of(projection.size, division.group, states.device)
    shared_vocabulary(own.total, size)
    part = projection.frozen(dtype=factor_dtype(states))
    if own.sizes == division.sizes:
        return lambda chunk: part.logits(states[chunk], room)
    # A padded vocabulary is divided elsewhere.
    return lambda chunk: own.gather(part.logits(states[chunk], room))[:, division.words]
