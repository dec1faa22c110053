"""All conformance checks, in the order a reader would ask them."""

from collections.abc import Callable

from .checks.adaptation import (
    check_adapt,
    check_adapt_balances,
    check_adapt_moves_buffers,
    check_adapt_selects,
    check_tally,
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
from .checks.memory import check_nothing_kept, check_terms_stand_alone
from .checks.metadata import (
    check_balance_names,
    check_docstring,
    check_space,
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
    check_extreme_scores,
    check_jitter_scales_input,
    check_scores_untouched,
    check_softmax_once,
    check_work_is_bounded,
)
from .checks.shapes import (
    check_balance_term,
    check_empty_and_single,
    check_layout_fields,
    check_shapes_and_ranges,
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
from .harness import Subject

#: Raises ``CheckError``; returns why it had nothing to look at, or None.
Check = Callable[[Subject], str | None]

CHECKS: list[Check] = [
    check_work_is_bounded,  # first, for with a router that never ends no other check ends
    check_docstring,
    check_traits_declared,
    check_traits_may_only_shrink,
    check_space,
    check_balance_names,
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
    check_tally,
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
    check_balance_term,
    check_loss_values,
    check_terms_stand_alone,
    check_expected_load,
    check_bf16,
    check_full_precision_inside,
    check_state_dict_round_trip,
    check_copy_and_pickle,
]
