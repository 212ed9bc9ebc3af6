"""Adapters: one folder a toolkit. Nothing in the core knows of them."""
