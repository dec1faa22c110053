"""Effects as rows of text, for the screen, the page and a table in a file."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

#: Most experts of a layer in a table: those with the largest effects, or loads without any.
MAX_ROWS = 32


@dataclass(frozen=True)
class Table:
    """A table of text; the first column names what a row is about."""

    title: str
    columns: list[str]
    rows: list[list[str]]
    caption: str = ""


def tables_of(found: Mapping[str, Any]) -> list[Table]:
    """For each layer its experts, then changes of whole layers and of the network, if any."""
    tables = [_experts(layer, found) for layer in found["layers"]]
    whole = _whole(found)
    return [*tables, whole] if whole.rows else tables


def _experts(layer: Mapping[str, Any], found: Mapping[str, Any]) -> Table:
    """Load, effects, Shapley value and the label that matters most for each expert."""
    measure, columns = found["measure"], dict[str, Sequence[str]]()
    columns["load"] = [f"{share:.1%}" for share in layer["load"]]
    single = [each for each in layer["changes"] if is_of_expert(each)]
    for name in dict.fromkeys(each["change"] for each in single):
        effects = [each["effects"][measure]["all"] for each in single if each["change"] == name]
        columns[name] = [with_interval(*e) if name == "drop" else f"{e[0]:+.3f}" for e in effects]
    if layer["shapley"] is not None:
        columns["Shapley"] = [f"{value:+.3f}" for value in layer["shapley"]["values"]]
    labelings = [*layer["needed_for"], *layer["works_on"]][:1]
    for labeling in labelings:
        names = found["labels"][labeling]
        columns["works on"] = _most(layer["works_on"][labeling], names)
        if labeling in layer["needed_for"]:
            columns["needed for"] = _most(layer["needed_for"][labeling], names)
    chosen = shown_experts(layer, measure)
    rows = [[str(expert), *(column[expert] for column in columns.values())] for expert in chosen]
    more = layer["num_experts"] - len(chosen)
    title = f"{layer['name'] or 'layer'} · {layer['router']} · effects on {measure}"
    title += "".join(f", and {labeling}" for labeling in labelings)
    return Table(title, ["expert", *columns], rows, f"and {more} more experts" if more else "")


def shown_experts(layer: Mapping[str, Any], measure: str) -> list[int]:
    """The experts with the largest effects if dropped, else loads, in their order."""
    effects = [
        each["effects"][measure]["all"][0] for each in layer["changes"] if each["change"] == "drop"
    ]
    order = np.argsort([-abs(each) for each in effects or layer["load"]], kind="stable")
    return sorted(order[:MAX_ROWS].tolist())


def _whole(found: Mapping[str, Any]) -> Table:
    measure, rows = found["measure"], list[list[str]]()
    for layer in found["layers"]:
        rows += [
            [
                f"{layer['name'] or 'layer'}: {described(change)}",
                f"{change['rows']:.2f}",
                with_interval(*change["effects"][measure]["all"]),
            ]
            for change in layer["changes"]
            if not is_of_expert(change)
        ]
    for each in found["alternatives"]:
        effect = with_interval(*each["effects"][measure]["all"])
        untrained = f" (untrained: {', '.join(each['untrained'])})" if each["untrained"] else ""
        rows.append([each["settings"] + untrained, f"{each['rows']:.2f}", effect])
    unchanged = found["layers"][0]["rows"]
    columns = ["change", "rows of experts per sample", f"effect on {measure}"]
    return Table("Whole layers and the network", columns, rows, f"unchanged: {unchanged:.2f} rows")


def is_of_expert(change: Mapping[str, Any]) -> bool:
    """Whether a change is that of a single expert for all items."""
    return len(change["experts"]) == 1 and not change["label"]


def described(change: Mapping[str, Any]) -> str:
    """A change in words.

    >>> described({"change": "mask", "experts": [0, 2], "label": "class=cat"})
    'mask 0, 2 for class=cat'
    """
    experts = ", ".join(map(str, change["experts"]))
    return " ".join(
        filter(None, [change["change"], experts, change["label"] and f"for {change['label']}"])
    )


def with_interval(mean: float, low: float | None, high: float | None) -> str:
    """An effect with its interval.

    >>> with_interval(0.1234, 0.1, 0.15)
    '+0.123 [+0.100, +0.150]'
    """
    return f"{mean:+.3f}" + ("" if low is None else f" [{low:+.3f}, {high:+.3f}]")


def _most(rows: Sequence[Sequence[float | None]], names: Sequence[str]) -> list[str]:
    """The label of the largest value above 0 in each row."""
    values = np.nan_to_num(np.array(rows, dtype=np.float64))
    places = values.argmax(1).tolist()
    return [names[place] if values[row, place] > 0 else "-" for row, place in enumerate(places)]


def effect_rows(found: Mapping[str, Any]) -> Iterator[list[Any]]:
    """All effects, a row each, after a row of column names."""
    yield ["layer", "change", "experts", "label", "rows", "measure", "on", "effect", "low", "high"]
    for layer in found["layers"]:
        for change in layer["changes"]:
            about = [change["change"], " ".join(map(str, change["experts"])), change["label"]]
            yield from _rows_of([layer["name"], *about], change, found["labels"])
    for each in found["alternatives"]:
        yield from _rows_of(["", each["settings"], "", ""], each, found["labels"])


def _rows_of(
    about: Sequence[str], change: Mapping[str, Any], labels: Mapping[str, Sequence[str]]
) -> Iterator[list[Any]]:
    for measure, parts in change["effects"].items():
        start = [*about, change["rows"], measure]
        for labeling, effects in parts.items():
            if labeling == "all":
                yield [*start, "all", *effects]
                continue
            for name, effect in zip(labels[labeling], effects, strict=True):
                yield [*start, f"{labeling}={name}", *effect]
