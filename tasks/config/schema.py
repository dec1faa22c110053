"""The typed shape of a run's configuration; ``conf/base.yaml`` holds the values."""

from dataclasses import dataclass, field
from typing import Any

#: Key of the time limit: a run that it ended can be continued.
MAX_TIME = "trainer.max_time"


@dataclass
class MoEConfig:
    """Settings of every routed layer, unless ``layers`` changes them."""

    num_experts: int
    capacity: float | None
    drop: str
    renormalize: bool
    shared: int
    expert_dropout: float
    control: str | None
    rounding: str = "ceil"  # newer than some runs that may be resumed
    skip: dict[str, float] | None = None  # the same
    shared_expert: Any = None  # a name, or {name: …, option: …}
    rounds: int = 1  # the same
    sub_tokens: int = 1  # the same
    share_router: int = 1  # the same
    share_bank: int = 1  # the same
    latent: Any = None  # a width, or {width: …, norm: …}


@dataclass
class OptimizerConfig:
    """Optimizer and learning-rate schedule.

    ``options`` holds those of the optimizer, which a configuration gives as ``optimizer.OPTION``.
    """

    name: str
    lr: float
    weight_decay: float
    warmup: float
    schedule: Any  # a name, or {name: …, option: …}
    groups: dict[str, Any] = field(default_factory=dict)  # newer than some runs to resume
    options: dict[str, Any] = field(default_factory=dict)  # written to files as optimizer.…


@dataclass
class TrainerConfig:
    """Duration and hardware; names are those of Lightning's ``Trainer`` if it has them.

    ``lightning`` holds its other options, which a configuration gives as ``trainer.OPTION``.
    """

    max_epochs: int
    max_steps: int
    batch_size: int
    accumulate_grad_batches: int
    gradient_clip_val: float
    accelerator: str
    precision: str
    threads: int | str | None
    log_every_n_steps: int
    progress: bool
    tune_allocator: bool = False  # newer than some runs that may be resumed
    devices: int = 1  # newer than some runs that may be resumed
    num_nodes: int = 1
    strategy: Any = "auto"  # a name, or {name: …, option: …}
    max_time: Any = None
    early_stopping: dict[str, Any] | None = None
    checkpoint: dict[str, Any] = field(default_factory=dict)
    budget: str = "normal"
    callbacks: Any = None  # a list of names, or of {name: …, option: …}
    logger: Any = "tensorboard"  # the same
    record_routes: dict[str, Any] | None = None
    lightning: dict[str, Any] = field(default_factory=dict)  # written to files as trainer.…


@dataclass
class Config:
    """A run. ``task``, ``router`` and ``expert`` take the options of the part they name.

    ``layers`` changes router, expert, ``moe`` and losses of some routed layers, by selector.
    ``auto`` holds the keys whose values the data chooses, until it has; files hold ``auto`` as
    their value instead.
    """

    task: dict[str, Any]
    router: dict[str, Any]
    expert: dict[str, Any]
    moe: MoEConfig
    losses: dict[str, Any] | None
    optimizer: OptimizerConfig
    trainer: TrainerConfig
    seed: int
    out: str | None
    resume: str | None
    plugins: list[str]
    layers: dict[str, Any] = field(default_factory=dict)  # newer than some runs to resume
    init: Any = None  # a folder, or {from: …, edits: […]}; newer than some runs to resume
    freeze: list[str] = field(default_factory=list)
    distil: dict[str, Any] | None = None  # {of: …, weight: …, temperature: …}
    baseline: bool = False
    auto: list[str] = field(default_factory=list)
