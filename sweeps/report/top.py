"""What stands above all else: the question, the answer, and what it rests on."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..results.ranking import BEST, Standing
from ..statistics.verdicts import Word
from .html import Safe, join, tag
from .material import Material, base_labels
from .numbers import compact, counted, fixed, listed
from .section import marker

_NAMED = 6


def top(material: Material) -> Safe:
    """Title, answer and facts."""
    names = [folder.resolve().name for folder in material.sweep.folders]
    return join(
        tag("button", "Light or dark", type="button", id="theme", class_="no-js"),
        tag("p", f"Sweep {listed(names)}", class_="over"),
        tag("h1", headline(material)),
        tag("div", *answer(material), class_="answer"),
        *_warnings(material),
        _facts(material),
    )


def headline(material: Material) -> str:
    """What was compared, in a line."""
    tasks = sorted({str(run.get("task")) for run in _runs(material)})
    bases = base_labels(material.sweep)
    own = [each for each in material.entrants if bases[each.label] == each.label]
    controls = sum(each.arm.control for each in own)
    parts = [counted(len(own) - controls, "router")]
    parts += [counted(controls, "control")] if controls else []
    return f"{listed(parts)} on {listed(tasks) or 'a task'}"


def answer(material: Material) -> list[Safe]:
    """Who leads, and from whom it cannot be told, in two sentences."""
    ranked = [row for row in material.rows if row.rank is not None]
    if not ranked:
        return [tag("p", "No arm has all its confirmed runs yet: there is nothing to rank.")]
    best, *others = ranked
    label = best.arm.label
    name = join(marker(material.looks[label]), tag("strong", label))
    found = f" with {material.sweep.score} {_with_interval(material, best)}"
    if not others:
        return [tag("p", name, f" was confirmed{found}. No other arm is complete.")]
    verb = " is best" if best.says == BEST else " leads"
    by_word: dict[str, list[str]] = {}
    for row in others:
        by_word.setdefault(row.verdict.word, []).append(row.arm.label)
    said = _sentences(by_word, len(others), material)
    return [tag("p", name, f"{verb}{found}.", *said)]


def _with_interval(material: Material, row: Standing) -> str:
    mean = fixed(row.mean, material.places)
    seeds = counted(len(row.scores), "seed")
    if not row.interval.width > 0:
        return f"{mean} ({seeds})"
    low, high = (fixed(end, material.places) for end in (row.interval.low, row.interval.high))
    return f"{mean} (95% interval {low} to {high}, {seeds})"


def _sentences(
    by_word: Mapping[str, Sequence[str]], others: int, material: Material
) -> Iterable[Safe]:
    worse = by_word.get(Word.WORSE, [])
    if len(worse) == others > 1:
        yield join(" Every other arm is worse.")
        return
    said = {
        Word.EQUIVALENT: f"equivalent to it within {compact(material.sweep.margin)}",
        Word.UNCLEAR: "not distinguishable from it",
        Word.WORSE: "worse",
        Word.TOO_FEW: "not compared, for want of seeds",
        Word.BETTER: "better on the seeds that both share",
    }
    for word, text in said.items():
        labels = by_word.get(word, [])
        if labels:
            yield join(" ", _some(labels), f" {'is' if len(labels) == 1 else 'are'} {text}.")


def _some(labels: Sequence[str]) -> Safe:
    """Labels set apart from the words around them, not too many."""
    shown = labels if len(labels) <= _NAMED else labels[: _NAMED - 1]
    names = [tag("b", label, class_="named") for label in shown]
    if len(shown) < len(labels):
        names.append(join(f"{len(labels) - len(shown)} more"))
    return join(*(join(_comma(i, len(names)), name) for i, name in enumerate(names)))


def _comma(place: int, of: int) -> str:
    """What stands before a name in a list."""
    return "" if place == 0 else " and " if place == of - 1 else ", "


def _warnings(material: Material) -> list[Safe]:
    """What is missing from the answer."""
    partial = [
        f"{row.arm.label} ({len(row.scores)} of {row.arm.planned} seeds)"
        for row in material.rows
        if row.rank is None
    ]
    text = f"Incomplete and therefore not ranked: {listed(partial)}."
    return [tag("p", text, class_="warn")] if partial else []


def _facts(material: Material) -> Safe:
    rows = [(name, text) for name, text in _fact_rows(material) if text]
    pairs = (tag("div", tag("dt", name), tag("dd", text)) for name, text in rows)
    return tag("dl", *pairs, class_="facts")


def _fact_rows(material: Material) -> list[tuple[str, str]]:
    sweep, config = material.sweep, material.sweep.config
    runs = _runs(material)
    aims = (f"{material.name_of(o.metric)} ({_AIMS[o.direction]})" for o in sweep.objectives)
    seeds = sorted({seed for each in material.entrants for seed in each.arm.seeds})
    return [
        ("Data", _each(map(_data, runs))),
        ("Objectives", ", ".join(aims)),
        ("Constraints", ", ".join(map(str, config.get("constraints") or ()))),
        ("Search", _budget(config)),
        ("Fresh seeds", ", ".join(map(str, seeds))),
        ("Every run", " ".join(map(str, config.get("run") or ()))),
        ("Equivalence margin", f"{compact(sweep.margin)} {sweep.score}" if sweep.margin else ""),
        ("Versions", _each(map(_versions, runs))),
    ]


_AIMS = {"maximize": "more is better", "minimize": "less is better"}


def _budget(config: Mapping[str, Any]) -> str:
    trials, seeds = config.get("trials"), config.get("seeds") or 1
    if not isinstance(trials, int):
        return ""
    of = f"{counted(trials, 'trial')} per arm"
    joint = ", all arms in one study" if config.get("study") == "joint" else ""
    return f"{of}, {counted(seeds, 'seed')} each, sampler {config.get('sampler')}{joint}"


def _data(run: Mapping[str, Any]) -> str:
    data = run.get("data", {})
    rows = ", ".join(f"{count:,} {split}" for split, count in (data.get("rows") or {}).items())
    parts = (str(data.get("name")), f"sha256 {str(data.get('sha256'))[:12]}", rows)
    return " · ".join(part for part in parts if part)


def _versions(run: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {number}" for name, number in run.get("versions", {}).items())


def _each(texts: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(texts))


def _runs(material: Material) -> list[Mapping[str, Any]]:
    return [run for each in material.entrants for run in each.arm.runs]
