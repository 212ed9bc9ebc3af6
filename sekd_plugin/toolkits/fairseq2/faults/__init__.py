"""Numbers that are not finite: which sentences are left out for them, and how that is kept."""
