"""The README's digits table: every arm is the command a user would type, for three seeds.

Runs ``python -m tasks`` once per arm and seed, each on one thread, and writes
``benchmarks/digits.csv`` (one row per run) and the table in README.md between its markers.

    python benchmarks/digits_table.py            run what is missing, then write the table
    python benchmarks/digits_table.py relu topk  run these arms again, then write the table
    python benchmarks/digits_table.py --table    write the table from the rows there are
"""

import argparse
import shlex
import time
from collections.abc import Iterable, Sequence
from statistics import mean

from _runs import (
    HERE,
    Row,
    column,
    config_hash,
    finished_run,
    interval,
    read_rows,
    result_of,
    run_anew,
    run_missing,
    write_between,
)

import routers
from routers.plugins import unknown

ROWS = HERE / "digits.csv"
SEEDS = (0, 1, 2)


def _arms(names: Iterable[str]) -> dict[str, str]:
    """Label to what is added to ``python -m tasks task=digits``; draws are new for each seed."""
    drawn = {name: "seed" in routers.ROUTERS.options(name) for name in names}
    return {
        f"`{name}`": f"router={name}" + (" router.seed=${seed}" if drawn[name] else "")
        for name in names
    }


TRAITS = {name: routers.ROUTERS.get(name).traits for name in routers.available()}
ELSEWHERE = [name for name, traits in TRAITS.items() if traits.needs_task]
LEARNED = [n for n, traits in TRAITS.items() if traits.learned and n not in ELSEWHERE]
FIXED = [n for n, traits in TRAITS.items() if not traits.learned and n not in ELSEWHERE]

ARMS = {
    **_arms(LEARNED),
    "`topk`, no balance term": "router=topk losses={}",
    "`topk`, stronger balance term": "router=topk losses.switch=0.03",
    "`sigmoid`, no bias": "router=sigmoid router.rate=0",
    **_arms(FIXED),
    "dense, equal FLOPs": "router=topk moe.control=iso_flop",
    "dense, equal parameters": "router=topk moe.control=iso_parameter",
}

HEAD = """\
| arm | test accuracy | load CV | MaxVio | entropy | active / all parameters \
| MFLOPs | router, kFLOPs | s |
|---|---|---|---|---|---|---|---|---|"""


def settings(arm: str, seed: int) -> list[str]:
    """Of one run."""
    return ["task=digits", *ARMS[arm].split(), f"seed={seed}"]


def run(row: Row) -> Row:
    """One run of the command, timed from outside."""
    start = time.perf_counter()
    with finished_run(settings(row["arm"], row["seed"])) as out:
        seconds = time.perf_counter() - start
        result = result_of(out)
    compute, load, layers = result["compute"], result["load"], result["layers"]
    return {
        "accuracy": result["score"]["value"],
        "cv": load["cv"],
        "max_violation": load["max_violation"],
        "entropy": load["entropy"],
        "parameters": compute["parameters"],
        "active_parameters": compute["active_parameters"],
        "flops_per_item": compute["flops_per_item"],
        "router_flops_per_item": compute["router_flops_per_item"],
        "seconds": round(seconds, 1),
        "experts_per_item": mean(sum(layer["load"]) / layer["items"] for layer in layers),
    }


def rows_of(arm: str) -> list[Row]:
    """An arm's rows, one for each of the ``SEEDS``, in their order.

    Raises:
        SystemExit: where a row is missing or there twice.
    """
    rows = sorted((r for r in read_rows(ROWS) if r["arm"] == arm), key=lambda r: int(r["seed"]))
    seeds = [int(row["seed"]) for row in rows]
    if seeds != list(SEEDS):
        raise SystemExit(
            f"{ROWS.name} has rows of seeds {seeds} for the arm {arm}, and {list(SEEDS)} are "
            f"needed: python benchmarks/digits_table.py {shlex.quote(plain(arm))}"
        )
    return rows


def plain(arm: str) -> str:
    """An arm's label without mark-up, as the command line takes it."""
    return arm.replace("`", "")


def table() -> str:
    """The rows as a Markdown table, arms in their order."""
    lines = [HEAD]
    for arm in ARMS:
        rows = rows_of(arm)
        active = mean(column(rows, "active_parameters")) / 1e3
        total = mean(column(rows, "parameters")) / 1e3
        lines.append(
            f"| {arm} | {interval(column(rows, 'accuracy'), 3)} "
            f"| {interval(column(rows, 'cv'), 3)} "
            f"| {interval(column(rows, 'max_violation'), 3)} "
            f"| {mean(column(rows, 'entropy')):.3f} | {active:.0f}k / {total:.0f}k "
            f"| {mean(column(rows, 'flops_per_item')) / 1e6:.2f} "
            f"| {mean(column(rows, 'router_flops_per_item')) / 1e3:.0f} "
            f"| {mean(column(rows, 'seconds')):.0f} |"
        )
    return "\n".join(lines)


def balance_matters() -> str:
    """What a balance term, a loss-free bias and a price on gate mass do, from the rows."""

    def of(arm: str, name: str) -> float:
        return mean(column(rows_of(arm), name))

    ratio = of("`topk`, no balance term", "max_violation") / of("`topk`", "max_violation")
    gain = of("`topk`", "accuracy") - of("`topk`, no balance term", "accuracy")
    lower, upper = (of(arm, "max_violation") for arm in ("`sigmoid`", "`sigmoid`, no bias"))
    free = of("`sigmoid`", "accuracy") - of("`sigmoid`, no bias", "accuracy")
    return (
        f"Balance matters: without its balance term `topk` has {ratio:.1f} times the MaxVio, and "
        f"its mean accuracy differs by {gain:+.3f}. The loss-free bias takes the MaxVio of "
        f"`sigmoid` from {upper:.2f} to {lower:.2f}, and its mean accuracy by {free:+.3f}. `relu` "
        f"aims at {routers.ROUTERS.options('relu')['k']:g} experts per item and has "
        f"{interval(column(rows_of('`relu`'), 'experts_per_item'), 2)}."
    )


def what_is_fixed() -> str:
    """Who learns no routing, and who is not here, in two sentences."""
    fixed, elsewhere = (", ".join(f"`{n}`" for n in names) for names in (FIXED, ELSEWHERE))
    return (
        f"Routing that is drawn, given or fixed, and so is not asked to reach what learned routing "
        f"does: {fixed}. Not here, since they read a task and digits have one only: {elsewhere}."
    )


def wanted(arms: Iterable[str]) -> list[Row]:
    """What tells the rows of these arms from others."""
    return [
        {"arm": arm, "seed": seed, "config": config_hash(settings(arm, seed))}
        for arm in arms
        for seed in SEEDS
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("arm", nargs="*", help="arms to run again, as they are called in the table")
    parser.add_argument("--table", action="store_true", help="only write the table again")
    chosen = parser.parse_args(arguments)
    labels = {plain(arm): arm for arm in ARMS}
    for name in chosen.arm:
        if name not in labels:
            raise SystemExit(str(unknown("arm", name, labels)))
    if chosen.arm:
        run_anew(ROWS, wanted(labels[name] for name in chosen.arm), run)
    elif not chosen.table:
        run_missing(ROWS, wanted(ARMS), run)
    write_between("digits", f"{table()}\n\n{what_is_fixed()}\n\n{balance_matters()}")


if __name__ == "__main__":
    main()
