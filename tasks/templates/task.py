"""A task: data, network, loss and score."""

import hashlib
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from routers import OptionError, Routing
from tasks import TASKS, Backbone, Batch, Data, Labeling, Layer, MetricSpec, Score, Task


@TASKS.register("my_task")
class MyTask(Task):
    """Points on two rings: which ring is a point on?

    Replace this by what your task is: lists show the first line of a docstring.

    Args:
        dim: width of the routed layer.
    """

    # The score of a run, which sweeps compare; the other direction is "minimize".
    score = Score("accuracy", "maximize")
    # Samples have ids, by which hash routing knows them; see describe.
    has_ids = True
    classes = ("inner", "outer")

    # Keyword arguments are the options: task.dim=32 on the command line.
    def __init__(self, *, dim: int = 16) -> None:
        if dim < 1:
            raise OptionError("dim", dim, "an integer >= 1")
        self.dim = dim

    def data(self) -> Data:
        """Three splits, the same for every seed of a run: read files here."""
        draw = torch.Generator().manual_seed(0)
        angle = torch.rand(1200, generator=draw) * 2 * torch.pi
        y = torch.randint(2, (1200,), generator=draw)
        radius = 1 + y + 0.2 * torch.randn(1200, generator=draw)
        x = torch.stack([radius * angle.cos(), radius * angle.sin()], 1)
        rows = {"x": x, "y": y}  # named tensors with a row for each sample; y are the targets
        train, val, test = (
            {name: values[start:stop] for name, values in rows.items()}
            for start, stop in ((0, 800), (800, 1000), (1000, 1200))
        )
        # A hash of the content, so that results name what they were measured on.
        rounded = (x * 1000).round().int().numpy().tobytes()
        digest = hashlib.sha256(rounded + y.numpy().tobytes()).hexdigest()
        return Data("rings", digest, train, val, test)

    def backbone(self, layer: Layer) -> Backbone:
        """The network; ``layer`` builds routed layers as the configuration says."""
        return MyTaskNetwork(layer, self.dim, len(self.classes))

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        """Mean loss over the batch."""
        return F.cross_entropy(output, batch["y"])

    def measures(self) -> dict[str, MetricSpec]:
        """Metrics of an evaluation by name; one has the name of the score."""
        from torchmetrics.classification import MulticlassAccuracy

        return {"accuracy": MetricSpec(MulticlassAccuracy(len(self.classes), average="micro"))}

    def kinds(self) -> tuple[Labeling, ...]:
        """Labels of samples: results show which expert works on which."""
        return (Labeling("ring", self.classes, lambda batch: batch["y"]),)

    def predictions(self, output: Tensor, batch: Batch) -> dict[str, list[Any]]:
        """Columns of ``python -m tasks predict``."""
        return {"ring": [self.classes[place] for place in output.argmax(1).tolist()]}

    def describe(self, batch: Batch) -> Batch:
        """``ids``: the quadrant of a point."""
        right, up = (batch["x"] > 0).long().unbind(1)
        return {**batch, "ids": 2 * right + up}


class MyTaskNetwork(Backbone):
    """A linear map, a residual routed layer and a linear head."""

    def __init__(self, layer: Layer, dim: int, classes: int) -> None:
        super().__init__()
        self.embed = nn.Linear(2, dim)
        self.layer = layer((dim,))
        self.head = nn.Linear(dim, classes)

    def forward(self, batch: Batch) -> tuple[Tensor, list[Routing]]:
        """``batch["x"]`` ``(B, 2)`` to logits ``(B, classes)``, and a routing per layer."""
        x = self.embed(batch["x"])
        update, routing = self.layer(x, ids=batch.get("ids"))
        return self.head(x + update), [routing]
