"""``python -m sweeps sweep=NAME out=DIR [key=value …]``, ``suite=NAME`` and ``report DIR…``."""

import sys

from .workers.forkserver import warm_up

if __name__ == "__main__":
    try:
        if all("=" in text and text[0] != "-" for text in sys.argv[1:]):  # neither flag nor command
            warm_up()  # its imports take seconds: they run in parallel with those below

        from .stages.cli import main
    except KeyboardInterrupt:  # nothing has started
        sys.exit(130)

    sys.exit(main(sys.argv[1:]))
