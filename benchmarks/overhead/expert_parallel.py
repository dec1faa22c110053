"""Steps of a layer whose experts are split over processes, next to what the plan predicts.

Runs a training step (forward, backward, SGD) of one layer with the same global batch on 1, 2 and 4
processes of this machine, one thread each, connected by gloo. The rates that ``python -m experts
plan`` takes (FLOP/s, bytes/s of memory, activations and links, latency) are measured by the same
processes at the same time, so that they include how processes share the machine. Writes
``benchmarks/results/expert_parallel.csv`` and the table of ``docs/scale.md``; counted bytes have to
equal the planned ones.

    python benchmarks/overhead/expert_parallel.py [--rounds 15]
"""

import argparse
import csv
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.multiprocessing import spawn
from torch.nn import functional as F

import experts
import routers
from experts import MoE
from experts.parallel import count_exchanged_bytes
from experts.plan import Setting, parse, price_of

ROWS = Path(__file__).resolve().parents[1] / "results" / "expert_parallel.csv"
PAGE = Path(__file__).resolve().parents[2] / "docs" / "scale.md"
PROCESSES = (1, 2, 4)


@dataclass(frozen=True)
class Shape:
    """Tokens of all processes, width, hidden width, experts, experts per token."""

    tokens: int
    dim: int
    hidden: int
    experts: int
    k: int


#: Much work per row, so that the exchange is small; and little.
SHAPES = (Shape(4096, 256, 1024, 8, 2), Shape(8192, 128, 128, 16, 2))


def seconds(work: Callable[[], object], rounds: int) -> float:
    """Median time of ``work`` in all processes at once, after a warm-up; the slowest counts."""
    found = []
    for _ in range(rounds + 3):
        dist.barrier()
        began = time.perf_counter()
        work()
        found.append(time.perf_counter() - began)
    slowest = torch.tensor(found[3:])
    dist.all_reduce(slowest, dist.ReduceOp.MAX)
    return median(slowest.tolist())


