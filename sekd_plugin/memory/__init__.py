"""How much memory a training needs on each device: arithmetic alone, nothing is loaded."""
