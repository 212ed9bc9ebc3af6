"""``make bench``: time and memory of the losses, side by side with others' in one run."""
