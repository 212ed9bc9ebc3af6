"""Scores of translations, and whether a difference between two systems means anything."""
