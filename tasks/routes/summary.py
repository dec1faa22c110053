"""Measures of the layers as rows of text, for the screen and the page."""

from collections.abc import Mapping, Sequence
from typing import Any

#: Name of a measure, its value in each layer, and what it means.
Row = tuple[str, list[str], str]


def rows_of(measures: Sequence[Mapping[str, Any]]) -> list[Row]:
    """A row for each measure that any layer has."""
    rows: list[Row] = [
        ("router", [each["router"] for each in measures], ""),
        ("experts", [str(each["num_experts"]) for each in measures], ""),
        ("dropped", [f"{each['dropped']:.1%}" for each in measures], "assignments over capacity"),
        ("unrouted", [f"{each['unrouted']:.1%}" for each in measures], "items without an expert"),
        (
            "co-activation",
            [f"{each['coactivation']:.3f}" for each in measures],
            "0 alone, 1 in fixed groups",
        ),
    ]
    for column in dict.fromkeys(name for each in measures for name in each["specialization"]):
        found = [each["specialization"].get(column) for each in measures]
        rows.append((f"NMI {column}", [_nmi(each) for each in found], "in brackets: by chance"))
    for scale in dict.fromkeys(name for each in measures for name in each["sensitivity"]):
        shares = [f"{each['sensitivity'][scale]:.1%}" for each in measures]
        rows.append((f"changed by noise {scale}", shares, "of an item's experts"))
    if all("against" in each for each in measures):
        rows += _against([each["against"] for each in measures])
    return rows


def _nmi(found: Mapping[str, float] | None) -> str:
    if found is None:
        return "-"
    return f"{found['nmi']:.3f} [{found['low']:.3f}, {found['high']:.3f}]"


def _against(found: Sequence[Mapping[str, Any]]) -> list[Row]:
    return [
        ("disagreement", [f"{each['share']:.3f}" for each in found], "0 with itself"),
        ("by chance", [f"{each['chance']:.3f}" for each in found], "of independent routes"),
        ("agreement", [f"{each['agreement']:.3f}" for each in found], "1 with itself, 0 by chance"),
        ("churn", [f"{each['churn']:.3f}" for each in found], "without matching experts"),
    ]
