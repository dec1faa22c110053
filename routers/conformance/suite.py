"""The list of conformance checks, and functions that run them on a router."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

from .._router import ROUTERS, Router
from .checks.adaptation import (
    check_adapt,
    check_adapt_balances,
    check_adapt_moves_buffers,
    check_adapt_selects,
    check_counts,
)
from .checks.capacity import check_capacity, check_capacity_is_causal, check_drops_keep_weights
from .checks.gradients import (
    check_finite_from_zero,
    check_finite_gradients,
    check_gradients,
    check_gradients_are_exact,
)
from .checks.learning import check_idle_experts, check_options_learn
from .checks.losses import check_expected_load, check_loss_values
from .checks.memory import check_losses_are_independent, check_nothing_kept
from .checks.metadata import (
    check_default_losses,
    check_docstring,
    check_search_space,
    check_traits_declared,
)
from .checks.padding import (
    check_full_mask_is_no_mask,
    check_padded_groups,
    check_padding_is_as_if_absent,
    check_padding_is_not_read,
    check_padding_is_not_routed,
)
from .checks.precision import check_bf16, check_full_precision_inside
from .checks.scores import (
    EndlessError,
    check_extreme_scores,
    check_jitter_scales_input,
    check_scores_untouched,
    check_softmax_once,
    check_work_is_bounded,
)
from .checks.shapes import (
    check_empty_and_single,
    check_layout_fields,
    check_shapes_and_ranges,
    check_switch_at_balance,
    check_weights_sum_as_declared,
)
from .checks.state import (
    check_copy_and_pickle,
    check_eval_deterministic,
    check_forward_keeps_state,
    check_inputs_untouched,
    check_state_dict_round_trip,
)
from .checks.traits import (
    check_causal,
    check_declared_fields,
    check_equivariant,
    check_groups_independent,
    check_needs_ids,
    check_needs_task,
    check_per_item,
    check_traits_may_only_shrink,
)
from .harness import CheckError, Factory, RouterUnderTest, seeded, subjects

#: Raises ``CheckError``; returns why it did not apply, or None.
Check = Callable[[RouterUnderTest], str | None]

CHECKS: list[Check] = [
    check_work_is_bounded,  # first: with a forward pass that does not end, no other check ends
    check_docstring,
    check_traits_declared,
    check_traits_may_only_shrink,
    check_search_space,
    check_default_losses,
    check_shapes_and_ranges,
    check_layout_fields,
    check_weights_sum_as_declared,
    check_declared_fields,
    check_needs_ids,
    check_needs_task,
    check_gradients,
    check_gradients_are_exact,
    check_options_learn,
    check_idle_experts,
    check_finite_gradients,
    check_finite_from_zero,
    check_extreme_scores,
    check_softmax_once,
    check_scores_untouched,
    check_jitter_scales_input,
    check_eval_deterministic,
    check_inputs_untouched,
    check_forward_keeps_state,
    check_nothing_kept,
    check_adapt,
    check_counts,
    check_adapt_moves_buffers,
    check_adapt_selects,
    check_adapt_balances,
    check_per_item,
    check_groups_independent,
    check_causal,
    check_equivariant,
    check_padding_is_not_routed,
    check_padding_is_not_read,
    check_padding_is_as_if_absent,
    check_full_mask_is_no_mask,
    check_padded_groups,
    check_capacity,
    check_drops_keep_weights,
    check_capacity_is_causal,
    check_empty_and_single,
    check_switch_at_balance,
    check_loss_values,
    check_losses_are_independent,
    check_expected_load,
    check_bf16,
    check_full_precision_inside,
    check_state_dict_round_trip,
    check_copy_and_pickle,
]


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
    tried = [(router, cache(partial(_endless, router))) for router in chosen]  # each run once
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
    """The error of a forward pass that does not end; None if all end or fail otherwise."""
    failure = _result(check_work_is_bounded, router, {}).failure
    return failure if isinstance(failure, EndlessError) else None


def _run_if_it_ends(
    check: Check, endless: Callable[[], EndlessError | None], router: Candidate
) -> str | None:
    """Run a check in every size unless it would hang; checks may run in any order."""
    if (failure := endless()) is not None:
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
    for subject in subjects(_factory(router, options)):
        with seeded(0):  # reproducible, and the caller's generator is left alone
            note = check(subject)
    return note


def _factory(router: Candidate, options: dict[str, Any]) -> Factory:
    if isinstance(router, str):
        return partial(ROUTERS.build, router, **options)
    return partial(router, **options)


def _result(check: Check, router: Candidate, options: dict[str, Any]) -> CheckResult:
    try:
        return CheckResult(name(check), note=_run(check, router, **options) or "")
    except CheckError as broken:
        return CheckResult(name(check), failure=broken)
    except Exception as error:  # an error of a router is a result of the check
        failure = CheckError(
            f"{type(error).__name__}: {error}", "let the router accept the items of this check"
        )
        failure.__cause__ = error
        return CheckResult(name(check), failure=failure)
