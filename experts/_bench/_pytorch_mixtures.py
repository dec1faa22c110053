"""The top-K layer of pytorch-mixtures."""

import torch

from ._contestant import Contestant
from ._peers import import_peer, named
from ._shapes import Shape

INSTALL = "pip install --no-deps pytorch-mixtures"  # its metadata pins torch 2.2.2


def pytorch_mixtures(shape: Shape, dtype: torch.dtype, device: torch.device) -> Contestant:
    """Experts of two matrices with GELU, in a loop."""
    package = import_peer("pytorch_mixtures", INSTALL)
    config = package.MoEConfig(
        hidden_dim=shape.dim,
        intermediate_dim=shape.hidden,
        num_experts=shape.experts,
        expert_fn="ff",
        expert_act="gelu",
        router_fn="topk",
        capacity_factor=None,  # its top-K has no capacity
        topk=shape.k,
        dtype=dtype,
    )
    layer = package.TopkMoE(config).to(device, dtype)
    return Contestant(
        "pytorch-mixtures",
        layer,
        lambda x: layer(x.unsqueeze(0)).squeeze(0),
        shape.flops,
        f"{named('pytorch-mixtures')}; experts with biases; nothing is dropped",
        patience=1.0,
    )
