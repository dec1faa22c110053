"""Checks of a task's data, of its batches, and of what it declares."""

import random

import numpy as np
import torch
from torch import Tensor

from routers.conformance import require, require_summary, seeded

from .._task import Batch, Score, Task
from ..loading.batches import num_rows
from .harness import TaskUnderTest

#: More samples of one split than this may occur in another by chance, beyond natural duplicates.
CHANCE = 0.01

#: Samples of a split that are compared between two builds: each may be a file.
STORED = 4096


def check_docstring(subject: TaskUnderTest) -> None:
    """The docstring has a one-line summary."""
    require_summary(type(subject.task))


def check_score(subject: TaskUnderTest) -> None:
    """The score has a name and a direction, and something measures it."""
    task = subject.task
    why = f"score is {task.score!r}"
    hint = 'declare score = Score("accuracy", "maximize"), or "minimize"'
    known = isinstance(task.score, Score) and task.score.direction in ("maximize", "minimize")
    require(known, why, hint)
    names = list(task.measures())
    computed = type(task).overall is not Task.overall
    why = f"the score {task.score.name!r} is none of the measures: {', '.join(names) or 'none'}"
    hint = "name a measure like the score, or compute it in overall"
    require(task.score.name in names or computed, why, hint)


def check_splits(subject: TaskUnderTest) -> None:
    """Every split has samples, with the same columns of the same dtypes, and targets ``y``."""
    train = subject.data.train
    hint = "return three dicts of tensors with the same names, dtypes and number of axes"
    for name, split in subject.splits():
        for column, values in split.items():
            why = f"{column} of {name} is a {type(values).__name__}"
            tensor = isinstance(getattr(values, "dtype", None), torch.dtype)
            require(tensor, why, "give tensors with one row for each sample")
        sizes = {len(values) for values in split.values()}
        why = f"columns of {name} have {sorted(sizes)} rows"
        require(len(sizes) == 1 and min(sizes) > 0, why, "give every column a row for each sample")
        require("y" in split, f"{name} has no column y", "name the targets y")
        same = split.keys() == train.keys() and all(
            (values.dtype, len(values.shape)) == (train[column].dtype, len(train[column].shape))
            for column, values in split.items()
        )
        require(same, f"{name} is {_described(split)}, train is {_described(train)}", hint)


def check_data_repeatable(subject: TaskUnderTest) -> None:
    """Two builds of the task have the same data, whatever the seed of the run is."""
    random_state, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        with seeded(12345):
            random.seed(12345)
            np.random.seed(12345)  # noqa: NPY002
            _, again = subject.fresh()
    finally:
        random.setstate(random_state)
        np.random.set_state(numpy_state)  # noqa: NPY002
    hint = "draw splits and samples from a generator with a fixed seed, in data or __init__"
    for name, split in subject.splits():
        other: Batch = getattr(again, name)
        equal = split.keys() == other.keys() and all(
            split[column].shape == other[column].shape
            and _equal(split[column][:STORED], other[column][:STORED])
            for column in split
        )
        require(equal, f"the split {name} differs between two builds of the task", hint)
    named = isinstance(subject.data.sha256, str) and subject.data.sha256 == again.sha256
    require(named and again.sha256, "sha256 differs between two builds, or is empty", hint)


def check_same_data(subject: TaskUnderTest) -> str | None:
    """A task that is built with the ``same_data`` of another has the same data."""
    given = subject.task.same_data()
    if not given:
        return "none: data is read again"
    _, again = subject.fresh(given)
    why = f"a task built with same_data ({', '.join(given)}) has other data"
    hint = "return arguments of the constructor that hold what was read, such as the data set"
    require(again.sha256 == subject.data.sha256, why, hint)
    return None


def check_splits_disjoint(subject: TaskUnderTest) -> str | None:
    """No more samples of a split occur in another than samples occur twice in the training split.

    So natural duplicates, such as equal short texts, are no leak.
    """
    if not all(isinstance(values, Tensor) for values in subject.data.train.values()):
        return "samples are read on demand"
    rows = {name: _row_hashes(split) for name, split in subject.splits()}
    train = rows["train"]
    _, counts = np.unique(train, return_counts=True)
    natural = counts[counts > 1].sum() / len(train)
    for one, other in (("val", "train"), ("test", "train"), ("test", "val")):
        shared = np.isin(rows[one], rows[other])
        spread = 3 * (natural * (1 - natural) / len(shared)) ** 0.5
        why = (
            f"{shared.mean():.1%} of the samples of {one} occur in {other} too; "
            f"{natural:.1%} of those in train occur twice"
        )
        hint = "split samples before they are cut into windows, copied or augmented"
        require(shared.mean() <= natural + spread + CHANCE, why, hint)
    return None


def check_collate(subject: TaskUnderTest) -> None:
    """``collate`` keeps samples and dtypes, is finite, and changes nothing in place."""
    dtypes: dict[str, torch.dtype] = {}
    for name, _ in subject.splits():
        batch = subject.batch(name)
        before = {column: values.clone() for column, values in batch.items()}
        found = subject.task.collate(batch)
        _require_untouched("collate", batch, before)
        _require_batch("collate", found, num_rows(batch))
        again = subject.task.collate(batch)
        why, hint = "collate gives two results for one batch", "draw random numbers in augment"
        require(all(_equal(found[column], again[column]) for column in found), why, hint)
        for column, values in found.items():
            known = dtypes.setdefault(column, values.dtype)
            why = f"collate returns {column} as {values.dtype} for {name}, and as {known} for train"
            require(values.dtype == known, why, "convert it to one dtype")


