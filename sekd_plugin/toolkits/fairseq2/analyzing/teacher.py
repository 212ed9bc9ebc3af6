"""The teacher of an analysis: a run, an exported folder, or the recipe's."""

from __future__ import annotations

from pathlib import Path

import torch
from fairseq2.data.tokenizers import Tokenizer
from fairseq2.gang import create_fake_gangs
from fairseq2.runtime.dependency import get_dependency_resolver
from torch.nn import Module

from sekd_plugin.errors import ConfigError, SekdError
from sekd_plugin.toolkits.fairseq2.analyzing.subject import Subject
from sekd_plugin.toolkits.fairseq2.checkpoint_choice import chosen_checkpoints, run_and_choice
from sekd_plugin.toolkits.fairseq2.loading import load_exported_model, load_run_model
from sekd_plugin.toolkits.fairseq2.model_checks import check_checkpoint
from sekd_plugin.toolkits.fairseq2.teacher_model import load_teacher


def check_teacher(subject: Subject) -> None:
    """Check that there is one, and that its files are.

    Raises:
        SekdError: none is named, or it is not there.
    """
    section = subject.config.teacher
    if subject.teacher is None and section is None:
        cached = subject.config.teacher_cache is not None
        why = "is a cache of listed words" if cached else "is missing"
        raise ConfigError(
            "teacher", f"{why}; name the teacher with --teacher RUN, or in the recipe"
        )
    if subject.teacher is not None:
        run, choice = run_and_choice(subject.teacher)
        if choice == "all" or (_is_exported(run) and choice != "last"):
            raise SekdError(
                f"--teacher: '@{choice}' is not allowed here; name one checkpoint of a run, as "
                "RUN@step_N, or a folder that was exported"
            )
    path = teacher_path(subject)
    if path is not None:
        check_checkpoint("teacher", path)


def teacher_name(subject: Subject) -> str:
    """What the teacher is read from."""
    section = subject.config.teacher
    if subject.teacher is not None:
        path = teacher_path(subject)
        assert path is not None
        return _shown_path(path.resolve())
    assert section is not None
    return str(section.name) if section.path is None else _shown_path(section.path)


def teacher_path(subject: Subject) -> Path | None:
    """The teacher's weights; None where fairseq2 knows it by name."""
    if subject.teacher is None:
        section = subject.config.teacher
        return None if section is None else section.path
    run, choice = run_and_choice(subject.teacher)
    return run if _is_exported(run) else chosen_checkpoints(run, choice)[-1]


def loaded_teacher(subject: Subject, tokenizer: Tokenizer, device: torch.device) -> Module:
    """The teacher itself, on a device.

    Raises:
        SekdError: it cannot be read.
    """
    if subject.teacher is None:
        assert subject.config.teacher is not None
        section, gangs = subject.config.teacher, create_fake_gangs(device)
        return load_teacher(section, get_dependency_resolver(), gangs)
    run, _ = run_and_choice(subject.teacher)
    if _is_exported(run):
        pad_idx = tokenizer.vocab_info.pad_idx
        return load_exported_model(run, pad_idx, device)
    weights = teacher_path(subject)
    assert weights is not None
    return load_run_model(run, weights, device)


def _shown_path(path: Path) -> str:
    """A checkpoint of a run as ``RUN@step_N``, anything else as it is."""
    is_checkpoint = path.name == "model" and path.parent.parent.name == "checkpoints"
    return f"{path.parents[2].name}@{path.parent.name}" if is_checkpoint else str(path)


def _is_exported(folder: Path) -> bool:
    return any(folder.glob("*.safetensors"))
