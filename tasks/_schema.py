"""The typed shape of a run's configuration; ``conf/base.yaml`` holds the values."""

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING


@dataclass
class MoEConfig:
    """What holds for every routed layer."""

    num_experts: int = MISSING
    capacity: float | None = MISSING
    drop: str = MISSING
    renormalize: bool = MISSING
    shared: int = MISSING
    expert_dropout: float = MISSING
    control: str | None = MISSING


@dataclass
class OptimizerConfig:
    """Optimizer and learning-rate schedule."""

    name: str = MISSING
    lr: float = MISSING
    weight_decay: float = MISSING
    warmup: float = MISSING
    schedule: str = MISSING


@dataclass
class TrainerConfig:
    """How long and on what; names are those of Lightning's ``Trainer`` where it has them."""

    max_epochs: int = MISSING
    max_steps: int = MISSING
    batch_size: int = MISSING
    accumulate_grad_batches: int = MISSING
    gradient_clip_val: float = MISSING
    accelerator: str = MISSING
    precision: str = MISSING
    threads: int | None = MISSING
    log_every_n_steps: int = MISSING
    progress: bool = MISSING


@dataclass
class Config:
    """A run. ``task``, ``router`` and ``expert`` take the options of the part they name."""

    task: dict[str, Any] = field(default_factory=dict)
    router: dict[str, Any] = field(default_factory=dict)
    expert: dict[str, Any] = field(default_factory=dict)
    moe: MoEConfig = field(default_factory=MoEConfig)
    losses: dict[str, float] | None = None
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    seed: int = MISSING
    out: str | None = MISSING
    resume: str | None = MISSING
    plugins: list[str] = field(default_factory=list)
