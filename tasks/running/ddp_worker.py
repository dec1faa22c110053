"""``python -m tasks.running.ddp_worker ORDER``: one process of a run on several devices."""

import io
import json
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
from ..loading.rank import Rank
from ..training.devices import init_process_group
from ..training.divergence import DivergedError
from ..training.signals import StoppedError
from .cli import quiet
from .launch import RankError, WorkerConfig
from .run import Run

#: Ends of a run that whoever started it knows what to do with.
KNOWN = (ConfigError, DivergedError, StoppedError, OSError)


class Link:
    """The connection to the process that started this one, which ends with it.

    Attributes:
        signum: of a signal which that process got, and which asks to stop.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.signum: int | None = None
        threading.Thread(target=self._hear, daemon=True).start()

    def listen(self) -> None:
        """It always does."""

    def uninstall(self) -> None:
        """It always does."""

    def tell(self, epoch: int, values: dict[str, float]) -> None:
        """Say what a validation came to."""
        self.connection.send((epoch, values))

    def _hear(self) -> None:
        try:
            while True:
                self.signum = self.connection.recv()
        except (EOFError, OSError):
            os.kill(os.getpid(), signal.SIGKILL)


def main(text: str) -> None:
    """Train; never returns, for who started this ends it when all ranks are done.

    So no rank sees another one's connection closed before that one said why.
    """
    order = WorkerConfig(**json.loads(text))
    link = Link(Connection(order.link))
    quiet()
    end = _end(order, link)
    sys.stdout.flush()
    sys.stderr.flush()
    link.connection.send(end)
    while True:
        time.sleep(60)


def _end(order: WorkerConfig, link: Link) -> Exception | None:
    """How the run ended."""
    rank, folder = Rank(order.number, order.of), Path(order.folder)
    try:
        run = Run(compose([], base=load_yaml(folder / CONFIG)), rank)
        torch.set_num_threads(max(1, torch.get_num_threads() // rank.of))
        init_process_group(rank, order.port, run.config.trainer.accelerator)
        console = Console() if order.draws else Console(file=io.StringIO())
        checkpoint = None if order.checkpoint is None else Path(order.checkpoint)
        fitted = run.fit(folder, checkpoint, console, link, link.tell)
        if rank.number == 0:
            run.write(folder, *fitted)
    except KNOWN as error:
        return error
    except Exception as error:
        sys.excepthook(type(error), error, error.__traceback__)
        return RankError(f"device {rank.number}: {type(error).__name__}: {error}")
    return None


if __name__ == "__main__":
    main(sys.argv[1])
