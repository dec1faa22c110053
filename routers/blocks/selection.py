"""Selection of the K largest scores, and the weights of the selected experts."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..plugins import OptionError, unknown

#: Measured on CPU: up to this width two passes of ``max`` are faster than ``topk``.
_MAX_WIDTH_TWO_PASSES = 128
#: Measured on CPU: from this width on, reducing blocks of this many scores first is faster.
_MIN_WIDTH_BLOCKS, _BLOCK = 1024, 4
#: Columns that fill a vector register.
_REGISTER_WIDTH = 16


def top_k(scores: Tensor, k: int) -> Tensor:
    """Indices of the ``k`` largest along the last axis, ``(..., k)``, largest first.

    >>> top_k(torch.tensor([[0.1, 0.9, 0.5]]), 2).tolist()
    [[1, 2]]
    """
    scores = scores.detach()
    width = scores.shape[-1]
    if torch.compiler.is_compiling():  # a graph should not depend on where it was traced
        return scores.topk(k, -1).indices
    if k == 1:  # several times faster than topk(1)
        return scores.max(-1, keepdim=True).indices
    if scores.device.type != "cpu":
        return scores.topk(k, -1).indices
    if k == 2 and width <= _MAX_WIDTH_TWO_PASSES:
        return _two_largest(scores)
    if width >= _MIN_WIDTH_BLOCKS and width % _BLOCK == 0 and 2 * k * _BLOCK <= width:
        return _by_blocks(scores, k)
    return scores.topk(k, -1).indices


def top_k_unsorted(scores: Tensor, k: int) -> Tensor:
    """Indices of the ``k`` largest along the last axis, ``(..., k)``, in any order.

    >>> sorted(top_k_unsorted(torch.tensor([0.1, 0.9, 0.5]), 2).tolist())
    [1, 2]
    """
    width = scores.shape[-1]
    if torch.compiler.is_compiling() or scores.device.type != "cpu":
        return top_k(scores, k)
    if not 0 < k < width or 64 * k <= width:  # faster for few of many
        return top_k(scores, k)
    split = np.argpartition(scores.detach().numpy(), width - k, axis=-1)
    return torch.from_numpy(split)[..., width - k :]


def _two_largest(scores: Tensor) -> Tensor:
    first = scores.max(-1, keepdim=True).indices
    second = scores.scatter(-1, first, -torch.inf).max(-1, keepdim=True).indices
    # if all other scores are -inf, max returns the first index again: take any other
    second = torch.where(second == first, (first + 1) % scores.shape[-1], second)
    return torch.cat([first, second], -1)


def _by_blocks(scores: Tensor, k: int) -> Tensor:
    """Select among the ``k`` blocks with the largest maxima, which contain the ``k`` largest.

    Block ``b`` of ``B`` holds every ``B``-th score from ``b`` on, so that their maxima are one
    vectorized pass.
    """
    blocks = scores.shape[-1] // _BLOCK
    largest = scores.view(*scores.shape[:-1], _BLOCK, blocks).amax(-2).topk(k, -1).indices
    first = torch.arange(0, scores.shape[-1], blocks, device=scores.device)
    column = (largest.unsqueeze(-2) + first.unsqueeze(-1)).flatten(-2)
    return column.gather(-1, scores.gather(-1, column).topk(k, -1).indices)


def softmax(logits: Tensor) -> Tensor:
    """Softmax along the last axis, ``(..., E)``.

    Few columns are transposed first, so that the kernel vectorizes over items: three times as
    fast on a CPU.
    """
    if logits.shape[-1] >= _REGISTER_WIDTH:
        return logits.softmax(-1)
    return logits.movedim(-1, 0).softmax(0).movedim(0, -1)


@dataclass(frozen=True)
class Weighting:
    """A rule for the weights of the selected experts.

    Attributes:
        weigh: ``(chosen logits (..., K), all logits (..., E)) -> weights (..., K)``.
        convex: whether the weights of an item sum to one.
    """

    weigh: Callable[[Tensor, Tensor], Tensor]
    convex: bool


def softmax_weights(chosen: Tensor, logits: Tensor) -> Tensor:
    """``softmax(h)[S]`` (Switch)."""
    return (chosen - logits.logsumexp(-1, keepdim=True)).exp()


def renormalized_weights(chosen: Tensor, logits: Tensor) -> Tensor:
    """``softmax(h[S])``, equal to ``softmax(h)[S]`` divided by its sum (Mixtral)."""
    return softmax(chosen)


WEIGHTINGS = {
    "probability": Weighting(softmax_weights, convex=False),
    "renormalized": Weighting(renormalized_weights, convex=True),
}


def check_k(k: int, among: int, key: str = "k", what: str = "num_experts={}") -> None:
    """Raise ``OptionError`` unless ``1 <= k <= among``; ``what`` describes ``among``."""
    if not 1 <= k <= among:
        raise OptionError(key, k, f"an integer in [1, {what.format(among)}]")


_NO_GRADIENT = "A single weight divided by itself is 1, so the task gives the gate no gradient; use"


def check_k_above_one(k: int, num_experts: int) -> None:
    """Raise ``OptionError`` unless ``2 <= k <= num_experts``, as renormalized weights require."""
    if not 2 <= k <= num_experts:
        expected = f"an integer in [2, num_experts={num_experts}]"
        raise OptionError("k", k, expected, f"{_NO_GRADIENT} topk with weighting=probability")


def build_weighting(k: int, weighting: str, key: str = "k") -> Weighting:
    """The named weighting; ``OptionError`` if it is constant, so that the gate cannot learn."""
    if weighting not in WEIGHTINGS:
        raise unknown("weighting", weighting, WEIGHTINGS)
    if k == 1 and WEIGHTINGS[weighting].convex:
        expected = "an integer >= 2 with renormalized weights"
        raise OptionError(key, k, expected, f"{_NO_GRADIENT} weighting=probability")
    return WEIGHTINGS[weighting]
