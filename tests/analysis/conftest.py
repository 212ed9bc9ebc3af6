"""A tiny corpus and recipe, a teacher, and a student that was distilled from it."""

import os

import pytest
from folder_vocabulary import vocabulary_folder
from tiny_recipe import shared_folder, taught, teacher_run, workshop

__all__ = ["distilled", "shared_folder", "taught", "teacher_run", "vocabulary_folder", "workshop"]


@pytest.fixture(scope="session")
def student_run(tmp_path_factory):
    """Where :func:`distilled` keeps the student that tests share."""
    return tmp_path_factory.mktemp("student")


@pytest.fixture
def distilled(taught, student_run):
    """A workshop with the runs ``teacher`` and ``kd``, of which two checkpoints were validated."""
    trained = student_run / "kd"
    if not trained.is_dir():
        taught.train(
            "kd",
            taught.teacher("teacher", 8),
            "criterion.name=self_evolution_kd",
            "regime.num_steps=16",
        )
        os.rename(taught.folder / "kd", trained)
    os.symlink(trained, taught.folder / "kd")
    return taught
