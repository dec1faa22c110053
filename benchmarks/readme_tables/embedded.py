"""Tables of every registered router in the benchmarks of ``suite=embedded_full``.

Runs the suite, with five seeds each, or what is missing of it. Keeps one row per run, the tables
and the protocol in ``benchmarks/results/embedded/``; writes ``docs/results_embedded.md`` and a
table of the README from these.

    python benchmarks/readme_tables/embedded.py runs/embedded_full   run what is missing there
    python benchmarks/readme_tables/embedded.py                      write the tables again
"""

import argparse
import csv
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from benchmarks.readme_tables.comparison import RESULTS, ROOT, markdown, write_between
from sweeps.statistics import Word

KEPT = RESULTS / "embedded"
FILES = ("results.csv", "suite.csv", "suite.md", "protocol.yaml")

#: The control that normalized scores and marks refer to.
CONTROL = "random_fixed"

#: Signs of verdicts that hold after correction over all benchmarks, and within one alone.
STRICT = {Word.BETTER: "▲", Word.WORSE: "▼", Word.EQUIVALENT: "≈", Word.UNCLEAR: "·"}
WITHIN = STRICT | {Word.BETTER: "△", Word.WORSE: "▽"}
GAP = "\N{EN DASH}"

Row = dict[str, str]


@dataclass(frozen=True)
class Suite:
    """Results of a suite, best router first.

    Attributes:
        answer: its two sentences.
        arms: rows of ``suite.csv``.
        benchmarks: their modalities by name.
        directions: ``maximize`` or ``minimize`` by benchmark.
    """

    answer: str
    arms: Sequence[Row]
    benchmarks: dict[str, str]
    directions: dict[str, str]

    @classmethod
    def read(cls, folder: Path) -> "Suite":
        """Read the files of a suite."""
        protocol = yaml.safe_load((folder / "protocol.yaml").read_text(encoding="utf-8"))
        with (folder / "suite.csv").open(newline="", encoding="utf-8") as file:
            arms = list(csv.DictReader(file))
        with (folder / "results.csv").open(newline="", encoding="utf-8") as file:
            directions = {row["benchmark"]: row["direction"] for row in csv.DictReader(file)}
        answer = (folder / "suite.md").read_text(encoding="utf-8").partition("\n")[0]
        modalities = {name: each["modality"] for name, each in protocol["benchmarks"].items()}
        return cls(answer, arms, modalities, directions)

    def score(self, benchmark: str, label: str) -> str:
        """The mean score of an arm; empty for a gap."""
        (row,) = (row for row in self.arms if row["arm"] == label)
        return number(row[f"{benchmark}:score"])

    def routers(self, benchmark: str) -> list[Row]:
        """Rows of the routers that a benchmark can take, best first."""
        found = [
            row for row in self.arms if row["control"] == "False" and row[f"{benchmark}:score"]
        ]
        sign = 1 if self.directions[benchmark] == "minimize" else -1
        return sorted(found, key=lambda row: sign * float(row[f"{benchmark}:score"]))


def number(text: str) -> str:
    """Three digits of a number; a dash for none.

    >>> number("0.95324"), number("3.3014"), number("")
    ('0.953', '3.301', '–')
    """
    return f"{float(text):.3f}" if text else GAP


def where_it_matters(suite: Suite) -> str:
    """A table of the benchmarks: scores of controls, the best router, and how many differ."""
    rows = []
    for name, modality in suite.benchmarks.items():
        routers = suite.routers(name)
        words = [
            Word(row[f"{name}:verdict"])
            for row in routers
            if row[f"{name}:all_benchmarks"] == "True"
        ]
        best = routers[0]
        rows.append(
            [
                f"`{name}`",
                modality.replace("_", " "),
                *(suite.score(name, arm) for arm in ("uniform", CONTROL)),
                f"`{best['arm']}` {number(best[f'{name}:score'])}",
                *(str(words.count(word)) for word in (Word.BETTER, Word.EQUIVALENT, Word.WORSE)),
                str(len(routers)),
            ]
        )
    better = (f"better than `{CONTROL}`", "equivalent", "worse", "of routers")
    return markdown(("benchmark", "modality", "`uniform`", f"`{CONTROL}`", "best", *better), rows)


def every_router(suite: Suite) -> str:
    """A table of all arms: verdicts over the suite and in each benchmark, balance and cost."""
    cost = ("load.max_violation", "compute.flops_per_item", "compute.train_seconds")
    headings = ("arm", "normalized", "group", *suite.benchmarks, "MaxVio", "FLOPs", "time")
    return markdown(
        headings,
        (
            [
                f"`{row['arm']}`" if row["control"] == "False" else row["arm"],
                number(row["mean_normalized"]) + sign(row["verdict"], bool(row["mean_normalized"])),
                row["group"] or GAP,
                *(
                    number(row[f"{name}:score"])
                    + sign(row[f"{name}:verdict"], row[f"{name}:all_benchmarks"] == "True")
                    for name in suite.benchmarks
                ),
                *(f"{float(row[key]):.2f}" if row[key] else GAP for key in cost),
            ]
            for row in suite.arms
        ),
    )


def sign(word: str, strict: bool) -> str:
    """The sign of a verdict after a number; nothing for none."""
    return f" {(STRICT if strict else WITHIN)[Word(word)]}" if word else ""


def write() -> None:
    """Write the tables from the kept files."""
    suite = Suite.read(KEPT)
    answer = suite.answer.replace("\\", "")
    write_between("../README.md", "embedded", f"{answer}\n\n{where_it_matters(suite)}")
    write_between("results_embedded.md", "embedded", f"{answer}\n\n{every_router(suite)}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", nargs="?", type=Path, help="folder of the suite")
    folder = parser.parse_args(arguments).folder
    if folder:
        command = ["-m", "sweeps", "suite=embedded_full", f"out={folder.resolve()}", "quiet=true"]
        subprocess.run([sys.executable, *command], check=True, cwd=ROOT)
        KEPT.mkdir(exist_ok=True)
        for name in FILES:
            shutil.copy(folder / name, KEPT / name)
    write()


if __name__ == "__main__":
    main()
