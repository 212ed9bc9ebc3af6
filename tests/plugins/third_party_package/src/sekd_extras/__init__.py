"""What a package of someone else's adds."""
