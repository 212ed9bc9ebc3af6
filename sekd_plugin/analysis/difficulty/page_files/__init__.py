"""The page's template, look and script, as files that the package carries."""
