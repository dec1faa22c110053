"""The kits of the parts that routers are used with: gates, losses and metrics."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

from .._router import ROUTERS
from ..gates import GATES
from ..losses import LOSSES
from ..metrics import METRICS
from ..plugins import Registry
from . import loss_checks, metric_checks
from .harness import accepted
from .loss_checks import LossUnderTest
from .metric_checks import MetricUnderTest
from .results import CheckResult, Kit, checks_in, raise_failures, require_summary, result_of
from .suite import SCORE_CHECKS, results_of, run_checks

Subject = TypeVar("Subject")

#: The router that a gate is checked in, by all checks.
ROUTER = "topk"
#: Routers that need another number of scores, or use them along another axis.
OTHER_ROUTERS = ("hierarchical", "task_gate", "expert_choice", "soft_moe")


def run_gate_checks(name: str, **options: Any) -> list[CheckResult]:
    """The result of every check on a gate; ``ConfigError`` for invalid options."""
    GATES.check_options(name, options)
    gate = {"name": name, **options}

    def check_gate_docstring() -> None:
        require_summary(GATES[name])

    first = result_of(check_gate_docstring, check_gate_docstring, "")
    others = [_in_router(router, gate) for router in OTHER_ROUTERS]
    return [first, *run_checks(ROUTER, gate=gate), *others]


def _in_router(router: str, gate: dict[str, Any]) -> CheckResult:
    """The checks of a router that read scores, as one result; a note if it refuses the gate."""

    def check() -> str | None:
        fits, refusals = accepted(partial(ROUTERS.build, router, gate=gate))
        if not fits:
            return f"refused: {refusals[0]}"
        raise_failures(router, results_of(SCORE_CHECKS, router, {"gate": gate}), len(SCORE_CHECKS))
        return None

    check.__name__ = f"in_{router}"
    return result_of(check, check, "let the gate have any number of outputs")


@dataclass(frozen=True)
class PartKit(Generic[Subject]):
    """The checks of the parts of a registry.

    Attributes:
        registry: the parts by name.
        subject: what the checks take, of a part and its options.
        kit: the checks.
    """

    registry: Registry[Any]
    subject: Callable[[Any, dict[str, Any]], Subject]
    kit: Kit[Subject]

    def __call__(self, name: str, **options: Any) -> list[CheckResult]:
        """The result of every check on a part; ``ConfigError`` for invalid options."""
        self.registry.check_options(name, options)
        return self.kit.run(self.subject(self.registry[name], options))


#: Runs the checks of a part of a kind, ``(name, **options) -> results``.
KINDS: dict[str, Callable[..., list[CheckResult]]] = {
    "gate": run_gate_checks,
    "loss": PartKit(
        LOSSES,
        LossUnderTest,
        Kit(
            checks_in(loss_checks),
            "read only what every routing has; a loss of what one router alone gives is checked "
            "with that router: python -m routers check ROUTER",
        ),
    ),
    "metric": PartKit(
        METRICS,
        MetricUnderTest,
        Kit(
            checks_in(metric_checks),
            "read only what every routing has, and return None without it",
        ),
    ),
}


def check_gate(name: str, **options: Any) -> None:
    """Check that a gate keeps the contract, by routers with it.

    Args:
        name: a registered name, or ``package.module:Class``.
        options: of its constructor.

    Raises:
        CheckError: lists every failed check with its reason and a hint.
    """
    _require("gate", name, options)


def check_loss(name: str, **options: Any) -> None:
    """Check that an auxiliary loss keeps the contract.

    Args:
        name: a registered name, or ``package.module:function``.
        options: its keyword arguments; without ``level`` every level is checked.

    Raises:
        CheckError: lists every failed check with its reason and a hint.

    >>> check_loss("switch")
    """
    _require("loss", name, options)


def check_metric(name: str, **options: Any) -> None:
    """Check that a metric of routed layers keeps the contract.

    Args:
        name: a registered name, or ``package.module:Class``.
        options: of its constructor.

    Raises:
        CheckError: lists every failed check with its reason and a hint.

    >>> check_metric("cv")
    """
    _require("metric", name, options)


def _require(kind: str, name: str, options: dict[str, Any]) -> None:
    found = KINDS[kind](name, **options)
    raise_failures(name, found, len(found))
