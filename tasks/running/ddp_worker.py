"""One process of a run on several devices."""

import io
import os
import signal
import sys
import threading
import time
from multiprocessing.connection import Connection
from pathlib import Path

import torch
from rich.console import Console

from routers import ConfigError

from ..config.compose import CONFIG, compose
from ..config.overrides import load_yaml
from ..loading.batches import Rank
from ..training.devices import init_process_group
from ..training.divergence import DivergedError
from ..training.signals import Stop, StoppedError
from .cli import quiet
from .launch import RankError
from .run import Run

#: Errors that the parent reports to the user.
KNOWN = (ConfigError, DivergedError, StoppedError, OSError)


class Link(Stop):
    """The connection to the parent, which passes signals on; the worker ends when it is closed."""

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self.connection = connection
        threading.Thread(target=self._receive, daemon=True).start()

    def _receive(self) -> None:
        try:
            while True:
                self.signum = self.connection.recv()
        except (EOFError, OSError):
            os.kill(os.getpid(), signal.SIGKILL)


def main(folder: str, checkpoint: str, *numbers: str) -> None:
    """Train, then wait: the parent ends all workers when the last one is done.

    So no worker sees the connection of a peer closed before that peer reported its error.

    Args:
        folder: of the run; its configuration is there.
        checkpoint: the checkpoint to resume from, or nothing.
        numbers: the rank, the number of ranks, the port of the store where they meet, the file
            descriptor of the connection to the parent, 1 if there is a terminal to draw on.
    """
    rank, world_size, port, descriptor, draws = map(int, numbers)
    link = Link(Connection(descriptor))
    quiet()
    console = Console() if draws else Console(file=io.StringIO())
    resume = Path(checkpoint) if checkpoint else None
    end = _end(Rank(rank, world_size), port, Path(folder), resume, console, link)
    sys.stdout.flush()
    sys.stderr.flush()
    link.connection.send(end)
    while True:
        time.sleep(60)


def _end(
    rank: Rank, port: int, folder: Path, checkpoint: Path | None, console: Console, link: Link
) -> Exception | None:
    """Train and return the error that ended the run, or None."""
    try:
        run = Run(compose([], base=load_yaml(folder / CONFIG)), rank)
        torch.set_num_threads(max(1, torch.get_num_threads() // rank.world_size))
        init_process_group(rank, port, run.config.trainer.accelerator)
        send = link.connection.send
        fitted = run.fit(folder, checkpoint, console, link, lambda *values: send(values))
        if rank.rank == 0:
            run.write(folder, *fitted)
    except KNOWN as error:
        return error
    except Exception as error:
        sys.excepthook(type(error), error, error.__traceback__)
        return RankError(f"device {rank.rank}: {type(error).__name__}: {error}")
    return None


if __name__ == "__main__":
    main(*sys.argv[1:])
