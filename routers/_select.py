"""Choosing the K largest, and what the chosen weigh."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from ._errors import bad_value, unknown


def top_k(scores: Tensor, k: int) -> Tensor:
    """Indices of the ``k`` largest along the last axis, ``(..., k)``, largest first.

    >>> import torch
    >>> top_k(torch.tensor([[0.1, 0.9, 0.5]]), 2).tolist()
    [[1, 2]]
    """
    if k == 1:  # several times faster than topk(1)
        return scores.detach().argmax(-1, keepdim=True)
    return scores.detach().topk(k, -1).indices


@dataclass(frozen=True)
class Weighting:
    """What the chosen experts' outputs count for.

    Attributes:
        weigh: ``(logits (..., E), chosen (..., K)) -> weights (..., K)``.
        convex: whether the weights of an item sum to one.
    """

    weigh: Callable[[Tensor, Tensor], Tensor]
    convex: bool


def probability(logits: Tensor, chosen: Tensor) -> Tensor:
    """``softmax(h)[S]`` (Switch)."""
    return logits.softmax(-1).gather(-1, chosen)


def renormalized(logits: Tensor, chosen: Tensor) -> Tensor:
    """``softmax(h[S])``, which equals ``softmax(h)[S]`` over its sum (Mixtral)."""
    return logits.gather(-1, chosen).softmax(-1)


WEIGHTINGS = {
    "probability": Weighting(probability, convex=False),
    "renormalized": Weighting(renormalized, convex=True),
}


def check_k(k: int, num_experts: int, key: str = "router.k") -> None:
    """Raise ``ConfigError`` unless ``1 <= k <= num_experts``."""
    if not 1 <= k <= num_experts:
        raise bad_value(key, k, f"an integer from 1 to num_experts={num_experts}")


def check_learns(k: int, weighting: str, key: str = "router.k") -> Weighting:
    """The weighting, unless it passes the gate no gradient: one expert, weight always 1."""
    if weighting not in WEIGHTINGS:
        raise unknown("router.weighting", weighting, WEIGHTINGS)
    if k == 1 and WEIGHTINGS[weighting].convex:
        raise bad_value(
            key,
            k,
            "an integer of at least 2 where weights are renormalized",
            "A single weight divided by itself is 1, so the gate would get no gradient from "
            "the task; use router.weighting=probability",
        )
    return WEIGHTINGS[weighting]
