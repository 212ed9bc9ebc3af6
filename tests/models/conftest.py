"""A tiny corpus, a vocabulary, a recipe, and models of every family."""

from folder_vocabulary import vocabulary_folder
from model_families import families_folder, taught_families
from tiny_recipe import shared_folder, taught, teacher_run, workshop

__all__ = [
    "families_folder",
    "shared_folder",
    "taught",
    "taught_families",
    "teacher_run",
    "vocabulary_folder",
    "workshop",
]
