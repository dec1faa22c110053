"""The header: the question, the answer, and the facts behind it."""

from collections.abc import Mapping, Sequence
from typing import Any

from ...results.formatting import listed
from ...results.ranking import Standing
from ...statistics.verdicts import Word
from ..data import ReportData, base_labels
from ..formatting import compact, counted, with_direction
from .section import Section

_MAX_NAMES = 6


def header(data: ReportData) -> Section:
    """Return the header; its title is what was compared, in one line."""
    ranked = [row for row in data.standings if row.rank is not None]
    rest = [row for row in data.standings if row.rank is None]
    missing = [f"{r.arm.label} ({len(r.scores)} of {r.arm.planned} seeds)" for r in rest]
    context = {
        "sweep": listed([folder.resolve().name for folder in data.sweep.folders]),
        "best": ranked[0] if ranked else None,
        "verdicts": _verdicts(data, ranked[1:]),
        "alone": len(ranked) == 1,
        "incomplete": listed(missing),
        "objectives": ", ".join(with_direction(data.named(o)) for o in data.sweep.objectives),
        "seeds": sorted({seed for each in data.arms for seed in each.arm.seeds}),
        "data": "; ".join(dict.fromkeys(map(_data, data.runs))),
        "versions": "; ".join(dict.fromkeys(map(_versions, data.runs))),
    }
    return Section("header", headline(data), template="sections/header", context=context)


def headline(data: ReportData) -> str:
    """Return what was compared, in one line."""
    tasks = sorted({str(run.get("task")) for run in data.runs})
    bases = base_labels(data.sweep)
    own = [each for each in data.arms if bases[each.label] == each.label]
    controls = sum(each.arm.control for each in own)
    parts = [counted(len(own) - controls, "router")]
    parts += [counted(controls, "control")] if controls else []
    return f"{listed(parts)} on {listed(tasks) or 'a task'}"


def _verdicts(data: ReportData, others: Sequence[Standing]) -> list[tuple[list[str], int, str]]:
    """Return labels, number of labels left out, and verdict of the arms behind the first."""
    labels: dict[str, list[str]] = {}
    for row in others:
        labels.setdefault(row.verdict.word, []).append(row.arm.label)
    if len(labels.get(Word.WORSE, [])) == len(others) > 1:
        return [([], 0, "Every other arm is worse.")]
    texts = {
        Word.EQUIVALENT: f"equivalent to it within {compact(data.sweep.margin)}",
        Word.UNCLEAR: "not distinguishable from it",
        Word.WORSE: "worse",
        Word.TOO_FEW: "not compared because of too few seeds",
        Word.BETTER: "better on the seeds that both share",
    }
    found = []
    for word, text in texts.items():
        if names := labels.get(word):
            shown = names if len(names) <= _MAX_NAMES else names[: _MAX_NAMES - 1]
            verb = "is" if len(names) == 1 else "are"
            found.append((shown, len(names) - len(shown), f"{verb} {text}."))
    return found


def _data(run: Mapping[str, Any]) -> str:
    data = run.get("data") or {}
    rows = ", ".join(f"{count:,} {split}" for split, count in (data.get("rows") or {}).items())
    parts = (str(data.get("name")), f"sha256 {str(data.get('sha256'))[:12]}", rows)
    return " · ".join(part for part in parts if part)


def _versions(run: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {number}" for name, number in (run.get("versions") or {}).items())
