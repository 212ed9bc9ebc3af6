"""``sekd analyze``: how difficult a development set's tokens are for a student."""