def rates(shape: Shape, rounds: int) -> dict[str, float]:
    """Rates that one of these processes reaches, at sizes as in the layer."""
    size = dist.get_world_size()
    rows = shape.tokens * shape.k // size
    x = torch.randn(rows // max(shape.experts // size, 1), shape.dim)
    weight, order = torch.randn(shape.dim, shape.hidden), torch.randperm(rows)
    table, hidden = torch.randn(rows, shape.dim), torch.randn(rows, shape.hidden)
    flops = 2 * x.numel() * shape.hidden
    found = {
        "peak": flops / seconds(lambda: x @ weight, rounds),
        "memory_bandwidth": 2
        * table.nbytes
        / seconds(lambda: table.index_select(0, order), rounds),
        "activation_rate": 2 * hidden.nbytes / seconds(lambda: F.gelu(hidden), rounds),
    }
    if size > 1:
        inbox, nothing = torch.empty_like(table), torch.zeros(size)
        latency = seconds(lambda: dist.all_to_all_single(torch.empty(size), nothing), rounds)
        trip = seconds(lambda: dist.all_to_all_single(inbox, table), rounds)
        away = table.nbytes * (size - 1) / size
        found |= {"latency": latency, "node_bandwidth": away / max(trip - latency, 1e-9)}
    return found


def measure(shape: Shape, rounds: int, rank: int, size: int) -> dict[str, Any]:
    """Time of a step, rates, bytes counted and planned, as seen by the first process."""
    torch.manual_seed(0)
    router = routers.build("topk", shape.dim, shape.experts, k=shape.k)
    bank = experts.build("mlp", shape.dim, shape.experts, hidden=shape.hidden)
    layer = MoE(router, bank)
    mesh = init_device_mesh("cpu", (1, size), mesh_dim_names=("data", "expert"))
    if size > 1:
        experts.fully_shard_layers(experts.parallelize(layer, mesh), mesh)
    optimizer = torch.optim.SGD(layer.parameters(), lr=1e-3)
    x = torch.randn(shape.tokens, shape.dim).chunk(size)[rank].clone().requires_grad_()
    loads: list[Tensor] = []

    def step() -> None:
        y, routing = layer(x)
        loads.append(routing.load)
        y.square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    counted = torch.tensor(count_exchanged_bytes(step))
    every = [torch.empty_like(loads[0]) for _ in range(size)]
    dist.all_gather(every, loads[0])
    dist.all_reduce(counted)
    taken = seconds(step, rounds)
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump([load.tolist() for load in every], file)
        file.flush()
        found = {key: f"{key}={value:.6e}" for key, value in rates(shape, rounds).items()}
        setting: Setting = parse(
            [
                "expert=mlp",
                f"dim={shape.dim}",
                f"hidden={shape.hidden}",
                f"experts={shape.experts}",
                f"k={shape.k}",
                f"tokens={shape.tokens // size}",
                f"devices={size}",
                f"expert_parallel={size}",
                "dtype=float32",
                "state_bytes=0",
                f"load={file.name}",
                *found.values(),
            ]
        )
        price = price_of(setting)
    return {
        **asdict(shape),
        "processes": size,
        "ms": round(1e3 * taken, 2),
        "planned_ms": round(1e3 * price.total, 2),
        "bottleneck": price.bottleneck,
        "bytes": int(counted),
        "planned_bytes": int(sum(price.exchanged)),
        "expert_bytes": sum(
            p.to_local().nbytes if size > 1 else p.nbytes for p in layer.bank.parameters()
        ),
        **{key: f"{getattr(setting, key):.3e}" for key in found},
    }


def serve(rank: int, size: int, folder: str, shape: Shape, rounds: int) -> None:
    """Measure as one of ``size`` processes."""
    torch.set_num_threads(1)
    store = dist.FileStore(f"{folder}/store", size)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=size)
    found = measure(shape, rounds, rank, size)
    if rank == 0:
        Path(folder, "row.json").write_text(json.dumps(found), encoding="utf-8")
    dist.barrier()
    dist.destroy_process_group()


def run(shape: Shape, size: int, rounds: int) -> dict[str, Any]:
    """Measure with ``size`` fresh processes."""
    with tempfile.TemporaryDirectory() as folder:
        spawn(serve, (size, folder, shape, rounds), size)
        found: dict[str, Any] = json.loads(Path(folder, "row.json").read_text(encoding="utf-8"))
    return found


def table() -> str:
    """The table of ``docs/scale.md``, from existing rows."""
    with ROWS.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    lines = [
        "| N, D, H, E, K | processes | step, ms | planned, ms | against one | planned | bytes | |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        alone = next(r for r in rows if r["dim"] == row["dim"] and r["processes"] == "1")
        ratios = [float(alone[key]) / float(row[key]) for key in ("ms", "planned_ms")]
        sizes = ", ".join(row[key] for key in ("tokens", "dim", "hidden", "experts", "k"))
        lines.append(
            f"| {sizes} | {row['processes']} | {row['ms']} | {row['planned_ms']} | "
            f"{ratios[0]:.2f} | {ratios[1]:.2f} | {int(row['bytes']):,} | {row['bottleneck']} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    given = parser.parse_args()
    rows = []
    for shape in SHAPES:
        for size in PROCESSES:
            row = run(shape, size, given.rounds)
            assert row["bytes"] == row["planned_bytes"], row
            rows.append(row)
            print(row, flush=True)
    keys = dict.fromkeys(key for row in rows for key in row)
    part = ROWS.with_suffix(".part")
    with part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(keys))
        writer.writeheader()
        writer.writerows(rows)
    part.replace(ROWS)
    page = PAGE.read_text(encoding="utf-8")
    before, start, rest = page.partition("<!-- scale:start -->\n")
    end = "<!-- scale:end -->" + rest.partition("<!-- scale:end -->")[2]
    PAGE.write_text(before + start + table() + "\n" + end, encoding="utf-8")


if __name__ == "__main__":
    main()
