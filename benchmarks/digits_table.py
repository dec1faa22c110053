"""The README's digits table: every arm is the command a user would type, for three seeds.

Runs ``python -m tasks`` once per arm and seed, two at a time, each on one thread, and writes
``benchmarks/digits.csv`` (one row per run) and the table in README.md between its markers.

    python benchmarks/digits_table.py            run what is missing, then write the table
    python benchmarks/digits_table.py --table    write the table from the rows there are
"""

import argparse
import csv
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import mean, stdev

from scipy.stats import t as student

from tasks._config import compose, to_yaml

HERE = Path(__file__).resolve().parent
ROWS = HERE / "digits.csv"
README = HERE.parent / "README.md"
SEEDS = (0, 1, 2)
AT_A_TIME = 2

#: Label, and what to add to ``python -m tasks task=digits``.
ARMS = {
    "`topk`": "router=topk",
    "`noisy_topk`": "router=noisy_topk",
    "`expert_choice`": "router=expert_choice",
    "`hash`": "router=hash router.seed=${seed}",
    "`hierarchical`": "router=hierarchical",
    "`soft_mixture`": "router=soft_mixture",
    "`soft_moe`": "router=soft_moe",
    "`topk`, no balance term": "router=topk losses={}",
    "`topk`, stronger balance term": "router=topk losses.switch=0.03",
    "control: `uniform`, by position": "router=uniform",
    "control: `random_fixed`": "router=random_fixed",
    "control: dense, equal FLOPs": "router=topk moe.control=iso_flop",
    "control: dense, equal parameters": "router=topk moe.control=iso_parameter",
}

FIELDS = (
    "arm",
    "config",
    "seed",
    "accuracy",
    "cv",
    "max_violation",
    "parameters",
    "active_parameters",
    "flops_per_item",
    "seconds",
)


def run(arm: str, seed: int) -> dict[str, object]:
    """One run of the command, timed from outside."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        command = [sys.executable, "-m", "tasks", "task=digits", *ARMS[arm].split()]
        start = time.perf_counter()
        subprocess.run(
            [*command, f"seed={seed}", f"out={out}"],
            check=True,
            cwd=HERE.parent,
            stdout=subprocess.DEVNULL,
        )
        seconds = time.perf_counter() - start
        result = json.loads((out / "result.json").read_text())
    compute, load = result["compute"], result["load"]
    values = (
        arm,
        config_hash(arm, seed),
        seed,
        result["score"]["value"],
        load["cv"],
        load["max_violation"],
        compute["parameters"],
        compute["active_parameters"],
        compute["flops_per_item"],
        round(seconds, 1),
    )
    return dict(zip(FIELDS, values, strict=True))


def config_hash(arm: str, seed: int) -> str:
    """Of all that a run's configuration says, files under conf/ and defaults included."""
    config = to_yaml(compose(["task=digits", *ARMS[arm].split(), f"seed={seed}"]))
    return hashlib.sha256(config.encode()).hexdigest()[:16]


def read_rows() -> list[dict[str, str]]:
    """The runs made so far whose configuration is still what it was."""
    if not ROWS.exists():
        return []
    with ROWS.open(newline="") as file:
        return [
            row
            for row in csv.DictReader(file)
            if row["arm"] in ARMS and config_hash(row["arm"], int(row["seed"])) == row["config"]
        ]


def run_missing() -> None:
    """Run every arm and seed that has no row yet; each row is kept as soon as it is there."""
    rows: list[dict[str, object]] = [dict(row) for row in read_rows()]
    done = {(row["arm"], int(str(row["seed"]))) for row in rows}
    missing = [(arm, seed) for arm in ARMS for seed in SEEDS if (arm, seed) not in done]
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        for row in pool.map(lambda which: run(*which), missing):
            print(row, flush=True)
            rows.append(row)
            with ROWS.open("w", newline="") as file:
                writer = csv.DictWriter(file, FIELDS)
                writer.writeheader()
                writer.writerows(rows)


def interval(values: list[float]) -> str:
    """Mean and half-width of Student's 95% interval."""
    half = student.ppf(0.975, len(values) - 1) * stdev(values) / len(values) ** 0.5
    return f"{mean(values):.3f} ± {half:.3f}"


def table() -> str:
    """The rows as a Markdown table, arms in their order."""
    lines = [
        "| arm | test accuracy | load CV | MaxVio | active / all parameters | MFLOPs | s |",
        "|---|---|---|---|---|---|---|",
    ]
    for arm in ARMS:
        rows = [row for row in read_rows() if row["arm"] == arm]
        if len(rows) < len(SEEDS):
            continue

        def of(name: str, rows: list[dict[str, str]] = rows) -> list[float]:
            return [float(row[name]) for row in rows]

        active, total = mean(of("active_parameters")) / 1e3, mean(of("parameters")) / 1e3
        lines.append(
            f"| {arm} | {interval(of('accuracy'))} | {interval(of('cv'))} "
            f"| {interval(of('max_violation'))} | {active:.0f}k / {total:.0f}k "
            f"| {mean(of('flops_per_item')) / 1e6:.2f} | {mean(of('seconds')):.0f} |"
        )
    return "\n".join(lines)


def balance_matters() -> str:
    """What the balance term does to `topk`, in a sentence, from the rows."""
    without, with_term = "`topk`, no balance term", "`topk`"

    def of(arm: str, name: str) -> float:
        return mean(float(row[name]) for row in read_rows() if row["arm"] == arm)

    ratio = of(without, "max_violation") / of(with_term, "max_violation")
    gain = of(with_term, "accuracy") - of(without, "accuracy")
    return (
        f"Balance matters: without its balance term `topk` has {ratio:.1f} times the MaxVio, and "
        f"its mean accuracy differs by {gain:+.3f}."
    )


def write_table() -> None:
    """Put the table between README.md's markers."""
    text = README.read_text()
    start, end = "<!-- digits:start -->", "<!-- digits:end -->"
    head, rest = text.split(start)
    tail = rest.split(end)[1]
    README.write_text(f"{head}{start}\n{table()}\n\n{balance_matters()}\n{end}{tail}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--table", action="store_true", help="only write the table again")
    if not parser.parse_args().table:
        run_missing()
    write_table()
