"""The plan as a person reads it, and as a program does."""

from __future__ import annotations

from typing import Any

from sekd_plugin.memory.byte_size import unit_of
from sekd_plugin.memory.plan import PARTS, MemoryPlan
from sekd_plugin.memory.settings import BatchPlan, PlannedModel


def plan_text(plan: MemoryPlan, device_bytes: int | None, reserve_bytes: int) -> str:
    """Models, devices, a table of parts by moments, and whether it fits."""
    blocks = [
        "\n".join(_facts(plan)),
        "\n".join(_table(plan)),
        "\n".join([*_verdict(plan, device_bytes, reserve_bytes), *_notes(plan)]),
    ]
    return "\n\n".join(blocks)


def plan_record(plan: MemoryPlan, device_bytes: int | None, reserve_bytes: int) -> dict[str, Any]:
    """The same for programs, in bytes."""
    settings = plan.settings
    fits = None if device_bytes is None else plan.fits(device_bytes, reserve_bytes)
    return {
        "student_parameters": settings.student.shape.num_parameters,
        "teacher_parameters": None
        if settings.teacher is None
        else settings.teacher.shape.num_parameters,
        "devices": settings.cluster.devices,
        "data_parallel": settings.cluster.data_parallel,
        "tensor_parallel": settings.cluster.tensor_parallel,
        "shards": settings.cluster.shards,
        "batch_tokens": settings.batch.tokens + settings.batch.sources,
        "moments": {
            moment.name: {part: moment.parts.get(part, 0) for part in PARTS}
            | {"total": moment.total}
            for moment in plan.moments
        },
        "peak_moment": plan.peak.name,
        "peak_bytes": plan.peak.total,
        "reserve_bytes": reserve_bytes,
        "device_bytes": device_bytes,
        "fits": fits,
        "dense_loss_bytes": plan.dense_loss,
        "notes": list(settings.notes),
    }


def _facts(plan: MemoryPlan) -> list[str]:
    settings, cluster = plan.settings, plan.settings.cluster
    teacher = "none in memory"
    if settings.teacher is not None:
        teacher = _model(settings.teacher)
    sharded = f", student sharded {cluster.shards} ways" if cluster.shards > 1 else ""
    if cluster.shards > 1:
        sharded += f" by {cluster.granularity}"
    kept = "all activations kept"
    if settings.batch.checkpoint_every is not None:
        every = settings.batch.checkpoint_every
        layers = "every layer" if every == 1 else f"every {every}th layer"
        kept = f"{layers} computed again"
    return [
        f"student: {_model(settings.student)}",
        f"teacher: {teacher}",
        f"devices: {cluster.devices} = {cluster.data_parallel} data-parallel × "
        f"{cluster.tensor_parallel} tensor-parallel{sharded}",
        f"batch:   {_batch(settings.batch)} of at most {settings.batch.longest:,}; {kept}",
    ]


def _batch(batch: BatchPlan) -> str:
    if not batch.sources:
        return f"{batch.tokens:,} tokens a device, sentences"
    return f"{batch.sources:,} source and {batch.tokens:,} target tokens a device, sequences"


def _model(model: PlannedModel) -> str:
    shape = model.shape
    return (
        f"{shape.num_parameters:,} parameters of {model.weight_bytes} bytes, "
        f"{shape.num_layers} layers, {shape.vocabulary:,} words"
    )


def _table(plan: MemoryPlan) -> list[str]:
    used = [part for part in PARTS if any(moment.parts.get(part) for moment in plan.moments)]
    unit = unit_of(plan.peak.total)
    rows = [[f"{unit.name} on the fullest device", *(moment.name for moment in plan.moments)]]
    for part in used:
        values = [moment.parts.get(part, 0) for moment in plan.moments]
        rows.append([part, *(unit.show(value) if value else "" for value in values)])
    rows.append(["all", *(unit.show(moment.total) for moment in plan.moments)])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    rule = "-" * max(map(len, lines))
    return [lines[0], rule, *lines[1:-1], rule, lines[-1]]


def _verdict(plan: MemoryPlan, device_bytes: int | None, reserve_bytes: int) -> list[str]:
    unit = unit_of(plan.peak.total)
    needed = plan.peak.total + reserve_bytes
    lines = [
        f"Most is needed at '{plan.peak.name}': {unit.show(plan.peak.total)} {unit.name}, and "
        f"{unit.show(reserve_bytes)} {unit.name} in reserve for what is not planned."
    ]
    if plan.settings.loss.fused:
        fused = max(moment.parts.get("loss", 0) for moment in plan.moments)
        lines.append(
            f"The loss over all logits at once would take {unit.show(plan.dense_loss)} {unit.name} "
            f"instead of {unit.show(fused)}."
        )
    if device_bytes is None:
        lines.append("Name --device-memory to be told whether it fits.")
    elif plan.fits(device_bytes, reserve_bytes):
        lines.append(
            f"It fits: {unit.show(needed)} of {unit.show(device_bytes)} {unit.name}, "
            f"{unit.show(device_bytes - needed)} to spare."
        )
    else:
        lines.append(
            f"It does not fit: {unit.show(needed)} {unit.name} are needed of "
            f"{unit.show(device_bytes)}, {unit.show(needed - device_bytes)} too many."
        )
    return lines


def _notes(plan: MemoryPlan) -> list[str]:
    return [f"Note: {note}" for note in plan.settings.notes]
