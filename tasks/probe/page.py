"""The page of a probe: tables of effects, and what experts work on next to what they are for."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .summary import shown_experts, tables_of

#: Most labels in a matrix: those with most rows.
MAX_COLUMNS = 32

#: Strongest tint of a cell, in percent.
TINT = 60


def render(found: Mapping[str, Any]) -> str:
    """One HTML file that needs nothing else, of the values of ``probe.json``."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    tables = tables_of(found)
    layers = [
        {
            "name": layer["name"] or "layer",
            "router": layer["router"],
            "table": table,
            "shapley": layer["shapley"],
            "refused": layer["refused"],
            "matrices": [_matrices(layer, name, found) for name in layer["works_on"]],
        }
        for layer, table in zip(found["layers"], tables, strict=False)
    ]
    whole = tables[len(layers) :]
    return environment.get_template("page.html.jinja").render(
        found=found, layers=layers, whole=whole[0] if whole else None
    )


def _matrices(layer: Mapping[str, Any], labeling: str, found: Mapping[str, Any]) -> dict[str, Any]:
    """The two matrices of one labeling: works on, and is needed for."""
    experts, names = shown_experts(layer, found["measure"]), found["labels"][labeling]
    works_on = layer["works_on"][labeling]
    rows = np.array(layer["load"]) @ np.array(works_on)
    columns = np.sort(np.argsort(-rows, kind="stable")[:MAX_COLUMNS]).tolist()
    needed_for = layer["needed_for"].get(labeling)
    return {
        "labeling": labeling,
        "names": [names[column] for column in columns],
        "works_on": _tinted(works_on, experts, columns, "{:.0%}"),
        "needed_for": needed_for and _tinted(needed_for, experts, columns, "{:+.2f}"),
        "matched": layer["matched"].get(labeling),
    }


def _tinted(
    matrix: Sequence[Sequence[float | None]],
    experts: Sequence[int],
    columns: Sequence[int],
    number: str,
) -> list[tuple[int, list[tuple[str, str, float]]]]:
    """Text, colour and tint of each cell by expert; tints are relative to the largest value."""
    values = np.array(matrix, dtype=np.float64)
    most = max(float(np.nan_to_num(np.abs(values)).max()), 1e-12)

    def cell(value: float) -> tuple[str, str, float]:
        if np.isnan(value):
            return "-", "bar", 0.0
        text = number.format(value) if abs(value) >= 0.005 else "0"
        return text, "bar" if value > 0 else "gain", TINT * abs(value) / most

    return [(e, [cell(float(values[e, c])) for c in columns]) for e in experts]
