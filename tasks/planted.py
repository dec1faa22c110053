"""Synthetic clusters with one best expert each: the best routing is known."""

import hashlib
import math
from itertools import repeat
from operator import itemgetter
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from routers import OptionError, Routing

from ._task import (
    TASKS,
    Backbone,
    Batch,
    Data,
    Labeling,
    Layer,
    MetricSpec,
    Score,
    Task,
    check_depth,
    class_columns,
)
from .backbones._blocks import residual

#: Points to train on, to validate with and to test with.
SIZES = (8192, 1024, 2048)


@TASKS.register("planted")
class Planted(Task):
    """Points of hidden clusters; each cluster has its own rule from point to class.

    A point is ``x = Q [m_c, z]``: the mark ``m_c`` of its cluster, content ``z ~ N(0, I)``, and a
    rotation ``Q`` that hides which is which. Its class is the largest of ``W_c z``, a rule that
    differs from cluster to cluster. No linear model of ``x`` knows the class; an expert per
    cluster does. How far a router found the clusters is ``nmi.cluster`` of a layer in
    ``result.json``: 1 if it did, about 0 if it routes without looking.

    Args:
        clusters: how many there are, all of one size.
        classes: how many there are.
        separation: length of each cluster's mark; each value of ``z`` has variance 1.
        dim: ``D``, values in a point; those beyond the clusters are content.
        depth: number of routed layers.

    >>> data = Planted().data()
    >>> data.train["x"].shape
    torch.Size([8192, 24])
    """

    score = Score("accuracy", "maximize")
    has_ids = True

    def __init__(
        self,
        *,
        clusters: int = 8,
        classes: int = 4,
        separation: float = 1.0,
        dim: int = 24,
        depth: int = 1,
    ) -> None:
        for name, value in {"clusters": clusters, "classes": classes}.items():
            if value < 2:
                raise OptionError(name, value, "an integer >= 2")
        if dim <= clusters:
            raise OptionError("dim", dim, f"an integer > clusters={clusters}")
        check_depth(depth)
        if not 0 < separation < math.inf:
            raise OptionError("separation", separation, "a finite number > 0")
        self.clusters = clusters
        self.classes = classes
        self.separation = separation
        self.dim = dim
        self.depth = depth

    def data(self) -> Data:
        random = np.random.default_rng(0)  # NumPy's stream is the same on every machine
        rotation = np.linalg.qr(random.standard_normal((self.dim, self.dim)))[0]
        rules = random.standard_normal((self.clusters, self.dim - self.clusters, self.classes))
        train, val, test = (self._draw(random, rows, rotation, rules) for rows in SIZES)
        digest = hashlib.sha256()
        for split in (train, val, test):
            # rounded: the last bits of a matrix product differ between machines
            digest.update((split["x"] * 1000).round().short().numpy().tobytes())
            digest.update(split["y"].numpy().tobytes())
        return Data("planted", digest.hexdigest(), train, val, test)

    def _draw(
        self, random: np.random.Generator, rows: int, rotation: np.ndarray, rules: np.ndarray
    ) -> Batch:
        cluster = random.permutation(np.arange(rows) % self.clusters)
        content = random.standard_normal((rows, self.dim - self.clusters))
        mark = np.eye(self.clusters)[cluster] * self.separation
        x = np.concatenate([mark, content], 1) @ rotation
        y = np.einsum("nd,ndk->nk", content, rules[cluster]).argmax(1)
        return {
            "x": torch.tensor(x, dtype=torch.float32),
            "y": torch.tensor(y),
            "cluster": torch.tensor(cluster),
        }

    def backbone(self, layer: Layer) -> Backbone:
        return _Stack(layer, dim=self.dim, depth=self.depth, classes=self.classes)

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        return F.cross_entropy(output, batch["y"])

    def measures(self) -> dict[str, MetricSpec]:
        from torchmetrics.classification import MulticlassAccuracy

        return {"accuracy": MetricSpec(MulticlassAccuracy(self.classes, average="micro"))}

    def predictions(self, output: Tensor, batch: Batch) -> dict[str, list[Any]]:
        return class_columns(
            "class", tuple(map(str, range(self.classes))), output.double().softmax(1)
        )

    def kinds(self) -> tuple[Labeling, ...]:
        return (Labeling("cluster", tuple(map(str, range(self.clusters))), itemgetter("cluster")),)

    def describe(self, batch: Batch) -> Batch:
        """``ids``: which of the first eight values are positive, as bits."""
        positive = (batch["x"][:, :8] > 0).long()
        places = torch.arange(positive.shape[1], device=positive.device)
        return {**batch, "ids": (positive << places).sum(1)}


class _Stack(Backbone):
    """Residual routed layers and a linear head; the first layer reads the points."""

    def __init__(self, layer: Layer, *, dim: int, depth: int, classes: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layer((dim,)) for _ in range(depth))
        self.head = nn.Linear(dim, classes)

    def forward(self, batch: Batch) -> tuple[Tensor, list[Routing]]:
        """``batch["x"]`` ``(B, D)`` to logits ``(B, classes)``."""
        before = repeat(nn.Identity())
        x, routings = residual(batch["x"], self.layers, before, ids=batch.get("ids"))
        return self.head(x), routings
