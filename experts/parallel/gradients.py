"""The norm of gradients whose parts lie on several processes."""

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm


@torch.no_grad()
def clip_grad_norm_(
    parameters: Iterable[nn.Parameter], max_norm: float, norm_type: float = 2.0
) -> Tensor:
    """Scale gradients so that their norm over all parameters and processes is at most ``max_norm``.

    ``torch.nn.utils.clip_grad_norm_`` for parameters on several meshes, as ``parallelize`` and
    ``fully_shard_layers`` together make them, which torch does not combine. Plain tensors are
    taken as equal on all processes.

    Args:
        parameters: those whose gradients are scaled, in place; others count 0.
        max_norm: the largest norm.
        norm_type: ``p`` of the norm; ``inf`` for the largest element.

    Returns:
        The norm before, a scalar and the same on all processes.

    >>> weight = nn.Parameter(torch.zeros(2))
    >>> weight.grad = torch.tensor([3.0, 4.0])
    >>> clip_grad_norm_([weight], max_norm=1.0).item()
    5.0
    >>> [round(value, 4) for value in weight.grad.tolist()]
    [0.6, 0.8]
    """
    alike: defaultdict[object, list[nn.Parameter]] = defaultdict(list)
    for parameter in parameters:
        if isinstance(parameter.grad, DTensor):
            alike[parameter.grad.device_mesh, parameter.grad.placements].append(parameter)
        elif parameter.grad is not None:
            alike[None].append(parameter)
    norms = [
        get_total_norm([p.grad for p in own if p.grad is not None], norm_type)
        for own in alike.values()
    ]
    whole = [norm.full_tensor() if isinstance(norm, DTensor) else norm for norm in norms]
    total = torch.linalg.vector_norm(torch.stack(whole), norm_type) if whole else torch.tensor(0.0)
    for own in alike.values():
        clip_grads_with_norm_(own, max_norm, total)
    return total
