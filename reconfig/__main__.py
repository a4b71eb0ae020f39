"""``python -m reconfig``, and ``torchrun -m reconfig``: the command ``reconfig``."""

import sys

from reconfig.cli import main

if __name__ == "__main__":
    sys.exit(main())
