"""The list of conformance checks, and functions that run them on a router."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

from .._router import ROUTERS, Router
from .checks import (
    adaptation,
    capacity,
    gradients,
    losses,
    metadata,
    padding,
    scores,
    shapes,
    state,
    traits,
)
from .checks.scores import EndlessError, check_work_is_bounded
from .harness import Check, CheckError, Factory, seeded, subjects

_FILES = (metadata, shapes, traits, gradients, scores, state, adaptation, padding, capacity, losses)

#: First the check of endless loops: with a forward pass that does not end, no other check ends.
CHECKS: list[Check] = sorted(
    (
        check
        for file in _FILES
        for name, check in vars(file).items()
        if name.startswith("check_") and check.__module__ == file.__name__
    ),
    key=lambda check: check is not check_work_is_bounded,
)

#: A registered name, ``package.module:Class``, a class, or ``(dim, num_experts) -> Router``.
Candidate = str | type[Router] | Factory


@dataclass(frozen=True)
class CheckResult:
    """The result of one check on one router.

    Attributes:
        check: its name, such as ``causal``.
        note: why the check did not apply, such as ``not declared``; empty otherwise.
        failure: what failed and how to fix it; None if the check passed.
    """

    check: str
    note: str = ""
    failure: CheckError | None = None


def check_router(router: Candidate, **options: Any) -> None:
    """Check that a router keeps the contract and every trait it declares.

    Args:
        router: a registered name, ``package.module:Class``, a class, or a function from
            ``(dim, num_experts)`` to a router.
        options: of the constructor.

    Raises:
        CheckError: an ``AssertionError`` that lists every failed check with its reason and a hint.

    >>> check_router("uniform", k=1)
    """
    broken = [v for v in run_checks(router, **options) if v.failure]
    if broken:
        lines = [f"{v.check}: {v.failure}" for v in broken]
        why = f"{label(router)} fails {len(broken)} of {len(CHECKS)} checks\n" + "\n".join(lines)
        raise CheckError(why, "fix the failures in the order listed")


def run_checks(router: Candidate, **options: Any) -> list[CheckResult]:
    """The result of every check in order; stops after a forward pass that does not end."""
    found = []
    for check in CHECKS:
        found.append(_result(check, router, options))
        if isinstance(found[-1].failure, EndlessError):
            break
    return found


def parametrize_with_checks(candidates: Iterable[Candidate] | None = None) -> Callable[..., Any]:
    """A pytest decorator that runs a test once for every router and every check.

    Args:
        candidates: routers to check, each as for ``check_router``; by default every registered
            router.

    ::

        @routers.parametrize_with_checks([MyRouter])
        def test_conformance(router, check):
            check(router)
    """
    import pytest  # needed by tests only

    chosen = ROUTERS.available() if candidates is None else candidates
    cases = []
    for router in chosen:
        bounded = cache(partial(_result, check_work_is_bounded, router, {}))  # run once
        for check in CHECKS:
            run = partial(_run_if_it_ends, check, bounded)
            cases.append(pytest.param(router, run, id=f"{label(router)}-{name(check)}"))
    return pytest.mark.parametrize(("router", "check"), cases)


def _run_if_it_ends(
    check: Check, bounded: Callable[[], CheckResult], router: Candidate
) -> str | None:
    """Run a check in every size unless it would hang; checks may run in any order."""
    failure = bounded().failure
    if isinstance(failure, EndlessError):
        raise EndlessError(failure.why, failure.hint)
    return _run(check, router)


def label(router: Candidate) -> str:
    """The name of a candidate in reports."""
    return str(getattr(router, "__name__", router))


def name(check: Check) -> str:
    """The name of a check in reports.

    >>> name(CHECKS[0])
    'work_is_bounded'
    """
    return check.__name__.removeprefix("check_")


def _run(check: Check, router: Candidate, **options: Any) -> str | None:
    """Run a check in every size; the note of the last."""
    note = None
    build: Factory = partial(ROUTERS.build, router) if isinstance(router, str) else router
    for subject in subjects(partial(build, **options)):
        with seeded(0):  # reproducible, and the caller's generator is left alone
            note = check(subject)
    return note


def _result(check: Check, router: Candidate, options: dict[str, Any]) -> CheckResult:
    try:
        return CheckResult(name(check), note=_run(check, router, **options) or "")
    except CheckError as broken:
        failure = broken
    except Exception as error:  # an error of a router is a result of the check
        hint = "let the router accept the items of this check"
        failure = CheckError(f"{type(error).__name__}: {error}", hint)
        failure.__cause__ = error
    return CheckResult(name(check), failure=failure)
