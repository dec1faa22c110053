"""Building blocks of routers: selection, weightings, noise, biases, projections, helpers."""

from .._torch import Float32State, call_hooks, uncompiled
from ..routing import stable_order
from .expert_bias import BY_LOAD, RULES, Bias, ByProportion, ByQuantile, BySign, check_rule
from .factorization import branches_of, columns_of, divisors
from .histogram import BINS, histogram, quantile
from .noise import NoisyScores, Scores, chance_of_top_k, jittered
from .required_inputs import given_ids, given_tasks
from .seeds import seeded
from .selection import (
    WEIGHTINGS,
    Weighting,
    check_k,
    check_learns,
    check_several,
    largest,
    probability,
    renormalized,
    softmax,
    top_k,
)
from .sigmoid_topk import SigmoidTopKBase
from .sparse_projection import entmax

__all__ = [
    "BINS",
    "BY_LOAD",
    "RULES",
    "WEIGHTINGS",
    "Bias",
    "ByProportion",
    "ByQuantile",
    "BySign",
    "Float32State",
    "NoisyScores",
    "Scores",
    "SigmoidTopKBase",
    "Weighting",
    "branches_of",
    "call_hooks",
    "chance_of_top_k",
    "check_k",
    "check_learns",
    "check_rule",
    "check_several",
    "columns_of",
    "divisors",
    "entmax",
    "given_ids",
    "given_tasks",
    "histogram",
    "jittered",
    "largest",
    "probability",
    "quantile",
    "renormalized",
    "seeded",
    "softmax",
    "stable_order",
    "top_k",
    "uncompiled",
]
