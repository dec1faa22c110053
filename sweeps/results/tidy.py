"""Tidy table of a suite: one row for each confirmed run, with every number of its result."""

import csv
import io
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .files import write_file
from .formatting import cell_text
from .suite_dir import Benchmark, Suite
from .sweep_dir import ArmResults

RESULTS_CSV, RESULTS_PARQUET = "results.csv", "results.parquet"

#: Sections of ``result.json`` whose numbers are columns, such as ``load.max_violation``.
SECTIONS = ("score", "scores", "load", "compute")

#: Columns that every row has, in this order; metrics follow in alphabetical order.
FIXED = (
    *("benchmark", "modality", "arm", "control", "seed", "metric", "direction"),
    *("task", "data.sha256", "data.split_sha256"),
)


def tidy_rows(suite: Suite) -> list[dict[str, Any]]:
    """A row for each confirmed run, by benchmark, arm and seed; None for a missing number.

    All rows have the same columns: those of `FIXED`, then a column for each number in the results
    of any run. ``metric`` and ``direction`` are of ``score.value``.
    """
    rows = [
        _row(benchmark, arm, index)
        for benchmark in suite.benchmarks
        for label in suite.labels
        if (arm := suite.arm(benchmark.name, label))
        for index in range(len(arm.runs))
    ]
    metrics = sorted({name for row in rows for name in row} - set(FIXED))
    return [{name: row.get(name) for name in (*FIXED, *metrics)} for row in rows]


def write_tidy(suite: Suite, folder: Path) -> list[Path]:
    """Write ``results.csv``, and ``results.parquet`` if pyarrow is installed; returns the paths."""
    rows = tidy_rows(suite)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = list(rows[0]) if rows else list(FIXED)
    writer.writerow(names)
    for row in rows:
        writer.writerow([cell_text(v) if isinstance(v, str) else v for v in row.values()])
    write_file(folder / RESULTS_CSV, text.getvalue())
    paths = [folder / RESULTS_CSV]
    if find_spec("pyarrow") and rows:
        write_file(folder / RESULTS_PARQUET, _parquet(rows))
        paths.append(folder / RESULTS_PARQUET)
    return paths


def _row(benchmark: Benchmark, arm: ArmResults, index: int) -> dict[str, Any]:
    run = arm.runs[index]
    data = run.get("data") or {}
    numbers = {
        name: value for section in SECTIONS for name, value in _numbers(section, run.get(section))
    }
    return {
        "benchmark": benchmark.name,
        "modality": benchmark.modality,
        "arm": arm.label,
        "control": arm.control,
        "seed": arm.seeds[index],
        "metric": run["score"]["name"],
        "direction": run["score"]["direction"],
        "task": run.get("task"),
        "data.sha256": data.get("sha256"),
        "data.split_sha256": data.get("split_sha256"),
        **numbers,
    }


def _numbers(prefix: str, value: Any) -> Iterator[tuple[str, float]]:
    """Numbers in nested mappings by dotted path."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _numbers(f"{prefix}.{key}", inner)
    elif isinstance(value, int | float):
        yield prefix, float(value)


def _parquet(rows: list[dict[str, Any]]) -> bytes:
    import pyarrow  # type: ignore[import-untyped]
    import pyarrow.parquet  # type: ignore[import-untyped]

    buffer = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), buffer)
    return bytes(buffer.getvalue())
