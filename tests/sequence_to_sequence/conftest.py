"""A tiny corpus, a vocabulary with language pieces, and tiny encoder–decoder models."""

from tiny_encoder_decoder import direction, language_pieces
from tiny_recipe import shared_folder

__all__ = ["direction", "language_pieces", "shared_folder"]
