"""YAML files that a run writes again at every start, without a moment in which they are empty."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import IO

from fairseq2.utils.yaml import YamlDumper
from typing_extensions import override


class AtomicYamlDumper(YamlDumper):
    """Writes a file beside its place and then puts it there whole.

    fairseq2 writes ``config.yaml`` and ``checkpoints/model.yaml`` in place. A run that is killed
    there, or finds the disk full, would leave half a configuration, which nothing resumes.
    """

    def __init__(self, dumper: YamlDumper) -> None:
        self._dumper = dumper

    @override
    def dump(self, obj: object, output: Path | IO[str]) -> None:
        if not isinstance(output, Path):
            self._dumper.dump(obj, output)
            return
        text = io.StringIO()
        self._dumper.dump(obj, text)
        partial = output.with_name(f"{output.name}.partial")
        try:
            with partial.open("w", encoding="utf-8") as stream:
                stream.write(text.getvalue())
                stream.flush()
                os.fsync(stream.fileno())
            partial.replace(output)
        finally:
            partial.unlink(missing_ok=True)
