"""The conformance kit: checks that a router keeps its contract and its declared traits."""

from .harness import CheckError
from .suite import check_router, parametrize_with_checks, run_checks

__all__ = ["CheckError", "check_router", "parametrize_with_checks", "run_checks"]
