"""``sekd sweep``: many trainings of one recipe, resumable, and a table of what came out."""
