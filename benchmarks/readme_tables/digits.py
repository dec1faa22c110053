"""Digits: every registered router with default training, three seeds each.

Trains ``python -m tasks task=digits`` once per arm and seed, each on one thread. Writes one row
per run to ``benchmarks/results/digits.csv`` and the table to ``docs/results_digits.md``.

    python benchmarks/readme_tables/digits.py            train what is missing, write the table
    python benchmarks/readme_tables/digits.py relu topk  train these arms again, write the table
    python benchmarks/readme_tables/digits.py --table    write the table from existing rows
    python benchmarks/readme_tables/digits.py --check    check rows and thresholds before a release
"""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import mean

import routers
from benchmarks.readme_tables.comparison import (
    RESULTS,
    Comparison,
    Row,
    average,
    column,
    interval,
    markdown,
    plain,
    result_of,
    write_between,
)


def figures(out: Path) -> Row:
    """Numbers to keep of a run."""
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
        "experts_per_item": mean(sum(layer["load"]) / layer["items"] for layer in layers),
    }


def _arms(names: Iterable[str]) -> dict[str, str]:
    """Overrides by label; routers that draw a table or expert at random draw it per seed."""
    drawn = {name: "seed" in routers.ROUTERS.options(name) for name in names}
    return {
        f"`{name}`": f"task=digits router={name}" + (" router.seed=${seed}" if drawn[name] else "")
        for name in names
    }


TRAITS = {name: routers.ROUTERS.get(name).traits for name in routers.available()}
REPLAYED = [name for name, traits in TRAITS.items() if traits.needs_recorded]
ELSEWHERE = [n for n, traits in TRAITS.items() if traits.needs_task and n not in REPLAYED]
ALONE = {n: traits for n, traits in TRAITS.items() if n not in (*ELSEWHERE, *REPLAYED)}
LEARNED = [name for name, traits in ALONE.items() if traits.learned]
FIXED = [name for name, traits in ALONE.items() if not traits.learned]

DIGITS = Comparison(
    rows=RESULTS / "digits.csv",
    arms={
        **_arms(LEARNED),
        "`topk`, no balance term": "task=digits router=topk losses={}",
        "`topk`, stronger balance term": "task=digits router=topk losses.switch=0.03",
        "`sigmoid`, no bias": "task=digits router=sigmoid router.rate=0",
        **_arms(FIXED),
        "dense, equal FLOPs": "task=digits router=topk moe.control=iso_flop",
        "dense, equal parameters": "task=digits router=topk moe.control=iso_parameter",
    },
    seeds=(0, 1, 2),
    figures=figures,
)
HEADINGS = (
    *("arm", "test accuracy", "load CV", "MaxVio", "entropy", "active / all parameters"),
    *("MFLOPs", "router, kFLOPs", "s"),
)

MIN_ACCURACY = 0.97
MAX_BIASED_VIOLATION = 0.2  # of sigmoid with its loss-free bias
MAX_BIAS_COST = 0.005  # accuracy that this bias may cost


def table(digits: Comparison = DIGITS) -> str:
    """A Markdown table of the arms that have rows, in their order."""
    return markdown(HEADINGS, (_cells(digits, arm) for arm in digits.arms if digits.of(arm)))


def _cells(digits: Comparison, arm: str) -> list[str]:
    rows = digits.of(arm)
    partial = "" if len(rows) == len(digits.seeds) else f" (seeds: {len(rows)})"
    active, total = (average(rows, name) / 1e3 for name in ("active_parameters", "parameters"))
    return [
        arm + partial,
        *(interval(column(rows, name), 3) for name in ("accuracy", "cv", "max_violation")),
        f"{average(rows, 'entropy'):.3f}",
        f"{active:.0f}k / {total:.0f}k",
        f"{average(rows, 'flops_per_item') / 1e6:.2f}",
        f"{average(rows, 'router_flops_per_item') / 1e3:.0f}",
        f"{average(rows, 'seconds'):.0f}",
    ]


