"""Table of the engine's speed, from the files of ``python -m experts bench``.

python -m experts bench out=benchmarks/results/engine rounds=20 candidates=[…]
python -m experts bench out=benchmarks/results/engine dtype=bfloat16 shapes=[1,3,5]
python benchmarks/readme_tables/engine.py        write the table to ``docs/engine.md``
"""

import csv

from benchmarks.readme_tables.comparison import RESULTS, write_between

ROWS = RESULTS / "engine" / "shapes-cpu-float32.csv"
OURS = ("dense", "topk", "expert_choice", "soft_mixture", "soft_moe", "mixtral_converted", "loop")


def read_rows() -> list[dict[str, str]]:
    """Read the measurements of all candidates at all shapes."""
    with ROWS.open(newline="") as file:
        return list(csv.DictReader(file))


def table(rows: list[dict[str, str]]) -> str:
    """One line per shape: ratios to the dense layer, and the best other library."""
    lines = [
        "| N, D, H, E, K | dense, ms | `topk` | `expert_choice` | `soft_moe` | loop | best peer |",
        "|---|---|---|---|---|---|---|",
    ]
    for shape in dict.fromkeys(row["shape"] for row in rows):
        by_name = {row["candidate"]: row for row in rows if row["shape"] == shape}
        dense = by_name["dense"]
        sizes = (dense[name] for name in ("tokens", "dim", "hidden", "num_experts", "k"))
        ours = (ratio(by_name.get(name)) for name in ("topk", "expert_choice", "soft_moe", "loop"))
        lines.append(
            f"| {', '.join(sizes)} | {float(dense['step_ms']):.1f} | {' | '.join(ours)} "
            f"| {best_peer(by_name)} |"
        )
    return "\n".join(lines)


def ratio(row: dict[str, str] | None) -> str:
    """Time per active FLOP relative to the dense layer's; a dash if it did not run."""
    return f"{float(row['step_ratio']):.2f}" if row and row["step_ratio"] else "-"


def best_peer(by_name: dict[str, dict[str, str]]) -> str:
    """Format the ratio and the name of the fastest other library."""
    peers = [
        row
        for name, row in by_name.items()
        if name not in OURS and not name.startswith("topk") and row["step_ratio"]
    ]
    if not peers:
        return "-"
    best = min(peers, key=lambda row: float(row["step_ratio"]))
    return f"{ratio(best)} ({best['label']})"


def settings(rows: list[dict[str, str]]) -> str:
    """Settings common to all rows, as a sentence."""
    row = rows[0]
    return (
        f"{row['device_name']}, {row['threads']} threads, {row['dtype']}, allocator "
        f"{row['allocator']}, fresh batch each round, medians of at least {row['rounds']} rounds "
        f"that count (none in which the heap grew), torch {row['torch']}."
    )


if __name__ == "__main__":
    rows = read_rows()
    write_between("engine.md", "engine", f"{table(rows)}\n\n{settings(rows)}")
