"""Translations kept in a folder, used again only where nothing that they follow from changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sekd_plugin.checksum import sha256_of_files
from sekd_plugin.errors import SekdError
from sekd_plugin.new_file import write_new_file
from sekd_plugin.progress import Progress
from sekd_plugin.toolkits.fairseq2.translator import DecodingOptions, Translator


def origin(
    translator: Translator, sources: Sequence[str], options: DecodingOptions
) -> dict[str, Any]:
    """What translations follow from, as JSON: weights, vocabulary, prompt, sentences and search.

    Files and sentences stand there as their SHA-256.
    """
    return {
        "weights": sha256_of_files(translator.checkpoint),
        "vocabulary": sha256_of_files(translator.vocabulary),
        "template": translator.encoding.text,
        "sources": hashlib.sha256("\n".join(sources).encode()).hexdigest(),
        "search": {
            "beam_size": options.beam_size,
            "length_penalty": options.length_penalty,
            "max_target_tokens": options.max_target_tokens,
            "max_target_ratio": options.max_target_ratio,
        },
    }


def translate_or_reuse(
    translator: Translator,
    sources: Sequence[str],
    options: DecodingOptions,
    *,
    folder: Path,
    name: str,
    progress: Progress,
) -> list[str]:
    """Translate and keep the result in ``folder``, or read what was kept there.

    ``NAME.txt`` holds a translation a line, ``NAME.json`` its :func:`origin`. The latter is
    written first; where it stands alone, a run was interrupted, and this one begins anew.

    Raises:
        SekdError: the folder holds another model's, or other sentences' translations by that name.
    """
    kept, record = folder / f"{name}.txt", folder / f"{name}.json"
    made_from = origin(translator, sources, options)
    if kept.exists():
        lines = _read(kept, record, made_from)
        if lines is None or len(lines) != len(sources):
            raise SekdError(
                f"{kept} holds translations of another model, test set or search; "
                "name another folder, or remove it first"
            )
        return lines
    translations = translator.translate(sources, options, progress)
    record.unlink(missing_ok=True)
    write_new_file(record, json.dumps(made_from, indent=2) + "\n")
    write_new_file(kept, "".join(f"{line}\n" for line in translations))
    return translations


def _read(kept: Path, record: Path, made_from: dict[str, Any]) -> list[str] | None:
    try:
        if json.loads(record.read_text(encoding="utf-8")) != made_from:
            return None
        return kept.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except (OSError, ValueError):
        return None
