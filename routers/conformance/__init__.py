"""The conformance kits: checks that parts keep their contracts and their declared traits."""

from .parts import check_gate, check_loss, check_metric
from .results import (
    CheckError,
    CheckResult,
    Kit,
    check_name,
    checks_in,
    require,
    require_summary,
    results_table,
    seeded,
)
from .suite import check_router, parametrize_with_checks, run_checks

__all__ = [
    "CheckError",
    "CheckResult",
    "Kit",
    "check_gate",
    "check_loss",
    "check_metric",
    "check_name",
    "check_router",
    "checks_in",
    "parametrize_with_checks",
    "require",
    "require_summary",
    "results_table",
    "run_checks",
    "seeded",
]
