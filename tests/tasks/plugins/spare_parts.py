"""Parts from outside the project, named ``spare_parts:Class`` in the tests."""

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from experts import MoE
from experts.mlp import MLP
from routers import Items, Router, Routing, Traits
from tasks import Data
from tasks.digits import Digits


class Adapting(Router):
    """Top-1 of scores plus a bias that follows the load: state that no gradient moves."""

    traits = Traits(learned=False, convex=False, has_logits=False)

    bias: Tensor
    calls: Tensor

    def __init__(self, dim: int, num_experts: int) -> None:
        super().__init__(dim, num_experts)
        self.register_buffer("scores", torch.randn(num_experts, dim))
        self.register_buffer("bias", torch.zeros(num_experts))
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self, items: Items) -> Routing:
        expert = (items.x @ self.scores.t() + self.bias).argmax(-1, keepdim=True)
        weight = torch.ones_like(expert, dtype=items.x.dtype)
        return Routing.by_item(items, expert, weight, self.num_experts)

    def adapt(self, load: Tensor) -> None:
        self.bias += 0.1 * (load.float().mean() - load).sign()
        self.calls += 1


class CausalTask(Digits):
    """Digits, with the claim that no output depends on later patches."""

    causal = True


class NamelessTask(Digits):
    """Digits, with no ids for what it shows."""

    has_ids = False


class NoPart:
    """Neither a router nor anything else."""


class PoisonedTask(Digits):
    """Digits, with one pixel that is not a number."""

    def data(self) -> Data:
        data = super().data()
        data.train["x"][77, 0, 3, 3] = torch.nan
        return data


class Bursting(MLP):
    """Experts whose output overflows after their fourth pass."""

    passes = 0

    def forward(self, rows: Tensor, load: Tensor, mask: Tensor | None = None) -> Tensor:
        self.passes += 1
        return super().forward(rows, load, mask) * (1.0 if self.passes < 5 else torch.inf)


def halved(done: float) -> float:
    """A schedule: half the rate after half of the steps."""
    return 0.5 if done >= 0.5 else 1.0


class Flat:
    """A schedule with an option."""

    def __init__(self, *, level: float) -> None:
        self.level = level

    def __call__(self, done: float) -> float:
        return self.level


class Counting(Callback):
    """A callback with an option and a state: batches, and the last accuracy in validation."""

    def __init__(self, *, step: int = 1) -> None:
        self.step = step
        self.batches = 0
        self.accuracy = -1.0

    def on_train_batch_end(self, *_: object) -> None:
        self.batches += self.step

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        self.accuracy = float(trainer.callback_metrics["val/accuracy"])

    def state_dict(self) -> dict[str, float]:
        return {"batches": self.batches, "accuracy": self.accuracy}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self.batches, self.accuracy = state["batches"], state["accuracy"]


class Losing(Callback):
    """Loses expert 1 of the first layer after a step, in the first process or in another."""

    def __init__(self, *, step: int, value: float = 0.0, rank: int = 0) -> None:
        self.step, self.value, self.rank = step, value, rank

    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, *_: object) -> None:
        if trainer.global_step == self.step and trainer.global_rank == self.rank:
            layer = next(each for each in module.modules() if isinstance(each, MoE))
            for values in layer.bank.parameters_of(1):
                values.data.fill_(self.value)
