"""Confirmation in looks: further seeds for the arms of open pairs until none is left."""

from collections.abc import Mapping, Sequence

from ..driver.driver import Driver
from ..driver.progress import ProgressReporter
from ..results.ranking import decisions_of
from ..results.sweep_dir import read_sweep
from ..statistics.sequential import SequentialVerdicts
from .confirmation import ConfirmStage

PHASE = "confirmation"


def confirm(stages: Sequence[ConfirmStage], driver: Driver, reporter: ProgressReporter) -> None:
    """Run confirmations, and further seeds while verdicts are open.

    After each look the results in the folders decide, so a sweep that was killed continues where it
    stopped. A pair is open until it is better, worse or equivalent within the margin, at the last
    look, or has a run that failed.

    Raises:
        StoppedSweepError: if a signal stopped the sweep.
    """
    phase, plan = PHASE, stages[0].plan.config.confirm.plan
    while True:
        with reporter.reporting(phase, stages):
            driver.run_all(stages)
        if plan.first == plan.most:  # no seeds can be added
            return
        found = [decisions_of(read_sweep(stage.plan.folder)) for stage in stages]
        added = [
            stage.enqueue(each.wanted) for stage, each in zip(stages, found, strict=True)
        ]  # runs that failed are not added again
        if not any(added):
            return
        phase = f"{PHASE}, {look_of(found)}"
        open_pairs = {
            stage.plan.benchmark: len(each.open) for stage, each in zip(stages, found, strict=True)
        }
        reporter.note(f"{phase}: {counts(open_pairs)}")


def look_of(found: Sequence[SequentialVerdicts]) -> str:
    """The next look of verdicts with a common plan, as text."""
    looks = found[0].plan.looks
    most = max(seeds for each in found for seeds in each.wanted.values())
    return f"look {looks.index(most) + 1} of {len(looks)}"


def counts(open_pairs: Mapping[str, int]) -> str:
    """Numbers of open pairs by benchmark as text; the name of a single sweep is empty.

    >>> counts({"text": 14, "image": 3, "planted": 0}), counts({"": 1})
    ('open pairs: 14 in text, 3 in image', 'open pairs: 1')
    """
    parts = [f"{number} in {name}" if name else f"{number}" for name, number in open_pairs.items()]
    some = [part for part, number in zip(parts, open_pairs.values(), strict=True) if number]
    return f"open pairs: {', '.join(some)}"
