"""Peak memory of one step of a layer."""

import json
import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile


@dataclass(frozen=True)
class Peak:
    """Peak of allocated bytes above the initial state, with and without parameter gradients.

    ``total`` counts all memory; ``working`` excludes the gradients of parameters. On CUDA, whose
    counter reports one number, ``working`` is ``total`` minus all these gradients: slightly too
    low if the peak precedes the allocation of the last gradient.
    """

    total: int
    working: int


def measure_peak(device: torch.device, work: Callable[[], Sequence[Tensor]]) -> Peak:
    """Run ``work`` once and measure its peak memory.

    Args:
        device: device whose memory is measured.
        work: returns the gradients to exclude from working memory.
    """
    return _cuda_peak(work) if device.type == "cuda" else _cpu_peak(work)


def peak_bytes(events: Iterable[tuple[int, int]], excluded: Iterable[int] = ()) -> int:
    """Largest number of bytes held at once.

    Args:
        events: addresses, and bytes allocated (positive) or freed (negative), by time.
        excluded: addresses whose last allocation is not counted.

    >>> events = [(8, 100), (9, 50), (8, -100), (8, 10)]
    >>> peak_bytes(events)
    150
    >>> peak_bytes(events, excluded=[9])
    100
    """
    events = list(events)
    last = {address: index for index, (address, size) in enumerate(events) if size > 0}
    skipped = {last[address] for address in excluded if address in last}
    held = peak = 0
    for index, (_, size) in enumerate(events):
        if index not in skipped:
            held += size
            peak = max(peak, held)
    return peak


def _cpu_peak(work: Callable[[], Sequence[Tensor]]) -> Peak:
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # else the profiler prints to stderr
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        gradients = work()
    events = _allocations(profiler)
    kept = [gradient.untyped_storage().data_ptr() for gradient in gradients]
    return Peak(peak_bytes(events), peak_bytes(events, kept))


def _cuda_peak(work: Callable[[], Sequence[Tensor]]) -> Peak:
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    gradients = work()
    torch.cuda.synchronize()
    total = torch.cuda.max_memory_allocated() - before
    return Peak(total, total - sum(gradient.nbytes for gradient in gradients))


def _allocations(profiler: profile) -> list[tuple[int, int]]:
    """Read allocator events from the exported trace, the public form of a profile."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(path))
        events = json.loads(path.read_text())["traceEvents"]
    found = [event for event in events if event.get("name") == "[memory]"]
    found.sort(key=lambda event: (event["ts"], event["args"]["Ev Idx"]))
    cpu = [event["args"] for event in found if event["args"]["Device Type"] == 0]
    return [(args["Addr"], args["Bytes"]) for args in cpu]
