"""Encoder–decoder students and teachers, as NLLB's: what differs from decoder-only ones."""
