"""How much memory one step of a layer needs."""

import json
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile


@dataclass(frozen=True)
class Peak:
    """Bytes beyond what was allocated before: all of them, and those beside the gradients kept.

    ``working`` is the peak of what is no gradient of a parameter. On CUDA, where a counter
    gives one number, it is the whole peak less all these gradients, which is a little too low
    where the peak comes before the last of them.
    """

    total: int
    working: int


@dataclass(frozen=True)
class Change:
    """Bytes allocated (above 0) or freed (below 0) at an address."""

    address: int
    bytes: int


def measure_peak(device: torch.device, work: Callable[[], Sequence[Tensor]]) -> Peak:
    """Run ``work`` once and count what it allocates.

    Args:
        device: whose memory.
        work: returns the gradients that it leaves, which are not working memory.
    """
    return _BY_DEVICE[device.type](work)


def peak_of(changes: Iterable[Change], left_out: Iterable[int] = ()) -> int:
    """The most bytes held at once.

    Args:
        changes: in their order.
        left_out: addresses whose last allocation does not count.

    >>> peak_of([Change(8, 100), Change(9, 50), Change(8, -100), Change(8, 10)])
    150
    >>> peak_of([Change(8, 100), Change(9, 50), Change(8, -100), Change(8, 10)], [9])
    100
    """
    changes = list(changes)
    last = {change.address: index for index, change in enumerate(changes) if change.bytes > 0}
    skipped = {last[address] for address in left_out if address in last}
    held = most = 0
    for index, change in enumerate(changes):
        if index not in skipped:
            held += change.bytes
            most = max(most, held)
    return most


def _on_cpu(work: Callable[[], Sequence[Tensor]]) -> Peak:
    # the profiler announces itself on stderr otherwise
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        gradients = work()
    changes = _changes(recorded)
    kept = [gradient.untyped_storage().data_ptr() for gradient in gradients]
    return Peak(peak_of(changes), peak_of(changes, kept))


def _on_cuda(work: Callable[[], Sequence[Tensor]]) -> Peak:
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    gradients = work()
    torch.cuda.synchronize()
    total = torch.cuda.max_memory_allocated() - before
    return Peak(total, total - sum(gradient.nbytes for gradient in gradients))


_BY_DEVICE: Mapping[str, Callable[[Callable[[], Sequence[Tensor]]], Peak]] = MappingProxyType(
    {"cpu": _on_cpu, "cuda": _on_cuda}
)


def _changes(recorded: profile) -> list[Change]:
    """What the allocator did; the exported trace is the public form of it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        recorded.export_chrome_trace(str(path))
        events = json.loads(path.read_text())["traceEvents"]
    found = [event for event in events if event.get("name") == "[memory]"]
    found.sort(key=lambda event: (event["ts"], event["args"]["Ev Idx"]))
    cpu = [event["args"] for event in found if event["args"]["Device Type"] == 0]
    return [Change(args["Addr"], args["Bytes"]) for args in cpu]
