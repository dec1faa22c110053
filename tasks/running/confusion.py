"""``confusion.csv``: which expert worked on what, in the last evaluation."""

import csv
import io
from pathlib import Path

from torch import Tensor

from .._task import Task
from .run_dir import write_text

#: The table in a run's folder.
CONFUSION = "confusion.csv"


def write_confusion(path: Path, task: Task, layers: list[dict[str, Tensor]]) -> None:
    """Write a line for each layer, expert and kind.

    ``rows`` counts what the expert computed for the kind; where ``by`` is ``gate``, it is the
    weight that the task's gate gave the expert. Tasks and layers without kinds leave no file.

    Args:
        path: of the file.
        task: whose kinds were counted.
        layers: for each layer its tables ``(E, kinds)`` by name.
    """
    if not any(layers):
        return
    names = {kinds.name: kinds.names for kinds in task.kinds()}
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(["layer", "expert", "by", "kind", "rows"])
    for number, tables in enumerate(layers):
        for by, table in tables.items():
            columns = names.get(by) or _gates(task, table.shape[1])
            for expert, row in enumerate(table.tolist()):
                for kind, rows in zip(columns, row, strict=True):
                    lines.writerow([number, expert, by, kind, f"{rows:.6g}"])
    write_text(path, text.getvalue())


def _gates(task: Task, number: int) -> tuple[str, ...]:
    """A gate for each output of the task, and maybe one more for all of them."""
    return (*task.outputs, "shared", *map(str, range(number)))[:number]
