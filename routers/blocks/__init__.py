"""Building blocks of routers: selection, weights, noise, expert biases, sparse projections."""

from .._torch import Float32State, call_hooks, holds, is_distributed, sum_over_ranks, uncompiled
from ..routing import stable_order
from .affinities import AFFINITIES, Affinity, normalized_sigmoid
from .budget_bias import BUDGET_RULES
from .clustering import k_means
from .content_keys import CONTENT_KEYS, ContentKey
from .expert_bias import (
    LOAD_RULES,
    UPDATE_RULES,
    DualBias,
    ExpertBias,
    PidBias,
    ProportionalBias,
    QuantileBias,
    SignBias,
    update_rule,
)
from .factorization import divisors, num_branches, num_columns
from .hash_tables import TABLES, by_bucket, made_different, taken_from, with_others
from .histogram import BINS, histogram, quantile
from .noise import NoisyLogits, NoisyScores, jittered, top_k_probability
from .required_inputs import (
    check_recorded,
    require_ids,
    require_projections,
    require_recorded,
    require_tasks,
)
from .seeds import seeded_generator
from .selection import (
    WEIGHTINGS,
    Weighting,
    build_weighting,
    check_k,
    check_k_above_one,
    renormalized_weights,
    softmax,
    softmax_weights,
    top_k,
    top_k_unsorted,
)
from .sigmoid_topk import BIASED, SigmoidTopKBase
from .sparse_projection import entmax

__all__ = [
    "AFFINITIES",
    "BIASED",
    "BINS",
    "BUDGET_RULES",
    "CONTENT_KEYS",
    "LOAD_RULES",
    "TABLES",
    "UPDATE_RULES",
    "WEIGHTINGS",
    "Affinity",
    "ContentKey",
    "DualBias",
    "ExpertBias",
    "Float32State",
    "NoisyLogits",
    "NoisyScores",
    "PidBias",
    "ProportionalBias",
    "QuantileBias",
    "SigmoidTopKBase",
    "SignBias",
    "Weighting",
    "build_weighting",
    "by_bucket",
    "call_hooks",
    "check_k",
    "check_k_above_one",
    "check_recorded",
    "divisors",
    "entmax",
    "histogram",
    "holds",
    "is_distributed",
    "jittered",
    "k_means",
    "made_different",
    "normalized_sigmoid",
    "num_branches",
    "num_columns",
    "quantile",
    "renormalized_weights",
    "require_ids",
    "require_projections",
    "require_recorded",
    "require_tasks",
    "seeded_generator",
    "softmax",
    "softmax_weights",
    "stable_order",
    "sum_over_ranks",
    "taken_from",
    "top_k",
    "top_k_probability",
    "top_k_unsorted",
    "uncompiled",
    "update_rule",
    "with_others",
]
