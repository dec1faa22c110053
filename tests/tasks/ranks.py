"""Processes of runs on several devices, as the system sees them."""

import io
import os
import pickle
import select
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stderr, redirect_stdout, suppress
from pathlib import Path

import torch
import torch.distributed as dist

#: What processes load once that run ``command``.
PRELOAD = ("tests.tasks.ranks", "tasks.running.run", "torch._dynamo")


def ranks_of(folder: Path) -> list[int]:
    """Processes of the ranks of a run, or of all runs under a folder, lower ranks first.

    Those that a run started itself, and those that torchrun started.
    """
    found = []
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_text().split("\0")
            variables = (entry / "environ").read_text().split("\0")
            if "tasks.running.launched" in words:
                run = str(pickle.loads(Path(words[-3], "job").read_bytes())[0])
            else:
                run = next(each[4:] for each in words if each.startswith("out="))
        except (OSError, UnicodeDecodeError, StopIteration):  # another process, or gone
            continue
        rank = dict(each.partition("=")[::2] for each in variables).get("RANK")
        if rank is not None and run.startswith(str(folder)):
            found.append((int(rank), int(entry.name)))
    return [process for _, process in sorted(found)]


@contextmanager
def no_ranks_left(folder: Path) -> Iterator[None]:
    """In the end, whatever happens, no rank of a run under a folder is left."""
    try:
        yield
    finally:
        for process in ranks_of(folder):
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)


def command(words: Sequence[str], stopped_at: int | None = None) -> tuple[int, str, str]:
    """``python -m tasks`` as torchrun starts it in a process of a group; code, output, errors.

    ``stopped_at`` is the training step during which the last process gets SIGTERM.
    """
    from tasks import main

    from .cases import signal_at

    rank, size = dist.get_rank(), dist.get_world_size()
    each = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size}
    os.environ.update({name: str(value) for name, value in each.items()})
    os.environ.update(TORCHELASTIC_RUN_ID="1", MASTER_ADDR="127.0.0.1", MASTER_PORT="1")
    sys.path.insert(0, str(Path(__file__).parent / "plugins"))
    torch.set_default_dtype(torch.float32)
    last = stopped_at is not None and rank == size - 1
    stop = signal_at(stopped_at, signal.SIGTERM) if last else nullcontext()
    out, err = io.StringIO(), io.StringIO()
    with warnings.catch_warnings(), redirect_stdout(out), redirect_stderr(err), stop:
        warnings.simplefilter("default")
        code = main(words)
    return code, out.getvalue(), err.getvalue()


def outlived(end_with: Callable[[int], None]) -> bool:
    """Whether a process that calls ``end_with`` outlives the one that started it, by 20 s."""
    gone, alive = os.pipe()
    if not (first := os.fork()):
        parent = os.getpid()
        if not os.fork():
            end_with(parent)
            time.sleep(60)
        os._exit(0)
    os.waitpid(first, 0)
    os.close(alive)
    return not select.select([gone], [], [], 20)[0]  # readable once no process can write
