"""A tiny corpus and recipe, and a cache of made-up rows."""

from made_up_cache import made_up
from tiny_recipe import shared_folder, taught, teacher_run, workshop

__all__ = ["made_up", "shared_folder", "taught", "teacher_run", "workshop"]
