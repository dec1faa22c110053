"""The kits of the parts that routers are used with: gates, losses and metrics."""

from collections.abc import Callable
from functools import partial
from typing import Any

from ..gates import GATES
from ..losses import LOSSES
from ..metrics import METRICS
from . import loss_checks, metric_checks
from .loss_checks import LossUnderTest
from .metric_checks import MetricUnderTest
from .results import CheckResult, Kit, checks_in, raise_failures, require_summary, result_of
from .suite import run_checks

#: The router that a gate is checked in.
ROUTER = "topk"

LOSS_KIT = Kit(
    checks_in(loss_checks),
    "read only what every routing has; a loss of what one router alone gives is checked with that "
    "router: python -m routers check ROUTER",
)
METRIC_KIT = Kit(
    checks_in(metric_checks), "read only what every routing has, and return None without it"
)


def check_gate(name: str, **options: Any) -> None:
    """Check that a gate keeps the contract, by a ``topk`` router with it.

    Args:
        name: a registered name, or ``package.module:Class``.
        options: of its constructor.

    Raises:
        CheckError: lists every failed check with its reason and a hint.
    """
    found = run_gate_checks(name, **options)
    raise_failures(name, found, len(found))


def run_gate_checks(name: str, **options: Any) -> list[CheckResult]:
    """The result of every check on a gate; ``ConfigError`` for invalid options."""
    GATES.check_options(name, options)

    def check_gate_docstring() -> None:
        require_summary(GATES[name])

    first = result_of(check_gate_docstring, check_gate_docstring, "")
    return [first, *run_checks(ROUTER, gate={"name": name, **options})]


def check_loss(name: str, **options: Any) -> None:
    """Check that an auxiliary loss keeps the contract.

    Args:
        name: a registered name, or ``package.module:function``.
        options: its keyword arguments; without ``level`` every level is checked.

    Raises:
        CheckError: lists every failed check with its reason and a hint.

    >>> check_loss("switch")
    """
    LOSS_KIT.require(name, _loss(name, options))


def run_loss_checks(name: str, **options: Any) -> list[CheckResult]:
    """The result of every check on a loss; ``ConfigError`` for invalid options."""
    return LOSS_KIT.run(_loss(name, options))


def _loss(name: str, options: dict[str, Any]) -> LossUnderTest:
    LOSSES.check_options(name, options)
    return LossUnderTest(LOSSES[name], options)


def check_metric(name: str, **options: Any) -> None:
    """Check that a metric of routed layers keeps the contract.

    Args:
        name: a registered name, or ``package.module:Class``.
        options: of its constructor.

    Raises:
        CheckError: lists every failed check with its reason and a hint.

    >>> check_metric("cv")
    """
    METRIC_KIT.require(name, _metric(name, options))


def run_metric_checks(name: str, **options: Any) -> list[CheckResult]:
    """The result of every check on a metric; ``ConfigError`` for invalid options."""
    return METRIC_KIT.run(_metric(name, options))


def _metric(name: str, options: dict[str, Any]) -> MetricUnderTest:
    METRICS.check_options(name, options)
    return MetricUnderTest(METRICS[name], partial(METRICS.build, name, **options))


#: Runs the checks of a part of a kind, ``(name, **options) -> results``.
KINDS: dict[str, Callable[..., list[CheckResult]]] = {
    "gate": run_gate_checks,
    "loss": run_loss_checks,
    "metric": run_metric_checks,
}
