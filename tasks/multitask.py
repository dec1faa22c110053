"""Several targets of the rows of a table of yours."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from routers import ConfigError
from routers.plugins import unknown

from ._task import TASKS, Baseline, Batch, Data, check_counts, check_rates
from .backbones._tabular import Numbers, TableEncoder, ViewsEncoder, encode_numbers, fit_numbers
from .baselines.boosting import boosting
from .bases.multi_target import MultiTask
from .multi_target.targets import Target
from .readers import DataError, DataSet, Splits, Table, choose_data, read_as

#: Different labels that the scores of each kind of target need: AUC ranks one class above another.
MIN_LABELS = {"binary": 2, "classes": 1, "number": 1}

#: Training steps of the recipe, about: an epoch of few rows is short.
STEPS = 1250


@TASKS.register("multitask")
class TableTargets(MultiTask):
    """Any number of targets from a table with declared columns: CSV, TSV, JSONL or Parquet.

    Categories become vectors, numbers pieces of lines (quantile bins); both mark missing
    values, and are fitted on training rows alone. The sum over columns is routed, a row at a
    time. With ``sharing=views`` each group of columns in ``data.views`` is summed by itself and
    has its own expert.

    Args:
        data: where the table is, ``path`` of files or folders or ``hub`` name, and what its columns
            are: features that are ``categorical`` or ``numeric``; ``targets`` by name, each
            ``{column, kind, positive, negative}`` with a kind of ``classes``, ``binary`` (with
            the values that are 1, or those that are 0) or ``number``; ``views``, named groups of
            features; ``columns``, all names where there is no header; ``missing``, texts that
            mean a value is missing; ``rare``, a category in fewer training rows counts as
            unseen; ``rows`` to train on at most; ``val`` and ``test``, the fractions to hold
            out; ``delimiter``, and ``format`` of files with another suffix; or ``name`` of a
            data set of ``DATA``, and its options.
        dim: width of the representation and of the experts.
        depth: layers of the trunk.
        sharing: how targets share it, a name or ``{name: ple, own: 2}``: ``mmoe``, ``ple``,
            ``views``, ``shared_bottom`` or ``single``.
        tower: hidden width of a target's tower.
        dropout: probability of zeroing what a tower reads.
        column_dropout: probability of zeroing a column in training.
        bins: of each numeric column.
        ids: the categorical column that hash routing looks up; null for that with most categories.
        weighting: how losses become one: ``fixed``, ``uncertainty``, or by their gradients, as
            ``mgda``, ``cagrad`` and ``upgrad``; ``--list`` shows all.
        weights: factors of the losses by target; 1 for those not named.
    """

    part_defaults: ClassVar = {"sharing": {"own": 2}}

    def __init__(
        self,
        *,
        data: Mapping[str, Any] | DataSet[Table] = {},
        dim: int = 64,
        depth: int = 1,
        sharing: str | Mapping[str, Any] = "mmoe",
        tower: int = 32,
        dropout: float = 0.1,
        column_dropout: float = 0.1,
        bins: int = 16,
        ids: str | None = None,
        weighting: str | Mapping[str, Any] = "fixed",
        weights: dict[str, float] = {},
    ) -> None:
        self.source = choose_data("table", data)
        train = self.table.train
        self.outputs = train.target_names
        self.has_ids = bool(train.categorical_names)
        super().__init__(dim, depth, sharing, tower, dropout, weighting, weights)
        check_rates(column_dropout=column_dropout)
        check_counts(bins=bins)
        if ids is not None and ids not in train.categorical_names:
            raise unknown("ids", ids, train.categorical_names)
        shows_views = self.sharing[0] == "views"
        if shows_views and not train.views:
            raise ConfigError(
                "task.sharing=views: no views are declared; give groups of columns, "
                "task.data.views={NAME: [COLUMN, …], …}"
            )
        self.views: Mapping[str, Sequence[str]] = train.views if shows_views else {}
        self.num_views = len(self.views)
        self.column_dropout = column_dropout
        self.bins = bins
        self.ids = ids

    def same_data(self) -> Mapping[str, Any]:
        return {"data": self.source}

    def recipe(self, seconds: float, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """Small experts, and batches that leave a fixed number of steps."""
        rows = len(self.table.train.targets)
        most = min(max(rows // 160, 16), 512)
        batch = min(2 ** (most.bit_length() - 1), rows)
        batch = given.get("trainer.batch_size", batch)
        return {
            "expert": {"name": "mlp", "hidden": 64},
            "moe.num_experts": 8,
            "optimizer.name": "adamw",
            "optimizer.lr": 0.002,
            "optimizer.weight_decay": 0.05,
            "optimizer.warmup": 0.1,
            "trainer.batch_size": batch,
            "trainer.max_epochs": min(max(STEPS * batch // rows, 8), 40),
        }

    def baseline(self, data: Data) -> Baseline:
        sizes = self.table.train.cardinalities
        return boosting(self, self.targets, sizes, data)

    def data(self) -> Data:
        table = self.table
        for split in ("val", "test"):
            _check_judged(table.name, split, getattr(table, split))
        return table.data(_batch)

    def other_data(self, source: Mapping[str, Any], labelled: bool) -> Data:
        table = choose_data("table", source).read_other(self.source, self.table, labelled)
        if labelled:
            _check_judged(table.name, "test", table.test)
            for target, labels in zip(self.targets, table.test.targets.unbind(1), strict=True):
                if target.complete and labels.isnan().any():
                    raise DataError(
                        f"{table.name}: {int(labels.isnan().sum())} rows lack target "
                        f"{target.name!r}, which every row of the training data has; fill or "
                        "remove them"
                    )
        return table.data(_batch)

    @cached_property
    def targets(self) -> tuple[Target, ...]:
        table = self.table
        missing = [part.targets.isnan().any(0) for part in (table.train, table.val, table.test)]
        complete = (~torch.stack(missing).any(0)).tolist()
        train, labels = table.train, table.train.targets.unbind(1)
        described = (train.target_names, train.target_kinds, train.target_classes)
        return tuple(map(_target, *described, labels, complete))

    def encoder(self) -> nn.Module:
        if not self.views:
            train = self.table.train
            return self._encoder((*train.categorical_names, *train.numeric_names))
        return ViewsEncoder([self._encoder(columns) for columns in self.views.values()])

    def describe(self, batch: Batch) -> Batch:
        train = self.table.train
        sizes = dict(zip(train.categorical_names, train.cardinalities, strict=True))
        column = max(sizes, key=sizes.__getitem__) if self.ids is None else self.ids
        return {**batch, "ids": batch["categorical"][:, train.categorical_names.index(column)]}

    def features(self, batch: Batch) -> Tensor:
        """Codes as fractions of their columns' number of codes, and the encoded numbers."""
        codes = batch["categorical"] / torch.tensor(self.table.train.cardinalities)
        numbers = encode_numbers(batch["x"], batch["missing"], self.numbers)
        return torch.cat([codes, numbers.flatten(1)], 1)

    @cached_property
    def table(self) -> Splits[Table]:
        """The table, read once."""
        return read_as(Table, self.source)

    @cached_property
    def numbers(self) -> Numbers:
        """Statistics of numeric columns in the training split."""
        return fit_numbers(self.table.train.numeric, self.bins)

    def _encoder(self, columns: Sequence[str]) -> TableEncoder:
        train = self.table.train
        categorical = [i for i, name in enumerate(train.categorical_names) if name in columns]
        numeric = [i for i, name in enumerate(train.numeric_names) if name in columns]
        return TableEncoder(
            [train.cardinalities[i] for i in categorical],
            self.numbers.of(numeric),
            categorical=categorical,
            numeric=numeric,
            dim=self.dim,
            dropout=self.column_dropout,
        )


def _batch(table: Table) -> dict[str, Tensor]:
    return {
        "x": table.numeric.nan_to_num(0.0),
        "missing": table.numeric.isnan(),
        "categorical": table.categorical,
        "y": table.targets,
    }


def _target(
    name: str, kind: str, classes: tuple[str, ...], labels: Tensor, complete: bool
) -> Target:
    known = labels[~labels.isnan()].double()
    mean = float(known.mean())
    scale = float((known - mean).abs().mean())
    return Target(name, kind, classes, mean, scale or 1.0, complete)


def _check_judged(title: str, split: str, table: Table) -> None:
    """Refuse targets for which the rows of a split have too few distinct labels to score."""
    of_each = zip(table.target_names, table.target_kinds, table.targets.unbind(1), strict=True)
    for name, kind, labels in of_each:
        found = len(torch.unique(labels[~labels.isnan()]))
        if found < MIN_LABELS[kind]:
            raise DataError(
                f"{title}: the {len(labels)} rows of {split} hold {found} of the "
                f"{MIN_LABELS[kind]} values that the score of target {name!r} needs; give more "
                f"rows, a larger task.data.{split}, or take the target out"
            )
