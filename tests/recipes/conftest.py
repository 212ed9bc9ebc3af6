"""A tiny corpus, a vocabulary, and tiny models to put into every recipe there is."""

from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import IO

import pytest
from fairseq2.utils.yaml import RuamelYamlLoader
from tiny_encoder_decoder import language_file
from tiny_models_in_recipes import Workbench
from tiny_recipe import shared_folder, workshop

__all__ = ["bench", "files_parsed_once", "language_file", "shared_folder", "workshop"]


@pytest.fixture(scope="session")
def bench(
    shared_folder: Path, language_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Workbench:
    """What is put into recipes; a model is made when it is first asked for."""
    return Workbench(
        corpus=shared_folder, languages=language_file, models=tmp_path_factory.mktemp("models")
    )


@pytest.fixture(autouse=True)
def files_parsed_once(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """fairseq2 parses a recipe some twenty times a run, which takes longer than these trainings."""
    parsed: dict[str, list[object]] = {}
    parse = RuamelYamlLoader.load

    def load(loader: RuamelYamlLoader, source: Path | IO[str]) -> list[object]:
        text = source.read_text(encoding="utf-8") if isinstance(source, Path) else None
        if text is None:
            return parse(loader, source)
        if text not in parsed:
            parsed[text] = parse(loader, source)
        return deepcopy(parsed[text])

    monkeypatch.setattr(RuamelYamlLoader, "load", load)
    yield
