"""Cost of a million experts: a step of the layer, and the router's time over E.

The layer is ``product_key`` in front of ``singleton``, forward and backward over 4,096 items of
width 256 with the ``switch`` term. Times are medians of wall-clock and of processor time; if these
differ, other programs used the machine. Writes ``benchmarks/results/product_key.csv`` and the plot
``benchmarks/results/product_key.svg``.

    python benchmarks/overhead/product_key.py [--threads 2] [--rounds 9]
    python benchmarks/overhead/product_key.py --plot      draw the plot from existing rows
"""

import argparse
import csv
import resource
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch import Tensor

import experts
import routers
from experts import MoE
from routers import LOSSES, Items, Router

RESULTS = Path(__file__).resolve().parents[1] / "results"
ROWS, PLOT = RESULTS / "product_key.csv", RESULTS / "product_key.svg"
ITEMS, DIM = 4096, 256
EXPERTS = [2**power for power in range(10, 21)]
DENSE = [2**power for power in range(10, 15)]  # a linear gate's (N, E) soon exceeds memory
OPTIONS = {"k": 16, "width": 256}


def median_times(step: Callable[[Tensor], Tensor], rounds: int) -> tuple[float, float]:
    """Median wall-clock and processor seconds of a forward and backward pass, after a warm-up."""
    clock, processor = [], []
    for _ in range(rounds + 1):
        x = torch.randn(ITEMS, DIM, requires_grad=True)
        began = time.perf_counter(), time.process_time()
        step(x).backward()  # type: ignore[no-untyped-call]
        clock.append(time.perf_counter() - began[0])
        processor.append(time.process_time() - began[1])
    return median(clock[1:]), median(processor[1:])


def layer_row(heads: int, rounds: int) -> dict[str, object]:
    """A step of the whole layer with 2^20 experts, and the peak memory of the process."""
    torch.manual_seed(0)
    router = routers.build("product_key", DIM, EXPERTS[-1], heads=heads, **OPTIONS)
    layer = MoE(router, experts.build("singleton", DIM, EXPERTS[-1]))

    def step(x: Tensor) -> Tensor:
        layer.zero_grad(set_to_none=True)
        y, routing = layer(x)
        return y.square().mean() + 0.01 * LOSSES["switch"](routing)

    clock, processor = median_times(step, rounds)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return row(f"layer, {heads} heads", EXPERTS[-1], clock, processor) | {"gib": f"{peak:.2f}"}


def router_row(name: str, num_experts: int, rounds: int) -> dict[str, object]:
    """The router alone: its routing, and the gradient through its weights."""
    torch.manual_seed(0)
    options = {name: OPTIONS[name] for name in routers.ROUTERS.options(name) if name in OPTIONS}
    router: Router = routers.build(name, DIM, num_experts, **options)

    def step(x: Tensor) -> Tensor:
        router.zero_grad(set_to_none=True)
        return router(Items(x)).weight.square().sum()

    return row(name, num_experts, *median_times(step, rounds)) | {"gib": ""}


def row(what: str, num_experts: int, clock: float, processor: float) -> dict[str, object]:
    found: dict[str, object] = {
        "what": what,
        "experts": num_experts,
        "threads": torch.get_num_threads(),
        "seconds": f"{clock:.4f}",
        "processor_seconds": f"{processor:.4f}",
    }
    print(found, flush=True)
    return found


def plot() -> None:
    """Plot router time over the square root of ``E`` with a fitted line."""
    import matplotlib as mpl

    mpl.use("agg")
    import matplotlib.pyplot as plt

    with ROWS.open(newline="") as file:
        rows = list(csv.DictReader(file))
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for name, mark in (("product_key", "o"), ("topk", "s")):
        points = [r for r in rows if r["what"] == name]
        root = np.sqrt([int(r["experts"]) for r in points])
        ms = 1000 * np.array([float(r["processor_seconds"]) for r in points])
        axes.plot(root, ms, mark, label=name)
        if name == "product_key":
            slope, start = np.polyfit(root, ms, 1)
            left = 1 - ((ms - start - slope * root) ** 2).sum() / ((ms - ms.mean()) ** 2).sum()
            line = f"{start:.0f} + {slope:.3f} √E ms, R² {left:.3f}"
            axes.plot(root, start + slope * root, "-", color="grey", label=line)
            axes.set_ylim(0, 1.5 * ms.max())
            print(line)
    axes.set(xlabel="√E", ylabel="processor time, ms")
    axes.set_title(f"router, forward and backward over {ITEMS:,} items", fontsize="medium")
    axes.legend()
    figure.savefig(PLOT, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--plot", action="store_true", help="only draw the plot")
    given = parser.parse_args()
    if not given.plot:
        torch.set_num_threads(given.threads)
        rows = [layer_row(1, given.rounds), layer_row(8, max(given.rounds // 3, 1))]
        rows += [router_row("product_key", e, given.rounds) for e in EXPERTS]
        rows += [router_row("topk", e, given.rounds) for e in DENSE]
        with ROWS.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0].keys())
            writer.writeheader()
            writer.writerows(rows)
    plot()


if __name__ == "__main__":
    main()
