"""Methods and glossary: how the numbers came about, and the meaning of each term."""

from collections.abc import Mapping
from typing import Any

from ..._intervals import ENOUGH_TO_RESAMPLE
from ..._verdicts import LEAST_SEEDS, LEVEL
from ..data import ReportData
from ..formatting import compact, counted, listed
from .section import Section

_GLOSSARY = (
    ("fresh seeds", "Seeds that the search never used; only runs with them are ranked."),
    ("95% interval", "Of 100 such intervals about 95 hold the arm's true mean."),
    ("interquartile mean", "Mean of the middle half of the seeds; robust to a single outlier."),
    ("not distinguishable", "The test found no difference; with more seeds it might."),
    ("equivalent", "The test shows that the difference is smaller than the margin."),
    ("p (Holm)", "Probability of such a difference by chance, corrected for all comparisons."),
    (
        "probability of beating the leader",
        "How often a run of the arm beats a run of the leader; a tie counts half.",
    ),
    ("max violation", "Load of the busiest expert over the mean load, less 1: 0 is balance."),
    ("load CV", "Standard deviation of the experts' load over its mean: 0 is balance."),
    ("FLOPs per item", "Forward, active experts and router included; a multiply-add is 2."),
    ("active parameters", "Those used for an item; experts that were not chosen do not count."),
    ("dropped", "Share of the requested assignments that exceeded the capacity."),
    ("gate entropy", "Uncertainty of a gate: 1 weighs all experts alike, 0 chooses one."),
    ("dominated", "Another arm is at least as good in both objectives and better in one."),
    ("control", "A baseline that routers have to beat: no learned routing, or a dense model."),
)


def methods_section(data: ReportData) -> Section:
    """Return how the numbers came about."""
    paragraphs = [_search(data.sweep.config), _fairness(data), _statistics(data)]
    context = {"paragraphs": paragraphs}
    return Section("methods", "Methods", template="methods", context=context)


def glossary_section(data: ReportData) -> Section:
    """Return the terms of the page with their meaning."""
    return Section("glossary", "Glossary", template="glossary", context={"terms": _GLOSSARY})


def _search(config: Mapping[str, Any]) -> str:
    confirm = config.get("confirm") or {}
    trials = counted(int(config.get("trials") or 0), "trial")
    pruner = (config.get("pruner") or {}).get("name", "none")
    stops = "" if pruner == "none" else f"; unpromising trials were stopped early ({pruner})"
    return (
        f"Every arm was searched with the same budget of {trials}, each trained with "
        f"{counted(int(config.get('seeds') or 1), 'seed')} and scored on validation data{stops}. "
        "An arm with nothing to tune has one trial. Its defaults were the first trial. "
        f"The best trial of each arm was then retrained with "
        f"{counted(int(confirm.get('seeds') or 0), 'fresh seed')}, the same for all arms, and "
        "scored on the test split; the leaderboard holds these runs only."
    )


def _fairness(data: ReportData) -> str:
    """Return what was equal for all arms, and the cost of arms that were matched to others."""
    matched = [
        f"{each.label} ({compact(each.standing.means['compute.flops_per_item'])} FLOPs per item, "
        f"{compact(each.standing.means['compute.parameters'])} parameters)"
        for each in data.arms
        if any(run.get("matched_to") for run in each.arm.runs)
    ]
    said = (
        "Data, splits and order of the data are the same for all arms with the same seed. FLOPs "
        "are counted, forward, on the test split."
    )
    if not matched:
        return said
    return (
        f"{said} Dense controls are sized by computation, not by hand, to the cost of the arm "
        f"they are named after: {listed(matched)}."
    )


def _statistics(data: ReportData) -> str:
    tested = [row for row in data.standings if row.group]
    most = max((len(row.scores) for row in data.standings), default=0)
    kind = "Student's" if most < ENOUGH_TO_RESAMPLE else "of the BCa bootstrap"
    means = f"Means are over fresh seeds; their 95% intervals are {kind}."
    if len(tested) < 2:
        return f"{means} Verdicts need {LEAST_SEEDS} seeds that all arms share."
    pairs = len(tested) * (len(tested) - 1) // 2
    margin = compact(data.sweep.margin)
    return (
        f"{means} Arms are compared by t tests of differences paired by seed, their spread "
        f"moderated by that of all arms (Smyth 2004), at a level of {LEVEL:.0%} after Holm's "
        f"correction over all {counted(pairs, 'pair')}. Equivalence within {margin} is two "
        "one-sided tests, corrected alike. The number of seeds to tell two arms apart is for a "
        "chance of 80%, were the difference seen the true one. No verdict rests on what the "
        "search saw."
    )
