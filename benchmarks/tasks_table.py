"""The README's table of embedded tasks: default training beside what counting or a line reaches.

Runs ``python -m tasks task=NAME`` for three seeds, one at a time, and writes
``benchmarks/tasks.csv`` (one row per run), ``benchmarks/tasks_baselines.json`` and the table in
README.md between its markers.

    python benchmarks/tasks_table.py            run what is missing, then write the table
    python benchmarks/tasks_table.py --table    write the table from the rows there are
"""

import argparse
import json
import time
from collections.abc import Callable
from functools import cache
from statistics import mean
from typing import NamedTuple

import linear_baselines
import ngram_baseline
import plain_baselines
from _runs import (
    HERE,
    Row,
    column,
    config_hash,
    finished_run,
    interval,
    read_rows,
    result_of,
    run_missing,
    write_between,
)

from tasks.topics import Topics

ROWS = HERE / "tasks.csv"
BASELINES = HERE / "tasks_baselines.json"
SEEDS = (0, 1, 2)


class Figure(NamedTuple):
    """A number of a task: its name in the result, in words, and in the baseline."""

    name: str
    words: str
    baseline: str


#: For each arm its command and what to show of it.
ARMS: dict[str, tuple[str, tuple[Figure, ...]]] = {
    "digits": ("task=digits", (Figure("accuracy", "accuracy", "linear"),)),
    "two_digits": (
        "task=two_digits",
        tuple(
            Figure(f"accuracy/{name}", f"accuracy, {name}", "linear")
            for name in ("left", "right", "sum", "parity")
        ),
    ),
    "char_names": ("task=char_names", (Figure("accuracy", "accuracy", "linear, n-grams"),)),
    "char_properties": (
        "task=char_properties",
        tuple(
            Figure(f"accuracy/{name}", f"accuracy, {words}", "linear, n-grams")
            for name, words in (
                ("category", "category"),
                ("bidirectional", "direction"),
                ("width", "width"),
            )
        ),
    ),
    "topics": ("task=topics", (Figure("bits_per_byte", "bits per byte", "5-gram, back-off"),)),
    "planted": (
        "task=planted",
        (Figure("accuracy", "accuracy", "linear"), Figure("nmi", "NMI cluster, expert", "")),
    ),
    "planted, `random_fixed`": (
        "task=planted router=random_fixed router.k=1",
        (Figure("accuracy", "accuracy", ""), Figure("nmi", "NMI cluster, expert", "")),
    ),
}

HEAD = """\
| task | measured | default training | baseline | s |
|---|---|---|---|---|"""


def run(row: Row) -> Row:
    """One run of the command, timed from outside."""
    start = time.perf_counter()
    with finished_run(settings(row["arm"], row["seed"])) as out:
        seconds = time.perf_counter() - start
        result = result_of(out)
    values = dict(result["scores"])
    values["nmi"] = result["layers"][0]["nmi"].get("cluster")
    names = {figure.name for _, figures in ARMS.values() for figure in figures}
    return {**{name: values.get(name) for name in sorted(names)}, "seconds": round(seconds, 1)}


def settings(arm: str, seed: int) -> list[str]:
    """Of one run."""
    return [*ARMS[arm][0].split(), f"seed={seed}"]


#: What each task's baseline is computed by; names of figures to numbers.
MAKERS: dict[str, Callable[[], dict[str, float]]] = {
    "digits": lambda: plain_baselines.baseline("digits"),
    "two_digits": lambda: plain_baselines.baseline("two_digits"),
    "planted": lambda: plain_baselines.baseline("planted"),
    "char_names": lambda: {"accuracy": _names()["category"]["test"]},
    "char_properties": lambda: {
        f"accuracy/{name}": found["test"] for name, found in _names().items()
    },
    "topics": lambda: {"bits_per_byte": _five_gram()},
}


@cache
def _names() -> dict[str, dict[str, float]]:
    """From counts of 1 to 4 bytes in a row; single bytes reach 0.77 to 0.83."""
    return linear_baselines.names_baseline(4)


def _five_gram() -> float:
    corpus = Topics().corpus()
    train, test = (bytes(part.tolist()) for part in (corpus.train, corpus.test))
    return ngram_baseline.bits_per_byte(train, test)


def table() -> str:
    """The rows as a Markdown table, tasks in their order."""
    baselines = json.loads(BASELINES.read_text())
    lines = [HEAD]
    for arm, (_, figures) in ARMS.items():
        rows = [row for row in read_rows(ROWS) if row["arm"] == arm]
        if len(rows) < len(SEEDS):
            continue
        for place, figure in enumerate(figures):
            other = ""
            if figure.baseline:
                other = f"{baselines[arm][figure.name]:.3f} ({figure.baseline})"
            name, seconds = _code(arm), f"{mean(column(rows, 'seconds')):.0f}"
            if place:
                name = seconds = ""
            value = interval(column(rows, figure.name), 3)
            lines.append(f"| {name} | {figure.words} | {value} | {other} | {seconds} |")
    return "\n".join(lines)


def _code(arm: str) -> str:
    return arm if "`" in arm else f"`{arm}`"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--table", action="store_true", help="only write the table again")
    if not parser.parse_args().table:
        wanted = [
            {"arm": arm, "seed": seed, "config": config_hash(settings(arm, seed))}
            for arm in ARMS
            for seed in SEEDS
        ]
        run_missing(ROWS, wanted, run)
        found = {task: make() for task, make in MAKERS.items()}
        BASELINES.write_text(json.dumps(found, indent=1) + "\n")
    write_between("tasks", table())
