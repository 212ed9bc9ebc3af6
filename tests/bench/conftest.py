"""The bench is a package beside the project's, where ``make bench`` finds it."""

import sys
from pathlib import Path

FOLDER = str(Path(__file__).resolve().parent.parent.parent / ".ci")
if FOLDER not in sys.path:
    sys.path.append(FOLDER)
