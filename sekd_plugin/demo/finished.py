"""Which stages are finished, and which of them no longer fit."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sekd_plugin.demo.layout import Layout
from sekd_plugin.demo.record import StageRecord, read_record
from sekd_plugin.demo.stage import Stage
from sekd_plugin.errors import SekdError
from sekd_plugin.programs.changed_setting import changed_setting


def finished_stages(stages: Sequence[Stage], layout: Layout) -> dict[str, StageRecord]:
    """Stage → its record, of those whose results are there and are still what is wanted.

    A stage that is cheap to do anew and no longer fits counts as unfinished.

    Raises:
        SekdError: a costly stage was made with other settings, or from another result of a stage
            before it; the line says what to remove.
    """
    finished: dict[str, StageRecord] = {}
    for stage in stages:
        record = read_record(layout.record(stage.name))
        if record is None or not stage.folder.exists():
            continue
        problem = _problem(stage, record, finished)
        if problem is not None:
            if stage.redo:
                continue
            raise SekdError(
                f"{stage.folder}: made with other settings: {problem}; "
                "name another folder for the demo, or remove this one to have it made anew"
            )
        if record.finished is not None and all(path.exists() for path in stage.results):
            finished[stage.name] = record
    return finished


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """What ``values`` are after a journey through JSON, to be compared with a record."""
    content: dict[str, Any] = json.loads(json.dumps(values))
    return content


def needed(stage: Stage, finished: Mapping[str, StageRecord]) -> dict[str, str]:
    """Which results ``stage`` uses: stage → when it was finished."""
    return {name: finished[name].finished or "" for name in stage.needs if name in finished}


def _problem(stage: Stage, record: StageRecord, finished: Mapping[str, StageRecord]) -> str | None:
    changed = changed_setting(record.made_from, plain(stage.made_from))
    if changed is not None:
        return changed
    now = needed(stage, finished)
    for name, when in record.needs.items():
        if now.get(name) != when:
            return f"{name} was made anew since"
    return None
