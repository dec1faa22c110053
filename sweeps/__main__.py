"""``python -m sweeps sweep=NAME out=DIR [key=value …]`` and ``python -m sweeps report DIR…``."""

import sys

from ._cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
