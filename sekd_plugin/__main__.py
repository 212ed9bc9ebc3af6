"""``python -m sekd_plugin`` is the console command ``sekd``."""

import sys

from sekd_plugin.cli import main

if __name__ == "__main__":
    sys.exit(main())