def check_augment(subject: TaskUnderTest) -> None:
    """``augment`` keeps samples and columns, and changes nothing in place."""
    batch = subject.batch()
    before = {column: values.clone() for column, values in batch.items()}
    found = subject.task.augment(batch)
    _require_untouched("augment", batch, before)
    why = f"augment returns {', '.join(found)} for {', '.join(batch)}"
    require(found.keys() == batch.keys(), why, "return {**batch, 'x': changed}")
    _require_batch("augment", subject.task.collate(found), num_rows(batch))


def check_describe(subject: TaskUnderTest) -> str | None:
    """If ``has_ids``: ``describe`` adds integer ids, and ``features`` a vector for each."""
    task = subject.task
    if not task.has_ids:
        return "not declared"
    batch = task.collate(subject.batch())
    described = task.describe(batch)
    hint = "return {**batch, 'ids': ids} with an integer for each item that its layers route"
    require("ids" in described, "describe adds no ids", hint)
    ids = described["ids"]
    whole = not (ids.is_floating_point() or ids.is_complex() or ids.dtype == torch.bool)
    require(whole, f"ids are {ids.dtype}", hint)
    fits = ids.dim() in (1, 2) and len(ids) == num_rows(batch)
    require(fits, f"ids have shape {tuple(ids.shape)} for {num_rows(batch)} samples", hint)
    kept = all(column in described and _equal(batch[column], described[column]) for column in batch)
    require(kept, "describe changes other columns than ids", hint)
    features = task.features(described)
    why = f"features have shape {tuple(features.shape)} for ids {tuple(ids.shape)}"
    right = features.shape[:-1] == ids.shape and features.dim() == ids.dim() + 1
    require(right, why, "return (*ids.shape, F): a vector of simple numbers for each id")
    hint = "return finite numbers; scale them in collate"
    require(features.double().isfinite().all(), "features are not finite", hint)
    return None


def check_labelings(subject: TaskUnderTest) -> str | None:
    """The labels of ``kinds`` are indices of their names."""
    if not subject.task.kinds():
        return "none"
    batch = subject.task.collate(subject.batch())
    for labeling in subject.task.kinds():
        labels, names = labeling.of(batch), labeling.names
        why = f"labels of {labeling.name} are {labels.dtype} in [{labels.min()}, {labels.max()}]"
        hint = f"return int64 in [0, {len(names)}), an index of the names for each sample or item"
        valid = labels.dtype == torch.int64 and labels.min() >= 0 and labels.max() < len(names)
        require(valid, why, hint)
        require(len(set(names)) == len(names), f"two labels of {labeling.name} have one name", hint)
    return None


def check_content(subject: TaskUnderTest) -> str | None:
    """``content`` has integers and ``pictures`` a picture for every sample."""
    batch = subject.task.collate(subject.batch())
    columns, pictures = subject.task.content(batch), subject.task.pictures(batch)
    rows = num_rows(batch)
    for name, values in columns.items():
        integer = not values.is_floating_point() and len(values) == rows
        why = f"the column {name} of content is {values.dtype} {tuple(values.shape)}"
        require(integer, why, f"return integers ({rows},) or ({rows}, L)")
    shown = len(pictures)
    require(shown in (0, rows), f"{shown} pictures of {rows} samples", "return one of each or none")
    for picture in pictures:
        picture.html([[0]])
    return None if columns or pictures else "none"


def _row_hashes(split: Batch) -> np.ndarray:
    """A number for each sample, equal if and (but for chance) only if all its columns are."""
    total = np.zeros(num_rows(split), dtype=np.uint64)
    draw = np.random.default_rng(0)
    for column in sorted(split):
        values = np.ascontiguousarray(split[column].contiguous().numpy())
        cells = values.reshape(len(values), -1).view(np.uint8)
        factors = draw.integers(1, 2**63, cells.shape[1], dtype=np.uint64) | np.uint64(1)
        for start in range(0, len(cells), 1024):  # in parts: each byte takes eight
            part = cells[start : start + 1024].astype(np.uint64) + np.uint64(1)
            total[start : start + 1024] += (part * factors).sum(1, dtype=np.uint64)
    return total


def _described(split: Batch) -> str:
    shown = (f"{name} {values.dtype} {tuple(values.shape)}" for name, values in split.items())
    return "; ".join(shown)


def _require_untouched(what: str, batch: Batch, before: Batch) -> None:
    same = batch.keys() == before.keys() and all(
        _equal(batch[column], before[column]) for column in before
    )
    hint = "return {**batch, 'x': new} and write no tensor in place: rows are views of the data"
    require(same, f"{what} changes the batch that it is given", hint)


def _require_batch(what: str, batch: Batch, rows: int) -> None:
    for column, values in batch.items():
        why = f"{what} gives {len(values)} rows of {column} for {rows} samples"
        require(len(values) == rows, why, "return a row for each sample")
        finite = column == "y" or values.isfinite().all()  # NaN in y marks missing labels
        hint = "replace missing values, and divide by no standard deviation of 0"
        require(finite, f"after {what} {column} is not finite", hint)


def _equal(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.equal(one.nan_to_num(), other.nan_to_num())
