"""The leaderboard: scores with intervals and verdicts, and the methods that computed them."""

import math
from itertools import groupby

from ...results.ranking import BEST, BEST_VALIDATION, LEADS, Standing, metrics_of
from ...statistics.intervals import MIN_BOOTSTRAP_VALUES
from ...statistics.verdicts import LEVEL, MIN_SEEDS, Word
from ..data import ArmData, ReportData
from ..figures.intervals import IntervalRow, interval_figure
from ..formatting import compact, fixed
from .section import Section

#: Shown below a row, not in it.
_DETAILS = ("compute.active_parameters", "compute.train_seconds")

#: Title and note of each group of arms, by verdict.
_GROUPS = {
    BEST: ("Best", "all others are worse"),
    LEADS: ("Leader", "the best mean, but not certainly the best arm"),
    Word.EQUIVALENT: ("Equivalent to the leader", "the difference is below the margin"),
    Word.UNCLEAR: ("Not distinguishable from the leader", "more seeds may show a difference"),
    Word.WORSE: ("Worse than the leader", "after correction for all comparisons"),
    Word.BETTER: ("Better than the leader on shared seeds", ""),
    Word.TOO_FEW: ("Too few seeds to compare", "a comparison needs three that all arms share"),
    "incomplete": ("Incomplete", "not ranked"),
}


def leaderboard_section(data: ReportData) -> Section | None:
    """Return a row for each arm, best first, grouped by verdict; None without any score."""
    arms = [arm for arm in data.arms if arm.standing.scores]
    if not arms:
        return None
    metrics = [m for m in metrics_of(data.sweep)[1:] if m not in _DETAILS]
    known = [m for m in metrics if any(math.isfinite(row.means[m]) for row in data.standings)]
    best = known.pop(0) if BEST_VALIDATION in known else None
    groups = groupby(data.standings, lambda row: "incomplete" if row.rank is None else row.says)
    context = {
        "groups": [(*_GROUPS[verdict], list(members)) for verdict, members in groups],
        "best": best,
        "metrics": known,
        "panels": {arm.label: number for number, arm in enumerate(arms)},
        "details": {row.arm.label: _details(data, row) for row in data.standings},
    }
    figure = interval_figure(
        "scores",
        "Scores of all arms",
        "Mean over fresh seeds with its 95% interval; ticks: single seeds.",
        [_interval_row(arm) for arm in arms],
        data.sweep.score,
    )
    return Section(
        "leaderboard", "Leaderboard", [figure], template="sections/leaderboard", context=context
    )


def _interval_row(arm: ArmData) -> IntervalRow:
    found = arm.standing
    return IntervalRow(arm.label, arm.style, found.mean, found.interval, [*found.scores.values()])


def _details(data: ReportData, row: Standing) -> list[tuple[str, str]]:
    """Return names and values of the numbers that a row has no room for."""
    verdict, places = row.verdict, data.decimals
    found = [
        ("single seeds", ", ".join(fixed(v, places) for v in row.scores.values())),
        ("interquartile mean", fixed(row.iqm, places) if row.scores else ""),
    ]
    if verdict.pair is not None and row.says not in (BEST, LEADS):
        needed = verdict.seeds_needed
        found += [
            ("difference to the leader", fixed(verdict.pair.difference, places)),
            ("p of a difference (Holm)", compact(verdict.p)),
            ("p of equivalence (Holm)", compact(verdict.p_equivalent)),
            ("probability of beating the leader", f"{row.improvement:.0%}"),
            ("seeds to distinguish them", "over 1000" if needed is None else f"{needed}"),
        ]
    found += [(data.name_of(m), compact(row.means[m])) for m in _DETAILS]
    found.append(("tuned", ", ".join(f"{name}={v}" for name, v in row.arm.params.items())))
    return [(name, text) for name, text in found if text]


def methods_section(data: ReportData) -> Section:
    """Return how the numbers were computed."""
    config = data.sweep.config
    tested = sum(bool(row.group) for row in data.standings)
    most_seeds = max((len(row.scores) for row in data.standings), default=0)
    context = {
        "trials": int(config.get("trials") or 0),
        "seeds": int(config.get("seeds") or 1),
        "plan": data.sweep.plan,
        "pruner": (config.get("pruner") or {}).get("name", "none"),
        "matched": [
            row for row in data.standings if any(run.get("matched_to") for run in row.arm.runs)
        ],
        "interval": "of the BCa bootstrap" if most_seeds >= MIN_BOOTSTRAP_VALUES else "Student's",
        "pairs": tested * (tested - 1) // 2,
        "min_seeds": MIN_SEEDS,
        "level": LEVEL,
    }
    return Section("methods", "Methods", template="sections/methods", context=context)
