"""A tiny corpus, vocabulary and teacher, to put into the recipes for clusters."""

from tiny_recipe import shared_folder, taught, teacher_run, workshop

__all__ = ["shared_folder", "taught", "teacher_run", "workshop"]
