"""Methods: how the numbers were computed."""

from ...statistics.intervals import MIN_BOOTSTRAP_VALUES
from ...statistics.verdicts import LEVEL, MIN_SEEDS
from ..data import ReportData
from .section import Section


def methods_section(data: ReportData) -> Section:
    """Return how the numbers were computed."""
    config = data.sweep.config
    tested = sum(bool(row.group) for row in data.standings)
    most_seeds = max((len(row.scores) for row in data.standings), default=0)
    context = {
        "trials": int(config.get("trials") or 0),
        "seeds": int(config.get("seeds") or 1),
        "fresh_seeds": int((config.get("confirm") or {}).get("seeds") or 0),
        "pruner": (config.get("pruner") or {}).get("name", "none"),
        "matched": [
            each.standing
            for each in data.arms
            if any(run.get("matched_to") for run in each.arm.runs)
        ],
        "interval": "of the BCa bootstrap" if most_seeds >= MIN_BOOTSTRAP_VALUES else "Student's",
        "pairs": tested * (tested - 1) // 2,
        "min_seeds": MIN_SEEDS,
        "level": LEVEL,
    }
    return Section("methods", "Methods", template="methods", context=context)
