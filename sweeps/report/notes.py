"""The part for those who ask how: methods, and what each word means."""

from collections.abc import Mapping
from typing import Any

from ..statistics.intervals import MIN_BOOTSTRAP_VALUES
from ..statistics.verdicts import LEVEL, MIN_SEEDS
from .html import join, tag
from .material import Material
from .numbers import compact, counted, listed
from .section import Section

_GLOSSARY = (
    ("fresh seeds", "Seeds that the search never saw; only runs with them are ranked."),
    ("95% interval", "Of 100 such intervals about 95 hold the arm's true mean."),
    ("interquartile mean", "Mean of the middle half of the seeds; one odd seed hardly moves it."),
    ("not distinguishable", "The test found no difference; with more seeds it might."),
    ("equivalent", "The difference is surely smaller than the margin."),
    ("p (Holm)", "How often arms that do not differ would look so, all comparisons paid for."),
    ("chance to beat the leader", "How often a run of it beats one of the leader; a tie is half."),
    ("max violation", "Load of the busiest expert over the mean load, less 1: 0 is balance."),
    ("load CV", "Standard deviation of the experts' load over its mean: 0 is balance."),
    ("FLOPs per item", "Forward, active experts and router included; a multiply-add is 2."),
    ("active parameters", "Those that work on an item; an expert not chosen does not."),
    ("dropped", "Share of the assignments asked for that capacity refused."),
    ("gate entropy", "How undecided a gate is: 1 weighs all experts alike, 0 chooses one."),
    ("dominated", "Another arm is at least as good in both objectives and better in one."),
    ("control", "Not a way of routing to be found, but what one must beat."),
)


def methods_section(material: Material) -> Section:
    """How the numbers came about."""
    paragraphs = [_search(material.sweep.config), _fairness(material), _statistics(material)]
    return Section("methods", "Methods", join(*(tag("p", text) for text in paragraphs)))


def glossary_section(material: Material) -> Section:
    """The words of the page in short."""
    terms = (join(tag("dt", word), tag("dd", meaning)) for word, meaning in _GLOSSARY)
    return Section("glossary", "Words", tag("dl", *terms, class_="glossary"))


def _search(config: Mapping[str, Any]) -> str:
    confirm = config.get("confirm") or {}
    trials = counted(int(config.get("trials") or 0), "trial")
    pruner = (config.get("pruner") or {}).get("name", "none")
    stops = "" if pruner == "none" else f"; trials that fell behind were stopped ({pruner})"
    return (
        f"Every arm was searched with the same budget of {trials}, each trained with "
        f"{counted(int(config.get('seeds') or 1), 'seed')} and judged on validation data{stops}. "
        "An arm with nothing to tune has one trial. Its defaults were the first trial. "
        f"The best trial of each arm was then trained anew with "
        f"{counted(int(confirm.get('seeds') or 0), 'fresh seed')}, the same for all arms, and "
        "judged on the test split; the leaderboard holds these runs only."
    )


def _fairness(material: Material) -> str:
    """What was equal, and which arms were matched to which."""
    matched = [
        f"{each.label} ({compact(each.row.means['compute.flops_per_item'])} FLOPs per item, "
        f"{compact(each.row.means['compute.parameters'])} parameters)"
        for each in material.entrants
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


def _statistics(material: Material) -> str:
    tested = [row for row in material.rows if row.group]
    most = max((len(row.scores) for row in material.rows), default=0)
    kind = "Student's" if most < MIN_BOOTSTRAP_VALUES else "of the BCa bootstrap"
    means = f"Means are over fresh seeds; their 95% intervals are {kind}."
    if len(tested) < 2:
        return f"{means} Verdicts take {MIN_SEEDS} seeds that all arms share."
    pairs = len(tested) * (len(tested) - 1) // 2
    margin = compact(material.sweep.margin)
    return (
        f"{means} Arms are compared by t tests of differences paired by seed, their spread "
        f"moderated by that of all arms (Smyth 2004), at a level of {LEVEL:.0%} after Holm's "
        f"correction over all {counted(pairs, 'pair')}. Equivalence within {margin} is two "
        "one-sided tests, corrected alike. The number of seeds to tell two arms apart is for a "
        "chance of 80%, were the difference seen the true one. No verdict rests on what the "
        "search saw."
    )
