"""The answer of a suite in two sentences, from its verdicts alone."""

from collections.abc import Sequence

from ..statistics import Word
from ..statistics.verdicts import MIN_SEEDS
from .formatting import listed, one_line
from .suite_comparison import BLIND, SuiteComparison

#: More names than this are counted.
_MAX_NAMES = 4

#: What a verdict on the leader says about other routers, in the order of the sentence.
_CLAUSES = {
    Word.BETTER: "better than {}",
    Word.EQUIVALENT: "equivalent to {} within the margin",
    Word.UNCLEAR: "not distinguishable from {}",
    Word.WORSE: "worse than {}",
    Word.TOO_FEW: "not compared with {}",
}


def answer(comparison: SuiteComparison) -> tuple[str, str]:
    """Say which router to use, and where routing matters.

    The first sentence uses verdicts over the suite, the second those of benchmarks that hold with
    one correction over all benchmarks.
    """
    if comparison.verdicts is None:
        seeds = len(comparison.seeds)
        return (
            f"There are no verdicts: they need {MIN_SEEDS} seeds, and the suite has {seeds}.",
            f"The best mean of each benchmark is no evidence yet ({_best_means(comparison)}).",
        )
    return _which(comparison), _where(comparison)


def caveats(comparison: SuiteComparison) -> list[str]:
    """Sentences on what the answer leaves out."""
    by_reason: dict[str, list[str]] = {}
    if comparison.verdicts is not None and comparison.control is not None:
        for name, reason in comparison.normalized.left_out.items():
            by_reason.setdefault(one_line(reason), []).append(name)
    missing: dict[str, list[str]] = {}
    for benchmark, label, _ in comparison.gaps:
        if label not in comparison.means:
            missing.setdefault(label, []).append(benchmark)
    by_benchmarks: dict[str, list[str]] = {}
    for label, names in missing.items():
        by_benchmarks.setdefault(listed(names), []).append(label)
    left_out = [
        f"{listed(names)} {_verb(names, 'has', 'have')} no part in aggregates: {reason}."
        for reason, names in by_reason.items()
    ]
    incomplete = [
        f"{_names(labels) if len(labels) <= _MAX_NAMES else f'{len(labels)} arms'} "
        f"{_verb(labels, 'has', 'have')} no complete results in {names}, so "
        f"{_verb(labels, 'it is', 'they are')} not compared over the suite."
        for names, labels in by_benchmarks.items()
    ]
    return [*left_out, *incomplete]


def _verb(names: Sequence[str], one: str, several: str) -> str:
    return one if len(names) == 1 else several


def _best_means(comparison: SuiteComparison) -> str:
    found = []
    for benchmark in comparison.suite.benchmarks:
        sign = benchmark.sweep.objectives[0].sign
        means = {
            label: sign * mean
            for label in comparison.suite.labels
            if (mean := comparison.mean_in(benchmark.name, label)) is not None
        }
        best = one_line(min(means, key=means.__getitem__)) if means else "no arm"
        found.append(f"{benchmark.name}: {best}")
    return "; ".join(found)


def _which(comparison: SuiteComparison) -> str:
    routers = [label for label in comparison.order if label in comparison.routers]
    compared = [label for label in routers if label in comparison.means]
    if not comparison.benchmarks:
        control = comparison.control
        why = (
            f"The suite has neither {' nor '.join(BLIND)} as the zero of a common scale"
            if control is None
            else f"No arm exceeds {one_line(control)} by more than noise in any benchmark"
        )
        return f"{why}, so no router leads over the suite."
    over = f"Over {listed(comparison.benchmarks)}"
    if not compared:
        return f"{over}, no router has complete results, so none leads."
    leader, *others = compared
    mean, iqm = comparison.means[leader], comparison.iqm[leader]
    score = (
        f"a mean normalized score of {mean:.2f} (interquartile mean {iqm.value:.2f} "
        f"[{iqm.interval.low:.2f}, {iqm.interval.high:.2f}])"
    )
    lead = f"{over}, {one_line(leader)}"
    if not others:
        return f"{lead} is the only router with complete results, with {score}."
    clauses = {
        word: [other for other in others if comparison.word(leader, other) is word]
        for word in _CLAUSES
    }
    if clauses[Word.BETTER] == others:
        said = f"is the best router, with {score}: it is better than {_others(others, others)}"
    else:
        parts = [
            text.format(_others(clauses[word], others))
            for word, text in _CLAUSES.items()
            if clauses[word]
        ]
        said = f"leads with {score}: it is {listed(parts)}"
    return f"{lead} {said}{_controls(comparison, leader)}."


def _controls(comparison: SuiteComparison, leader: str) -> str:
    """Controls that the leading router does not beat."""
    controls = [label for label in comparison.means if label not in comparison.routers]
    worse = [label for label in controls if comparison.word(leader, label) is Word.WORSE]
    not_better = [
        label
        for label in controls
        if comparison.word(leader, label) in (Word.UNCLEAR, Word.EQUIVALENT)
    ]
    found = [f"worse than the control {_names(worse)}"] if worse else []
    found += [f"not better than the control {_names(not_better)}"] if not_better else []
    return f", but {listed(found)}" if found else ""


def _where(comparison: SuiteComparison) -> str:
    if not comparison.blind:
        return f"Where routing matters is not known without {' and '.join(BLIND)} to compare with."
    matters, not_shown, unknown = [], [], []
    for benchmark in comparison.suite.benchmarks:
        name, scores = benchmark.name, comparison.complete.scores[benchmark.name]
        routers = [label for label in comparison.routers if label in scores]
        if not routers or not all(label in scores for label in comparison.blind):
            unknown.append(name)
            continue
        ahead = [
            label
            for label in routers
            if all(
                comparison.word_in(name, label, other) == (Word.BETTER, True)
                for other in comparison.blind
            )
        ]
        if ahead:
            matters.append(f"{name} ({len(ahead)} of {len(routers)} routers)")
        else:
            not_shown.append(name)
    controls = listed([one_line(label) for label in comparison.blind])
    parts = []
    if matters:
        parts.append(
            f"routing matters in {listed(matters)}, where routers are better than {controls} after "
            "correction over all benchmarks"
        )
    if not_shown:
        verb = "is not shown to matter" if matters else "routing is not shown to matter"
        also = "" if matters else f", where no router is better than {controls} after correction"
        parts.append(f"{'it ' if matters else ''}{verb} in {listed(not_shown)}{also}")
    if unknown:
        parts.append(f"{listed(unknown)} cannot tell, as controls or routers are missing there")
    text = "; ".join(parts)
    return f"{text[:1].upper()}{text[1:]}."


def _others(names: Sequence[str], others: Sequence[str]) -> str:
    """Names of some routers other than the leader, or their number if there are many."""
    if len(names) <= _MAX_NAMES:
        return _names(names)
    if len(names) == len(others):
        return f"all {len(others)} other routers"
    return f"{len(names)} of {len(others)} other routers"


def _names(labels: Sequence[str]) -> str:
    return listed([one_line(label) for label in labels])
