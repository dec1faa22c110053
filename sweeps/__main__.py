"""``python -m sweeps sweep=NAME out=DIR [key=value …]`` and ``python -m sweeps report DIR…``."""

import sys

from .workers.forkserver import warm_up, will_train

if __name__ == "__main__":
    try:
        if will_train(sys.argv[1:]):
            warm_up()  # first of all: importing takes seconds, and two processes share them

        from .stages.cli import main
    except KeyboardInterrupt:  # nothing has begun
        sys.exit(130)

    sys.exit(main(sys.argv[1:]))
