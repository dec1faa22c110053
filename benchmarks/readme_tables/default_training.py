"""Tasks that need no data: default training and a baseline on the same split, three seeds each.

Trains ``python -m tasks task=NAME`` once per arm and seed. Writes one row per run to
``benchmarks/results/tasks.csv``, baselines to ``benchmarks/results/tasks_baselines.json`` (delete
it to compute them again) and the table to ``docs/tasks.md``.

    python benchmarks/readme_tables/default_training.py          train what is missing
    python benchmarks/readme_tables/default_training.py --table  write the table from existing rows
"""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

from benchmarks.baselines import linear, text_linear
from benchmarks.readme_tables.comparison import (
    RESULTS,
    Comparison,
    Row,
    average,
    column,
    interval,
    markdown,
    result_of,
    write_between,
)
from tasks.baselines import bits_per_byte
from tasks.topics import Topics

BASELINES = RESULTS / "tasks_baselines.json"


class Figure(NamedTuple):
    """A number of a task: its name in the result, its name in the table, and its baseline."""

    name: str
    words: str
    baseline: str


#: Overrides and figures of each arm.
ARMS: dict[str, tuple[str, tuple[Figure, ...]]] = {
    "digits": ("task=digits", (Figure("accuracy", "accuracy", "linear"),)),
    "permuted_digits": (
        "task=permuted_digits",
        (
            Figure("accuracy", "accuracy", "linear"),
            Figure("nmi", "NMI permutation, expert", ""),
        ),
    ),
    "permuted_digits, `random_fixed`": (
        "task=permuted_digits router=random_fixed",
        (Figure("accuracy", "accuracy", ""), Figure("nmi", "NMI permutation, expert", "")),
    ),
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

#: Name of the CSV column of each figure.
NAMES = sorted({figure.name for _, figures in ARMS.values() for figure in figures})


def figures(out: Path) -> Row:
    """Numbers to keep of a run."""
    result = result_of(out)
    nmi = result["layers"][0]["nmi"]
    hidden = [nmi[name] for name in ("cluster", "permutation") if name in nmi]
    values = {**result["scores"], "nmi": next(iter(hidden), None)}
    return {name: values.get(name) for name in NAMES}


TASKS = Comparison(
    rows=RESULTS / "tasks.csv",
    arms={arm: command for arm, (command, _) in ARMS.items()},
    seeds=(0, 1, 2),
    figures=figures,
)
HEADINGS = ("task", "measured", "default training", "baseline", "s")

#: Functions that compute each task's baseline: numbers by the names of figures.
MAKERS: dict[str, Callable[[], dict[str, float]]] = {
    "digits": lambda: linear.baseline("digits"),
    "permuted_digits": lambda: linear.baseline("permuted_digits"),
    "two_digits": lambda: linear.baseline("two_digits"),
    "planted": lambda: linear.baseline("planted"),
    "char_names": lambda: {"accuracy": _names()["category"]["test"]},
    "char_properties": lambda: {
        f"accuracy/{name}": found["test"] for name, found in _names().items()
    },
    "topics": lambda: {"bits_per_byte": _five_gram()},
}


@cache
def _names() -> dict[str, dict[str, float]]:
    """From counts of n-grams of 1 to 4 bytes; single bytes reach 0.77 to 0.83."""
    return text_linear.names_baseline(4)


def _five_gram() -> float:
    corpus = Topics().corpus()
    train, test = (bytes(part.tolist()) for part in (corpus.train, corpus.test))
    return bits_per_byte(train, test)


def table() -> str:
    """The rows as a Markdown table, tasks in their order."""
    baselines = json.loads(BASELINES.read_text())
    lines = []
    for arm, (_, figures) in ARMS.items():
        rows = TASKS.of(arm)
        if not rows:
            continue
        for number, figure in enumerate(figures):
            baseline = ""
            if figure.baseline:
                baseline = f"{baselines[arm][figure.name]:.3f} ({figure.baseline})"
            value = interval(column(rows, figure.name), 3)
            name, seconds = _code(arm), f"{average(rows, 'seconds'):.0f}"
            if number:
                name = seconds = ""
            lines.append([name, figure.words, value, baseline, seconds])
    return markdown(HEADINGS, lines)


def _code(arm: str) -> str:
    return arm if "`" in arm else f"`{arm}`"


def write() -> None:
    """Compute missing baselines and write the table."""
    found = json.loads(BASELINES.read_text()) if BASELINES.exists() else {}
    if missing := {task: make() for task, make in MAKERS.items() if task not in found}:
        BASELINES.write_text(json.dumps(found | missing, indent=1) + "\n")
    write_between("tasks.md", "tasks", table())


if __name__ == "__main__":
    TASKS.run_command(__doc__, write)
