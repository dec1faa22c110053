"""The loss of a task blended with the divergence from a teacher."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .._task import Backbone, Batch, Task


class Distillation:
    """A teacher, in evaluation and without gradients, and its share of a loss.

    No module of the network that learns holds it: it is in neither parameters nor checkpoints.

    Args:
        teacher: a trained network.
        prepare: makes a batch of samples as the teacher takes it.
        weight: share of the divergence in the loss, in [0, 1].
        temperature: of the divergence.
    """

    def __init__(
        self,
        teacher: Backbone,
        prepare: Callable[[Batch], Batch],
        weight: float,
        temperature: float,
    ) -> None:
        self.teacher = teacher.eval().requires_grad_(False)
        self.prepare = prepare
        self.weight = weight
        self.temperature = temperature

    def place(self, like: Tensor) -> None:
        """Move the teacher to the device, and to the type, of a parameter."""
        self.teacher.to(like.device, like.dtype)

    def blend(
        self, task_loss: Tensor, task: Task, output: Any, batch: Batch, samples: Batch
    ) -> Tensor:
        """The loss of a step: ``(1 - weight) task_loss + weight divergence``.

        Args:
            task_loss: that of the task.
            task: compares outputs.
            output: of the network that learns, for ``batch``.
            batch: prepared samples.
            samples: the same before ``collate``.
        """
        with torch.no_grad():
            wanted, _ = self.teacher(self.prepare(samples))
        divergence = task.distillation_loss(output, wanted, batch, self.temperature)
        return (1 - self.weight) * task_loss + self.weight * divergence
