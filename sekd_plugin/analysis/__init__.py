"""Looking at what was trained: reports."""
