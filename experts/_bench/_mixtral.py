"""The sparse block of Mixtral in transformers, with two ways to run its experts."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ._contestant import Contestant, LeftOutError
from ._peers import gated_flops, gated_hidden, import_peer, named
from ._shapes import Shape

INSTALL = "pip install transformers"


def mixtral_eager(shape: Shape, dtype: torch.dtype, device: torch.device) -> Contestant:
    """A loop over the experts that have tokens."""
    return _block("eager", shape, dtype, device)


def mixtral_grouped_mm(shape: Shape, dtype: torch.dtype, device: torch.device) -> Contestant:
    """One grouped matrix product per matrix, where the installed version has that."""
    try:
        known = import_peer("transformers.integrations.moe", INSTALL).ALL_EXPERTS_FUNCTIONS
    except AttributeError as error:
        raise LeftOutError("the installed transformers has no grouped_mm experts") from error
    if "grouped_mm" not in known:
        raise LeftOutError("the installed transformers has no grouped_mm experts")
    return _block("grouped_mm", shape, dtype, device)


def _block(way: str, shape: Shape, dtype: torch.dtype, device: torch.device) -> Contestant:
    mixtral = import_peer("transformers.models.mixtral.modeling_mixtral", INSTALL)
    config = mixtral.MixtralConfig(
        hidden_size=shape.dim,
        intermediate_size=gated_hidden(shape),
        num_local_experts=shape.experts,
        num_experts_per_tok=shape.k,
    )
    config._experts_implementation = way  # set by the model's constructor, which is not used here
    block = mixtral.MixtralSparseMoeBlock(config).to(device, dtype)
    for parameter in block.parameters():  # left empty by the block
        nn.init.normal_(parameter, std=0.02)
    release = named("transformers")
    note = f"{release}; SwiGLU experts of hidden width 2/3 H, in multiples of 8; nothing is dropped"
    forward = partial(_as_sequence, block)
    return Contestant(f"Mixtral {way}", block, forward, gated_flops(shape), note, patience=1.0)


def _as_sequence(block: Any, x: Tensor) -> Tensor:
    """All tokens as one sequence; older versions return the router's logits too."""
    out = block(x.unsqueeze(0))
    y: Tensor = out[0] if isinstance(out, tuple) else out
    return y.view_as(x)
