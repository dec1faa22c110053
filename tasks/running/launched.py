"""One of the processes that ``launch`` starts."""

import io
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from pathlib import Path

from rich.console import Console

from ..config.compose import CONFIG, compose
from ..config.overrides import load_yaml
from ..training.devices import join_ranks
from .cli import quiet
from .edit import initialize_run, old_run
from .launch import ERROR, JOB
from .run_dir import ranks_lock


def main(shared: Path, parent: int) -> int:
    """Train as one process of the run; an error is written to the folder ``shared``."""
    folder, checkpoint, draws, on_validation = pickle.loads((shared / JOB).read_bytes())
    threading.Thread(target=end_with, args=(parent,), daemon=True).start()
    quiet()
    try:
        config = compose([], base=load_yaml(folder / CONFIG))
        run = old_run(config, join_ranks(config.trainer))
        if checkpoint is None:
            initialize_run(run)
        with ranks_lock(folder, run.rank):  # those of a killed run may still end
            console = Console() if draws else Console(file=io.StringIO())
            run.train(folder, checkpoint, console, on_validation)
    except Exception as error:
        rank = os.environ["RANK"]
        error.add_note(f"On device {rank}:\n{traceback.format_exc()}")
        part = shared / f"part-{rank}"
        part.write_bytes(pickle.dumps(error))
        part.replace(shared / ERROR.format(rank))
        return 1
    return 0


def end_with(parent: int) -> None:
    """End this process once the one that started it has ended, for whatever reason."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    code = main(Path(sys.argv[1]), int(sys.argv[2]))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # nothing is left to do, and peers may be gone
