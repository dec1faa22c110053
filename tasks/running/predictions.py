"""Files of predictions: a row for each sample, as CSV, JSON lines or Parquet."""

import csv
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..readers import needed

#: Values of each column by its name.
Columns = Mapping[str, Sequence[Any]]


def write_predictions(path: Path, columns: Columns) -> None:
    """Write columns in the format of the file's ending, whole or not at all."""
    part = path.with_name(path.name + ".part")
    try:
        FORMATS[path.suffix](part, columns)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _csv(path: Path, columns: Columns) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(columns)
        lines.writerows(zip(*columns.values(), strict=True))


def _json_lines(path: Path, columns: Columns) -> None:
    with path.open("w", encoding="utf-8") as file:
        for row in zip(*columns.values(), strict=True):
            values = dict(zip(columns, row, strict=True))
            file.write(json.dumps(values, ensure_ascii=False) + "\n")


def _parquet(path: Path, columns: Columns) -> None:
    arrow = needed("pyarrow", "data", f"out={path.stem}")
    needed("pyarrow.parquet", "data", f"out={path.stem}").write_table(arrow.table(columns), path)


#: Writers by the ending of a file.
FORMATS: Mapping[str, Callable[[Path, Columns], None]] = {
    ".csv": _csv,
    ".jsonl": _json_lines,
    ".parquet": _parquet,
}
