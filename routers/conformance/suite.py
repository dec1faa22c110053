"""The conformance kit: does a router keep what every router promises?"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

from .._router import Router, routers
from .all_checks import CHECKS, Check
from .checks.scores import EndlessError, check_work_is_bounded
from .harness import CheckError, Factory, seeded, subjects

#: A registered name, ``package.module:Class``, a class, or ``(dim, num_experts) -> Router``.
Candidate = str | type[Router] | Factory


@dataclass(frozen=True)
class Verdict:
    """What a check found.

    Attributes:
        check: its name, such as ``causal``.
        note: why there was nothing to look at, such as ``not promised``; empty otherwise.
        failure: what was broken and how to mend it; None where the check passed.
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
        CheckError: an ``AssertionError`` that lists all that failed, why, and how to mend it.

    >>> check_router("uniform", k=1)
    """
    broken = [v for v in judge(router, **options) if v.failure]
    if broken:
        lines = [f"{v.check}: {v.failure}" for v in broken]
        why = f"{label(router)} fails {len(broken)} of {len(CHECKS)} checks\n" + "\n".join(lines)
        raise CheckError(why, "what each check above says, from the top")


def judge(router: Candidate, **options: Any) -> list[Verdict]:
    """Every check's verdict on a router, in order; where a pass does not end, that one alone."""
    found = []
    for check in CHECKS:
        found.append(_verdict(check, router, options))
        if isinstance(found[-1].failure, EndlessError):
            break
    return found


def parametrize_with_checks(candidates: Iterable[Candidate] | None = None) -> Callable[..., Any]:
    """A pytest decorator that runs a test once for every router and every check.

    Args:
        candidates: what to check, each as for ``check_router``; every registered router by
            default.

    ::

        @routers.parametrize_with_checks([MyRouter])
        def test_conformance(router, check):
            check(router)
    """
    import pytest  # a tool of the tests, not of the package

    chosen = routers.available() if candidates is None else candidates
    tried = [(router, cache(partial(_endless, router))) for router in chosen]  # each asked once
    return pytest.mark.parametrize(
        ("router", "check"),
        [
            pytest.param(
                router,
                partial(_run_if_it_ends, check, endless),
                id=f"{label(router)}-{name(check)}",
            )
            for router, endless in tried
            for check in CHECKS
        ],
    )


def _endless(router: Candidate) -> EndlessError | None:
    """What says that a pass does not end; None where all do, or where something else is wrong."""
    failure = _verdict(check_work_is_bounded, router, {}).failure
    return failure if isinstance(failure, EndlessError) else None


def _run_if_it_ends(
    check: Check, endless: Callable[[], EndlessError | None], router: Candidate
) -> str | None:
    """Run a check in every size, unless it would hang; checks may come in any order, or alone."""
    if (failure := endless()) is not None:
        raise EndlessError(failure.why, failure.mend)
    return _run(check, router)


def label(router: Candidate) -> str:
    """What to call a candidate in reports."""
    return str(getattr(router, "__name__", router))


def name(check: Check) -> str:
    """What to call a check in reports.

    >>> name(CHECKS[0])
    'work_is_bounded'
    """
    return check.__name__.removeprefix("check_")


def _run(check: Check, router: Candidate, **options: Any) -> str | None:
    """Run a check in every size; the note of the last."""
    note = None
    for subject in subjects(_factory(router, options)):
        with seeded(0):  # what a check draws is the same every time, and the caller's stays
            note = check(subject)
    return note


def _factory(router: Candidate, options: dict[str, Any]) -> Factory:
    if isinstance(router, str):
        return partial(routers.build, router, **options)
    return partial(router, **options)


def _verdict(check: Check, router: Candidate, options: dict[str, Any]) -> Verdict:
    try:
        return Verdict(name(check), note=_run(check, router, **options) or "")
    except CheckError as broken:
        return Verdict(name(check), failure=broken)
    except Exception as error:  # whatever a router raises is a finding, not the end of the report
        failure = CheckError(
            f"{type(error).__name__}: {error}", "make the router run on what this check gives it"
        )
        failure.__cause__ = error
        return Verdict(name(check), failure=failure)
