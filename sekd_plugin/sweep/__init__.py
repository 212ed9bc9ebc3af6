"""Many trainings of one recipe: which there are, which go on, and what came out of them."""
