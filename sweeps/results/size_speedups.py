"""Speed-ups over sizes of the arms of several sweeps, each of one model size."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from ..config.arms import CONTROLS
from ..config.objectives import number_at
from ..statistics import Size, size_speedup
from .suite_comparison import BLIND
from .sweep_dir import ArmResults, read_sweep

#: The loss of the task on the test split.
LOSS = "scores.loss"


def size_speedup_text(folders: Sequence[Path]) -> str:
    """A line for each arm that sweeps of at least 3 sizes have, compared with the blind control.

    Empty if there is no such arm, or the sweeps have no blind control.
    """
    sizes, overrides = read_sizes(folders)
    control = next(
        (label for name in BLIND for label in sizes if CONTROLS[name][1] in overrides[label]), None
    )
    if control is None:
        return ""
    lines = []
    for label, own in sizes.items():
        found = size_speedup(own, sizes[control]) if label != control else None
        if found is not None:
            beyond = ", beyond its sizes" if found.extrapolated else ""
            lines.append(
                f"{label}: {found.value:.2f} times fewer FLOPs than {control} for a loss of "
                f"{found.loss:.3g}, 95 % interval {found.interval.low:.2f} to "
                f"{found.interval.high:.2f}{beyond}"
            )
    return "\n".join(lines)


def read_sizes(
    folders: Sequence[Path],
) -> tuple[dict[str, list[Size]], dict[str, tuple[str, ...]]]:
    """The confirmed runs of each arm by label, at the size of each sweep; and its overrides.

    Raises:
        ConfigError: for a folder without a sweep.
    """
    sizes, overrides = defaultdict(list), {}
    for folder in folders:
        for arm in read_sweep(folder).arms:
            if size := _size(arm):
                sizes[arm.label].append(size)
                overrides[arm.label] = arm.overrides
    return dict(sizes), overrides


def _size(arm: ArmResults) -> Size | None:
    """The mean FLOPs of an arm's trainings, forward passes alone, and losses; None without."""
    losses = {seed: loss for seed, loss in arm.numbers(LOSS).items() if loss > 0}
    flops = []
    for run in arm.runs:
        keys = ("flops_per_item", "train_seconds", "items_per_second")
        parts = [number_at(run, f"compute.{key}") for key in keys]
        if None in parts:
            return None
        flops.append(parts[0] * parts[1] * parts[2])  # type: ignore[operator]
    mean = sum(flops) / len(flops) if flops else 0.0
    return Size(mean, losses) if losses and mean > 0 else None
