"""Sections of a suite's page from top to bottom."""

from collections.abc import Callable, Sequence

from ...results.suite_answer import answer, caveats
from ...statistics import LEVEL, Block
from ...statistics.verdicts import MIN_SEEDS
from ..figures.intervals import IntervalRow, interval_figure
from ..figures.ranks import rank_figure
from ..formatting import counted
from ..sections.section import Section
from .data import SuiteData
from .figures import profile_figure, tradeoff_figure
from .speedups import speedups_of
from .tables import detectable, matrix, protocol_context


def suite_header(data: SuiteData) -> Section:
    """Return the header; its title is what was compared, in one line."""
    comparison = data.comparison
    controls = len(comparison.suite.labels) - len(comparison.routers)
    parts = [counted(len(comparison.routers), "router")]
    parts += [counted(controls, "control")] if controls else []
    title = f"{' and '.join(parts)} on {counted(len(comparison.suite.benchmarks), 'benchmark')}"
    context = {
        "suite": ", ".join(folder.resolve().name for folder in comparison.suite.folders),
        "answer": answer(comparison),
        "caveats": caveats(comparison),
    }
    return Section("header", title, template="suite/header", context=context)


def matrix_section(data: SuiteData) -> Section:
    """Return arms by benchmarks, with the marks of verdicts."""
    return Section("matrix", "Arms and benchmarks", template="suite/matrix", context=matrix(data))


def aggregate_section(data: SuiteData) -> Section | None:
    """Return interquartile means and probabilities of improvement; None without a control."""
    comparison = data.comparison
    iqm = [arm for arm in data.arms if arm.label in comparison.iqm]
    improvement = [arm for arm in data.arms if arm.label in comparison.improvement]
    if not iqm or not improvement:
        return None
    figures = [
        interval_figure(
            "iqm",
            "Interquartile mean",
            "Interquartile mean of normalized scores with its 95% bootstrap interval.",
            [
                IntervalRow(arm.label, arm.style, each.value, each.interval)
                for arm in iqm
                for each in [comparison.iqm[arm.label]]
            ],
            "normalized score",
            references=(0.0, 1.0),
        ),
        interval_figure(
            "improvement",
            "Probability of improvement",
            f"Probability that a run outscores one of {comparison.control}, with its 95% "
            "bootstrap interval.",
            [
                IntervalRow(arm.label, arm.style, each.value, each.interval)
                for arm in improvement
                for each in [comparison.improvement[arm.label]]
            ],
            "probability",
            references=(0.5,),
        ),
    ]
    context = {
        "iqm": {arm.label: number for number, arm in enumerate(iqm)},
        "improvement": {arm.label: number for number, arm in enumerate(improvement)},
    }
    return Section(
        "aggregates", "Aggregates", figures, template="suite/aggregates", context=context
    )


def rank_section(data: SuiteData) -> Section | None:
    """Return the critical-difference diagram; None without ranks."""
    found = data.comparison.ranks
    if found is None:
        return None
    blocks = "benchmarks" if found.block is Block.BENCHMARK else "pairs of a benchmark and a seed"
    caption = (
        f"Mean rank over {found.blocks} {blocks}, 1 is the best; a bar joins arms that are not "
        "different."
    )
    about = (
        "benchmarks like these"
        if found.block is Block.BENCHMARK
        else "further seeds of these benchmarks, not about other benchmarks"
    )
    friedman = ""
    if found.friedman is not None:
        verb = "rejects" if found.friedman <= LEVEL else "does not reject"
        friedman = f"Friedman's test {verb} equal ranks (p = {found.friedman:.2g}). "
    note = (
        f"{friedman}Pairs are compared by Wilcoxon's signed-rank test at {LEVEL:.0%} with Holm's "
        f"correction over {counted(len(found.p), 'pair')}. Differences are evidence about {about}. "
        "Arms with a gap are left out."
    )
    return Section("ranks", "Mean ranks", [rank_figure(found, data.styles, caption)], [note])


def profile_section(data: SuiteData) -> Section | None:
    """Return performance profiles; None without normalized scores."""
    figure = profile_figure(data)
    return Section("profiles", figure.title, [figure]) if figure else None


def cost_section(data: SuiteData) -> Section | None:
    """Return load balance and compute over benchmarks."""
    if not data.costs:
        return None
    return Section("costs", "Load and compute", template="suite/costs")


def speedup_section(data: SuiteData) -> Section | None:
    """Return the training that arms need for the score of the control; None without curves."""
    found = speedups_of(data.comparison)
    if not found:
        return None
    title = f"Effective speed-up over {data.comparison.control}"
    return Section("speedups", title, template="suite/speedups", context={"speedups": found})


def tradeoff_section(data: SuiteData) -> Section | None:
    """Return normalized scores against costs; None without normalized scores."""
    figure = tradeoff_figure(data)
    if figure is None:
        return None
    note = (
        "Fronts are computed from means and ignore their intervals. Training times are those of "
        "the machine and of what else it did."
    )
    return Section("tradeoffs", figure.title, [figure], [note])


def protocol_section(data: SuiteData) -> Section:
    """Return what was stated before runs were confirmed, and what changed."""
    return Section(
        "protocol", "Protocol", template="suite/protocol", context=protocol_context(data)
    )


def power_section(data: SuiteData) -> Section | None:
    """Return the smallest detectable difference of each benchmark; None without verdicts."""
    rows = detectable(data)
    context = {"rows": rows, "seeds": data.comparison.plan.most}
    return Section("power", "Power", template="suite/power", context=context) if rows else None


def benchmark_section(data: SuiteData) -> Section | None:
    """Return links to the reports of benchmarks; None if there are none."""
    if not data.links:
        return None
    return Section("benchmarks", "Reports of benchmarks", template="suite/benchmarks")


def method_section(data: SuiteData) -> Section:
    """Return how numbers were computed."""
    verdicts = data.comparison.verdicts
    context = {
        "families": verdicts.families if verdicts else (),
        "min_seeds": MIN_SEEDS,
        "level": LEVEL,
    }
    return Section("methods", "Methods", template="suite/methods", context=context)


#: Each makes a section, or None where a suite has nothing for it.
SECTIONS: Sequence[Callable[[SuiteData], Section | None]] = (
    matrix_section,
    aggregate_section,
    rank_section,
    profile_section,
    cost_section,
    speedup_section,
    tradeoff_section,
    power_section,
    protocol_section,
    benchmark_section,
    method_section,
)


def make_suite_sections(data: SuiteData) -> list[Section]:
    """Return the sections that have something to show."""
    return [section for make in SECTIONS if (section := make(data)) is not None]
