"""Every file of a checkpoint has its SHA-256 beside it, and is read only if it still has it.

``sdp_00.pt`` is followed by ``sdp_00.pt.sha256``, in the form that ``sha256sum --check`` reads.
Both are written into the folder that becomes the checkpoint by one renaming, so a checkpoint is
never without them.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from fairseq2.io import (
    DataNotPicklableError,
    TensorFileDumper,
    TensorFileDumpOptions,
    TensorFileLoader,
    TensorFileLoadOptions,
)
from typing_extensions import override

from sekd_plugin.checksum import sha256_of_file
from sekd_plugin.errors import SekdError


class DamagedCheckpointError(SekdError):
    """A file of a checkpoint is not what was written."""

    exit_code: ClassVar[int] = 2


class CheckedTensorFileDumper(TensorFileDumper):
    """Writes a file's checksum beside it."""

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
            OSError: it cannot be written, as where the disk is full.
        """
        try:
            self._dumper.dump(data, file, options)
        except DataNotPicklableError as error:
            # torch.save tells a full disk as an error of its own, raised over the true one.
            cause = first_system_error(error)
            if cause is None:
                raise
            raise cause from None
        write_checksum(file)


class CheckedTensorFileLoader(TensorFileLoader):
    """Refuses a file whose checksum is another now."""

    def __init__(self, loader: TensorFileLoader, checkpoints: Path) -> None:
        """What reads, and for whom.

        Args:
            loader: reads a file.
            checkpoints: the folder of the run's own checkpoints; others are a teacher's, or what
                the student starts from.
        """
        self._loader = loader
        self._checkpoints = checkpoints.resolve()

    @override
    def load(self, file: Path, options: TensorFileLoadOptions | None = None) -> dict[str, object]:
        """The content of ``file``.

        Raises:
            DamagedCheckpointError: it is not what was written.
        """
        problem = damage(file)
        if problem is not None:
            raise self._refusal(file, problem)
        try:
            return self._loader.load(file, options)
        except OSError:
            raise
        except Exception:
            # Where there is no checksum, a damaged file can fail in any way.
            if self._is_own(file):
                raise self._refusal(file, "cannot be read") from None
            raise

    def _refusal(self, file: Path, problem: str) -> DamagedCheckpointError:
        step = step_folder(file)
        if step is None or not self._is_own(file):
            return DamagedCheckpointError(f"{file} {problem}")
        return DamagedCheckpointError(f"{file} {problem}; {way_out_of(step)}")

    def _is_own(self, file: Path) -> bool:
        return self._checkpoints in file.resolve().parents


def checksum_file(file: Path) -> Path:
    """Where the checksum of ``file`` stands."""
    return file.with_name(f"{file.name}.sha256")


def write_checksum(file: Path) -> None:
    """Have ``file`` on the disk for certain, and its checksum beside it."""
    with file.open("rb") as stream:
        os.fsync(stream.fileno())
    digest = sha256_of_file(file)
    with checksum_file(file).open("w", encoding="utf-8") as stream_of_text:
        stream_of_text.write(f"{digest}  {file.name}\n")
        stream_of_text.flush()
        os.fsync(stream_of_text.fileno())


def damage(file: Path) -> str | None:
    """What is wrong with ``file`` by the checksum beside it; None where there is nothing, or none.

    A checkpoint of a version that wrote no checksums is taken as it is.
    """
    record = checksum_file(file)
    if not record.is_file():
        return None
    if not file.is_file():
        return "is missing"
    found = sha256_of_file(file)
    written = record.read_text(encoding="utf-8", errors="replace").split()
    if written[:1] != [found]:
        return f"is not what was written: its SHA-256 is not that of {record.name}"
    return None


def way_out_of(step: Path) -> str:
    """What to do where the checkpoint ``step`` of a run cannot be resumed from."""
    before = sound_checkpoint_before(step)
    if before is None:
        return "there is no sound checkpoint before it; name another folder to start anew"
    return (
        f"{before.name} before it is sound: to resume from there, put this one out of the way: "
        f"mv {shlex.quote(str(step))} {shlex.quote(f'{step}.damaged')}"
    )


def sound_checkpoint_before(step: Path) -> Path | None:
    """The latest checkpoint before the folder ``step`` that can be resumed from and is whole."""
    number = _number(step)
    others = [
        other
        for other in step.parent.glob("step_*")
        if _number(other) is not None and (other / "trainer").is_dir()
    ]
    for other in sorted(others, key=lambda path: _number(path) or 0, reverse=True):
        if (_number(other) or 0) >= (number or 0):
            continue
        records = sorted(other.rglob("*.pt.sha256"))
        if all(damage(record.with_suffix("")) is None for record in records):
            return other
    return None


def first_system_error(error: BaseException) -> OSError | None:
    """The earliest ``OSError`` that ``error`` was raised from or over, or None."""
    found: OSError | None = None
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        if isinstance(cause, OSError):
            found = cause
        cause = cause.__cause__ or cause.__context__
    return found


def step_folder(file: Path) -> Path | None:
    """The ``step_N`` folder that ``file`` lies in, if it is a part of a run's checkpoint."""
    for folder in file.parents:
        if _number(folder) is not None and folder.parent.name == "checkpoints":
            return folder
    return None


def _number(step: Path) -> int | None:
    digits = step.name.removeprefix("step_")
    return int(digits) if step.name.startswith("step_") and digits.isdecimal() else None
