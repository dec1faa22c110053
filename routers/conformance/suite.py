"""The list of conformance checks, and functions that run them on a router."""

from collections.abc import Callable, Iterable
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
from .harness import Check, Factory, subjects
from .results import CheckResult, check_name, checks_in, raise_failures, result_of, seeded

_FILES = (metadata, shapes, traits, gradients, scores, state, adaptation, padding, capacity, losses)

#: First the check of endless loops: with a forward pass that does not end, no other check ends.
CHECKS: list[Check] = sorted(
    checks_in(*_FILES),
    key=lambda check: check is not check_work_is_bounded,
)

#: Those that read the scores of a router as it is built, and so depend on its gate.
SCORE_CHECKS = [
    check
    for check in CHECKS
    if check in checks_in(shapes, traits, gradients, scores, padding)
    and check is not gradients.check_options_learn
]

#: A registered name, ``package.module:Class``, a class, or ``(dim, num_experts) -> Router``.
Candidate = str | type[Router] | Factory


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
    raise_failures(label(router), run_checks(router, **options), len(CHECKS))


def run_checks(router: Candidate, **options: Any) -> list[CheckResult]:
    """The result of every check in order; stops after a forward pass that does not end."""
    return results_of(CHECKS, router, options)


def results_of(
    checks: Iterable[Check], router: Candidate, options: dict[str, Any]
) -> list[CheckResult]:
    """The results of some checks, as ``run_checks`` has those of all."""
    found = []
    for check in checks:
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
            cases.append(pytest.param(router, run, id=f"{label(router)}-{check_name(check)}"))
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


def _run(check: Check, router: Candidate, **options: Any) -> str | None:
    """Run a check in every size; the note of the last."""
    note = None
    build: Factory = partial(ROUTERS.build, router) if isinstance(router, str) else router
    for subject in subjects(partial(build, **options)):
        with seeded(0):  # reproducible, and the caller's generator is left alone
            note = check(subject)
    return note


def _result(check: Check, router: Candidate, options: dict[str, Any]) -> CheckResult:
    hint = "let the router accept the items of this check"
    return result_of(check, partial(_run, check, router, **options), hint)
