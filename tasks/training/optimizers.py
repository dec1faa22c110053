"""Optimizers and learning-rate schedules by name."""

import math
from collections.abc import Callable, Iterable
from functools import partial

import torch
from torch.nn import Parameter
from torch.optim import Optimizer

from ..config.schema import OptimizerConfig

OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "adamw": partial(torch.optim.AdamW, fused=True),
    "sgd": partial(torch.optim.SGD, momentum=0.9, nesterov=True, fused=True),
}

#: Learning-rate factors by the fraction ``done`` of the steps after the warm-up.
SCHEDULES: dict[str, Callable[[float], float]] = {
    "cosine": lambda done: 0.5 + 0.5 * math.cos(math.pi * done),
    "linear": lambda done: 1 - done,
    "constant": lambda done: 1.0,
}


def build_optimizer(config: OptimizerConfig, parameters: Iterable[Parameter]) -> Optimizer:
    """Build the optimizer; vectors (norms, biases, temperatures) have no weight decay."""
    trained = [p for p in parameters if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.dim() > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if p.dim() <= 1], "weight_decay": 0.0},
    ]
    optimizer = OPTIMIZERS[config.name]([g for g in groups if g["params"]], lr=config.lr)
    # fused optimizers can unscale gradients in their step, but clipping needs unscaled ones before
    optimizer._step_supports_amp_scaling = False  # type: ignore[attr-defined]
    return optimizer


def learning_rate_factor(config: OptimizerConfig, total_steps: int, step: int) -> float:
    """Linear warm-up over the first steps, then the schedule over the rest.

    >>> config = OptimizerConfig("adamw", 1.0, 0.0, warmup=0.5, schedule="linear")
    >>> [learning_rate_factor(config, 4, step) for step in range(4)]
    [0.5, 1.0, 1.0, 0.5]
    """
    warm = round(config.warmup * total_steps)
    if step < warm:
        return (step + 1) / warm
    return SCHEDULES[config.schedule](min((step - warm) / max(total_steps - warm, 1), 1.0))