def notes(digits: Comparison = DIGITS) -> str:
    """Notes below the table: exempt and missing routers, and the effect of balance terms."""
    fixed, elsewhere, replayed = (
        ", ".join(f"`{n}`" for n in names) for names in (FIXED, ELSEWHERE, REPLAYED)
    )
    missing = [arm for arm in digits.arms if not digits.of(arm)]
    exempt = (
        f"Routers without learned parameters, which have no accuracy threshold: {fixed}. Not in "
        f"the table because they need a task id, and digits has only one task: {elsewhere}; "
        f"because it needs the routes of another run: {replayed}."
    )
    not_run = f"Not run: {', '.join(missing)}." if missing else ""
    return "\n\n".join(filter(None, [exempt, not_run, _balance(digits)]))


def _balance(digits: Comparison) -> str:
    """The effect of a balance term, a loss-free bias and a sparsity coefficient, if all ran."""
    needed = ("`topk`", "`topk`, no balance term", "`sigmoid`", "`sigmoid`, no bias", "`relu`")
    rows = {arm: digits.of(arm) for arm in needed}
    if not all(rows.values()):
        return ""
    top, unbalanced, biased, unbiased, relu = rows.values()
    ratio = average(unbalanced, "max_violation") / average(top, "max_violation")
    gain = average(top, "accuracy") - average(unbalanced, "accuracy")
    lower, upper = average(biased, "max_violation"), average(unbiased, "max_violation")
    free = average(biased, "accuracy") - average(unbiased, "accuracy")
    return (
        f"Balance matters: without its balance term `topk` has {ratio:.1f} times the MaxVio, and "
        f"its mean accuracy differs by {gain:+.3f}. The loss-free bias reduces the MaxVio of "
        f"`sigmoid` from {upper:.2f} to {lower:.2f} and changes its mean accuracy by {free:+.3f}. "
        f"`relu` aims at {routers.ROUTERS.options('relu')['k']:g} experts per item and uses "
        f"{interval(column(relu, 'experts_per_item'), 2)}."
    )


def failures(digits: Comparison = DIGITS) -> list[str]:
    """Missing runs and missed thresholds, one line each; none if the rows can be released."""
    found = []
    for arm in digits.arms:
        seeds = [int(row["seed"]) for row in digits.of(arm)]
        if seeds != list(digits.seeds):
            found.append(f"{plain(arm)}: seeds {seeds}, expected {list(digits.seeds)}")
    if found:
        return found
    for name in LEARNED:
        accuracy = average(digits.of(f"`{name}`"), "accuracy")
        if accuracy < MIN_ACCURACY:
            found.append(f"{name}: accuracy {accuracy:.4f}, expected at least {MIN_ACCURACY}")
    biased, unbiased = digits.of("`sigmoid`"), digits.of("`sigmoid`, no bias")
    violation = average(biased, "max_violation")
    if violation >= MAX_BIASED_VIOLATION:
        found.append(f"sigmoid: MaxVio {violation:.3f}, expected below {MAX_BIASED_VIOLATION}")
    cost = average(unbiased, "accuracy") - average(biased, "accuracy")
    if cost > MAX_BIAS_COST:
        found.append(f"sigmoid: its bias costs {cost:.4f}, expected at most {MAX_BIAS_COST}")
    k = routers.ROUTERS.options("relu")["k"]
    used = average(digits.of("`relu`"), "experts_per_item")
    if abs(used - k) > 0.1 * k:
        found.append(f"relu: {used:.2f} experts per item, expected {k:g} within 10%")
    return found


def main(arguments: Sequence[str]) -> None:
    """Run the command.

    Raises:
        SystemExit: with the failures, for ``--check`` if there are any.
    """
    if list(arguments) == ["--check"]:
        found = failures()
        if found:
            raise SystemExit("\n".join(found))
        print(f"{len(DIGITS.arms)} arms with {len(DIGITS.seeds)} seeds each: all checks pass")
        return
    DIGITS.run_command(
        __doc__,
        lambda: write_between("results_digits.md", "digits", f"{table()}\n\n{notes()}"),
        arguments,
    )


if __name__ == "__main__":
    main(sys.argv[1:])
