"""A tiny corpus, a vocabulary, and tiny models to put into every recipe there is."""

from pathlib import Path

import pytest
from tiny_encoder_decoder import language_file
from tiny_models_in_recipes import Workbench
from tiny_recipe import shared_folder, workshop

__all__ = ["bench", "language_file", "shared_folder", "workshop"]


@pytest.fixture(scope="session")
def bench(
    shared_folder: Path, language_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Workbench:
    """What is put into recipes; a model is made when it is first asked for."""
    return Workbench(
        corpus=shared_folder, languages=language_file, models=tmp_path_factory.mktemp("models")
    )
