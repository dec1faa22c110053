"""Choosing the K largest, and what the chosen weigh."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..plugins.errors import OptionError, unknown

#: Measured on CPU: up to so many scores two passes of ``max`` beat one of ``topk`` …
_FEW = 128
#: … and from so many on it pays to choose among maxima of blocks first, of so many scores each.
_MANY, _BLOCK = 1024, 4
#: A vector register has as many numbers.
_NARROW = 16


def top_k(scores: Tensor, k: int) -> Tensor:
    """Indices of the ``k`` largest along the last axis, ``(..., k)``, largest first.

    >>> top_k(torch.tensor([[0.1, 0.9, 0.5]]), 2).tolist()
    [[1, 2]]
    """
    scores = scores.detach()
    width = scores.shape[-1]
    if k == 1:  # several times faster than topk(1)
        return scores.max(-1, keepdim=True).indices
    if scores.device.type != "cpu":
        return scores.topk(k, -1).indices
    if k == 2 and width <= _FEW:
        return _two_largest(scores)
    if width >= _MANY and width % _BLOCK == 0 and 2 * k * _BLOCK <= width:
        return _by_blocks(scores, k)
    return scores.topk(k, -1).indices


def largest(scores: Tensor, k: int) -> Tensor:
    """Indices of the ``k`` largest along the last axis, ``(..., k)``, in any order.

    >>> sorted(largest(torch.tensor([0.1, 0.9, 0.5]), 2).tolist())
    [1, 2]
    """
    width = scores.shape[-1]
    if scores.device.type != "cpu" or not 0 < k < width or 64 * k <= width:
        return top_k(scores, k)  # of many it finds a few faster
    split = np.argpartition(scores.detach().numpy(), width - k, axis=-1)
    return torch.from_numpy(split)[..., width - k :]


def _two_largest(scores: Tensor) -> Tensor:
    first = scores.max(-1, keepdim=True).indices
    second = scores.scatter(-1, first, -torch.inf).max(-1, keepdim=True).indices
    # where nothing else is finite it comes out again; then any other will do
    second = torch.where(second == first, (first + 1) % scores.shape[-1], second)
    return torch.cat([first, second], -1)


def _by_blocks(scores: Tensor, k: int) -> Tensor:
    """The ``k`` largest lie in the ``k`` blocks with the largest maxima; choose among those.

    Block ``b`` of ``B`` is every ``B``-th score from ``b`` on, which makes their maxima one
    vectorised pass.
    """
    blocks = scores.shape[-1] // _BLOCK
    largest = scores.view(*scores.shape[:-1], _BLOCK, blocks).amax(-2).topk(k, -1).indices
    first = torch.arange(0, scores.shape[-1], blocks, device=scores.device)
    column = (largest.unsqueeze(-2) + first.unsqueeze(-1)).flatten(-2)
    return column.gather(-1, scores.gather(-1, column).topk(k, -1).indices)


def softmax(logits: Tensor) -> Tensor:
    """Along the last axis, ``(..., E)``.

    Few columns are first turned into few rows, for the kernel runs over items then: three times
    faster on a CPU.
    """
    if logits.shape[-1] >= _NARROW:
        return logits.softmax(-1)
    return logits.movedim(-1, 0).softmax(0).movedim(0, -1)


@dataclass(frozen=True)
class Weighting:
    """What the chosen experts' outputs count for.

    Attributes:
        weigh: ``(chosen logits (..., K), all logits (..., E)) -> weights (..., K)``.
        convex: whether the weights of an item sum to one.
    """

    weigh: Callable[[Tensor, Tensor], Tensor]
    convex: bool


def probability(chosen: Tensor, logits: Tensor) -> Tensor:
    """``softmax(h)[S]`` (Switch)."""
    return (chosen - logits.logsumexp(-1, keepdim=True)).exp()


def renormalized(chosen: Tensor, logits: Tensor) -> Tensor:
    """``softmax(h[S])``, which equals ``softmax(h)[S]`` over its sum (Mixtral)."""
    return softmax(chosen)


WEIGHTINGS = {
    "probability": Weighting(probability, convex=False),
    "renormalized": Weighting(renormalized, convex=True),
}


def check_k(k: int, among: int, key: str = "k", what: str = "num_experts={}") -> None:
    """Raise ``ConfigError`` unless ``1 <= k <= among``; ``what`` says whose number that is."""
    if not 1 <= k <= among:
        raise OptionError(key, k, f"an integer from 1 to {what.format(among)}")


#: Why one expert per item teaches a gate nothing where weights are renormalized.
_ALONE = (
    "A single weight divided by itself is 1, so the gate would get no gradient from the task; use"
)


def check_several(k: int, num_experts: int) -> None:
    """Raise ``ConfigError`` unless ``2 <= k <= num_experts``, for weights that sum to one."""
    if not 2 <= k <= num_experts:
        allowed = f"an integer from 2 to num_experts={num_experts}"
        raise OptionError("k", k, allowed, f"{_ALONE} topk with weighting=probability")


def check_learns(k: int, weighting: str, key: str = "k") -> Weighting:
    """The weighting, unless it passes the gate no gradient: one expert, weight always 1."""
    if weighting not in WEIGHTINGS:
        raise unknown("weighting", weighting, WEIGHTINGS)
    if k == 1 and WEIGHTINGS[weighting].convex:
        raise OptionError(
            key,
            k,
            "an integer of at least 2 where weights are renormalized",
            f"{_ALONE} router.weighting=probability",
        )
    return WEIGHTINGS[weighting]
