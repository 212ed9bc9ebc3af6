"""How difficult a development set's tokens are: measured, counted by part, shown on a page."""
