"""``python -m tasks task=NAME router=NAME expert=NAME [key=value …]``."""

import sys

from .running.cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
