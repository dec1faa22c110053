"""One process of a run on several devices."""

import io
import json
import os
import signal
import sys
import threading
import time
import traceback
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
from .launch import Job, RankError
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


def main(words: str) -> None:
    """Train, then wait: the parent ends all workers when the last one is done.

    So no worker sees the connection of a peer closed before that peer reported its error.
    ``words`` is a ``Job`` in JSON.
    """
    job = Job(**json.loads(words))
    link = Link(Connection(job.descriptor))
    quiet()
    end = _end(job, Console() if job.draws else Console(file=io.StringIO()), link)
    sys.stdout.flush()
    sys.stderr.flush()
    link.connection.send(end)
    while True:
        time.sleep(60)


def _end(job: Job, console: Console, link: Link) -> Exception | None:
    """Train and return the error that ended the run, or None."""
    folder, rank = Path(job.folder), Rank(job.rank, job.world_size)
    checkpoint = Path(job.checkpoint) if job.checkpoint else None
    try:
        run = Run(compose([], base=load_yaml(folder / CONFIG)), rank)
        if checkpoint is None:
            run.initialize()
        torch.set_num_threads(max(1, torch.get_num_threads() // rank.world_size))
        init_process_group(rank, job.port, run.config.trainer.accelerator)
        send = link.connection.send
        fitted = run.fit(folder, checkpoint, console, link, lambda *values: send(values))
        if rank.rank == 0:
            run.write(folder, *fitted)
    except KNOWN as error:
        return error
    except Exception as error:
        message = f"device {rank.rank}: {type(error).__name__}: {error}"
        return RankError(message, traceback.format_exc())
    return None


if __name__ == "__main__":
    main(sys.argv[1])
