"""A CSV logger whose file survives kills and continues after a resume."""

import csv
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger


class CsvLog(Logger):
    """``metrics.csv``: one row per step that logged, one column per metric.

    The whole file is replaced by a rename, so that it is never partly written.
    """

    name = "csv"
    version = ""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.rows: dict[int, dict[str, Any]] = {}

    def resume_at(self, step: int) -> None:
        """Read existing rows up to ``step``; a resumed run logs later steps again."""
        if not self.path.exists():
            return
        with self.path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                at = int(row.pop("step"))
                if at <= step:
                    self.rows[at] = {name: text for name, text in row.items() if text}

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Do nothing: the run's folder already holds its configuration."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self.rows.setdefault(step or 0, {}).update(metrics)

    def save(self) -> None:
        """Write all rows, if there are any."""
        if not self.rows:
            return
        names = sorted({name for row in self.rows.values() for name in row})
        part = self.path.with_suffix(".part")
        with part.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, ["step", *names])
            writer.writeheader()
            writer.writerows({"step": at, **self.rows[at]} for at in sorted(self.rows))
        os.replace(part, self.path)
