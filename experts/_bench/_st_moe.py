"""The layer of st-moe-pytorch."""

import torch
from torch import nn

from ._contestant import Contestant, LeftOutError
from ._peers import gated_flops, gated_hidden, import_peer, named
from ._shapes import Shape

INSTALL = "pip install st-moe-pytorch"
GROUP = 256  # tokens: its dispatch tensors grow with the square of a group
CAPACITY = 1.25  # its default, here of an even load of all K choices


def st_moe(shape: Shape, dtype: torch.dtype, device: torch.device) -> Contestant:
    """Dispatch and combine as dense one-hot products, the way of Mesh TensorFlow."""
    if shape.tokens % GROUP:
        raise LeftOutError(f"N={shape.tokens} is not a multiple of the group of {GROUP}")
    package = import_peer("st_moe_pytorch.st_moe_pytorch", INSTALL)
    hidden = gated_hidden(shape)
    mult = (hidden + 0.5) * 3 / (2 * shape.dim)  # it takes int(dim * mult * 2 / 3)
    experts = [package.Expert(dim=shape.dim, hidden_mult=mult) for _ in range(shape.experts)]
    layer = package.MoE(
        dim=shape.dim,
        num_experts=shape.experts,
        gating_top_n=shape.k,
        threshold_train=0.0,  # its default leaves out choices of low weight at random
        capacity_factor_train=CAPACITY * shape.k,
        experts=nn.ModuleList(experts),
    ).to(device, dtype)
    return Contestant(
        "st-moe-pytorch",
        layer,
        lambda x: layer(x.view(-1, GROUP, shape.dim)).outputs.view_as(x),
        gated_flops(shape),
        f"{named('st-moe-pytorch')}; GEGLU experts of hidden width 2/3 H, in multiples of 8, "
        f"with biases; groups of {GROUP} tokens; "
        f"what exceeds {CAPACITY} of an even load is dropped",
        patience=1.0,
    )
