"""All conformance checks, in the order a reader would ask them."""

from collections.abc import Callable

from ._checks_adapt import (
    check_adapt,
    check_adapt_balances,
    check_adapt_moves_buffers,
    check_adapt_selects,
    check_tally,
)
from ._checks_capacity import check_capacity, check_capacity_is_causal, check_drops_keep_weights
from ._checks_gradient import (
    check_finite_from_zero,
    check_finite_gradients,
    check_gradients,
    check_gradients_are_exact,
)
from ._checks_learning import check_idle_experts, check_options_learn
from ._checks_losses import check_expected_load, check_loss_values
from ._checks_memory import check_nothing_kept, check_terms_stand_alone
from ._checks_metadata import (
    check_balance_names,
    check_docstring,
    check_space,
    check_traits_declared,
)
from ._checks_padding import (
    check_full_mask_is_no_mask,
    check_padded_groups,
    check_padding_is_as_if_absent,
    check_padding_is_not_read,
    check_padding_is_not_routed,
)
from ._checks_precision import check_bf16, check_full_precision_inside
from ._checks_scores import (
    check_extreme_scores,
    check_jitter_scales_input,
    check_scores_untouched,
    check_softmax_once,
    check_work_is_bounded,
)
from ._checks_shapes import (
    check_balance_term,
    check_empty_and_single,
    check_layout_fields,
    check_shapes_and_ranges,
    check_weights_sum_as_declared,
)
from ._checks_state import (
    check_copy_and_pickle,
    check_eval_deterministic,
    check_forward_keeps_state,
    check_inputs_untouched,
    check_state_dict_round_trip,
)
from ._checks_subject import Subject
from ._checks_traits import (
    check_causal,
    check_declared_fields,
    check_equivariant,
    check_groups_independent,
    check_needs_ids,
    check_needs_task,
    check_per_item,
    check_traits_may_only_shrink,
)

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
