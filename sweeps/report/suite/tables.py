"""Tables of a suite's page: the matrix, the protocol and power."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from ...results.suite_comparison import SuiteComparison
from ...results.suite_leaderboard import score_decimals
from ...results.suite_marks import MARKS, mark_in, mark_over
from ...statistics import Word
from ..formatting import with_direction
from .data import SuiteData


@dataclass(frozen=True)
class Cell:
    """A number of the matrix: ``mark`` is the sign of its verdict, ``words`` the verdict.

    ``value`` is None for a gap, whose reason is in ``words``.
    """

    value: float | None
    mark: str
    words: str


def matrix(data: SuiteData) -> dict[str, Any]:
    """Return a row for each arm and a column for each benchmark."""
    comparison = data.comparison
    names = [each.name for each in comparison.suite.benchmarks]
    groups = comparison.verdicts.suite.verdicts.groups if comparison.verdicts else {}
    return {
        "rows": [
            {
                "arm": arm,
                "control": arm.label in comparison.suite.controls,
                "over": _over(comparison, arm.label),
                "iqm": comparison.iqm.get(arm.label),
                "group": groups.get(arm.label, ""),
                "cells": [_cell(comparison, name, arm.label) for name in names],
            }
            for arm in data.arms
        ],
        "benchmarks": comparison.suite.benchmarks,
        "decimals": [score_decimals(comparison, name) for name in names],
        "tested": comparison.verdicts is not None and comparison.control is not None,
        "control": comparison.control,
        "marks": {word.name.lower(): sign for word, sign in MARKS.strong.items()},
        "weak": {word.name.lower(): sign for word, sign in MARKS.weak.items()},
    }


def _over(comparison: SuiteComparison, label: str) -> Cell:
    mark = mark_over(comparison, label)
    word = comparison.word(label, comparison.control) if mark and comparison.control else None
    words = f"{_words(word)} {comparison.control} over the suite" if word else ""
    return Cell(comparison.means.get(label), mark, words)


def _cell(comparison: SuiteComparison, name: str, label: str) -> Cell:
    if reason := comparison.gap(name, label):
        return Cell(None, MARKS.gap, reason)
    mark = mark_in(comparison, name, label)
    words = ""
    if mark and comparison.control:
        word, strict = comparison.word_in(name, label, comparison.control)
        words = f"{_words(word)} {comparison.control}"
        words += "" if strict else ", corrected within this benchmark alone"
    return Cell(comparison.mean_in(name, label), mark, words)


def _words(word: Word) -> str:
    found = {
        Word.BETTER: "better than",
        Word.WORSE: "worse than",
        Word.EQUIVALENT: "equivalent within the margin to",
        Word.UNCLEAR: "not distinguishable from",
    }
    return found.get(word, "")


def protocol_context(data: SuiteData) -> dict[str, Any]:
    """Return facts, benchmarks, arms and amendments of the protocol."""
    comparison, protocol = data.comparison, data.comparison.suite.protocol
    tests = protocol.get("tests")
    facts = {
        "Stated": protocol.get("date"),
        "Code": protocol.get("code"),
        "Tuning": protocol.get("tuning"),
        "Seeds": ", ".join(map(str, comparison.seeds)),
        "Weights": protocol.get("weights"),
        **(
            {f"Tests: {name}": value for name, value in tests.items()}
            if isinstance(tests, Mapping)
            else {}
        ),
    }
    benchmarks = []
    for each in comparison.suite.benchmarks:
        about = protocol["benchmarks"][each.name]
        anchors = comparison.normalized.anchors.get(each.name)
        benchmarks.append(
            {
                "name": each.name,
                "modality": each.modality,
                "run": " ".join(about["run"]),
                "objective": with_direction(
                    replace(each.sweep.objectives[0], metric=each.sweep.score)
                ),
                "margin": each.sweep.margin,
                "data": [
                    f"{key} {str(value)[:12]}"
                    for key, value in about["data"].items()
                    if value and "sha256" in key
                ],
                "anchors": anchors,
                "left_out": comparison.normalized.left_out.get(each.name, ""),
                "added": about.get("added"),
            }
        )
    arms = [
        {"label": label, "overrides": " ".join(about["overrides"]), "added": about.get("added")}
        for label, about in protocol["arms"].items()
    ]
    return {
        "facts": {name: str(value) for name, value in facts.items() if value},
        "benchmarks": benchmarks,
        "arms": arms,
        "amendments": protocol["amendments"],
        "gaps": comparison.gaps,
    }


def detectable(data: SuiteData) -> list[dict[str, Any]]:
    """Return a row for each benchmark: what its seeds can show; empty without verdicts."""
    comparison = data.comparison
    if comparison.verdicts is None:
        return []
    rows = []
    for benchmark in comparison.suite.benchmarks:
        verdicts = comparison.verdicts.benchmarks[benchmark.name].verdicts.pairs
        pairs = [verdict.pair for verdict in verdicts.values() if verdict.pair is not None]
        if not pairs:
            continue
        noise = median(pair.variance for pair in pairs) ** 0.5
        found = comparison.detectable[benchmark.name]
        scale = comparison.normalized.scales.get(benchmark.name)
        rows.append(
            {
                "name": benchmark.name,
                "score": benchmark.sweep.score,
                "noise": noise,
                "difference": found,
                "normalized": found / scale if scale and found is not None else None,
                "margin": benchmark.sweep.margin,
                "pairs": len(pairs),
                "open": sum(verdict.word is Word.UNCLEAR for verdict in verdicts.values()),
            }
        )
    return rows
