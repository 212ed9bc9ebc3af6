"""A tiny corpus, a vocabulary with language pieces, and tiny encoder–decoder models."""

from tiny_encoder_decoder import (
    direction,
    language_file,
    language_pieces,
    pair_teacher,
    pair_teacher_folder,
    pair_workshop,
)
from tiny_recipe import shared_folder, workshop

__all__ = [
    "direction",
    "language_file",
    "language_pieces",
    "pair_teacher",
    "pair_teacher_folder",
    "pair_workshop",
    "shared_folder",
    "workshop",
]
