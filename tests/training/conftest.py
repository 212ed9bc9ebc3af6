"""A tiny corpus, a vocabulary and a recipe for every test of training."""

from tiny_recipe import exported, shared_folder, taught, teacher_run, workshop

__all__ = ["exported", "shared_folder", "taught", "teacher_run", "workshop"]
