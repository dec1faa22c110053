"""Experts added for something new: a class of names, and a permutation of pixels.

A mixture learns a task without one of its parts, and then the whole task, with and without
experts that the edit ``grow`` adds first. Measured are the accuracy on what it knew, before and
after, and that on what is new. Five seeds. Writes one row per arm and seed to
``benchmarks/results/edits_growing.csv`` and the table to ``docs/edits.md``.

    python benchmarks/edits/growing.py            train missing seeds, write the table
    python benchmarks/edits/growing.py --table    write the table from existing rows
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

import tasks
from benchmarks.edits.study import Study, difference, scores, train
from benchmarks.readme_tables.comparison import RESULTS, Row, markdown, write_between
from tasks import Batch, Splits, Texts
from tasks.char_names import CharNames


class NamesWithout(CharNames):
    """The task ``char_names``, without a class in training and validation.

    Args:
        without: name of the class; empty for all classes.
        model: as in ``char_names``.
    """

    def __init__(self, *, without: str = "", model: str | Mapping[str, Any] = "bag") -> None:
        super().__init__(model=model)
        self.without = without

    def read(self) -> Splits[Texts]:
        found = super().read()
        return replace(found, train=self._kept(found.train), val=self._kept(found.val))

    def _kept(self, part: Texts) -> Texts:
        kept = [part.classes[y] != self.without for y in part.y.tolist()]
        texts = [text for text, stays in zip(part.texts, kept, strict=True) if stays]
        return replace(part, texts=texts, y=part.y[torch.tensor(kept)])


class Case(NamedTuple):
    """A task: its settings, what leaves a part out, and which test samples are of that part."""

    settings: tuple[str, ...]
    without: str
    whole: str
    is_new: Callable[[Any, Batch], Tensor]


#: Symbols, a fifth of the names.
CLASS = "So"
DIGITS = ("task=permuted_digits", "router=topk", "trainer.max_epochs=10", "trainer.batch_size=64")
CASES = {
    f"names, class `{CLASS}`": Case(
        (
            *("task=benchmarks.edits.growing:NamesWithout", "expert.hidden=128", "router=topk"),
            *("trainer.max_epochs=5", "trainer.batch_size=64"),
        ),
        f"task.without={CLASS}",
        "task.without=''",
        lambda task, test: test["y"] == task.texts.train.classes.index(CLASS),
    ),
    "digits, one permutation of 8": Case(
        DIGITS,
        "task.permutations=7",
        "task.permutations=8",
        lambda task, test: test["permutation"] >= 7,
    ),
}
FURTHER = ("trainer.max_epochs=2", "trainer.batch_size=64", "optimizer.lr=0.003")
NONE = "no edit"
#: Edits before training on the whole task, by the label of their arm.
ARMS = {
    NONE: "",
    "`grow`, `how: clone`": "[{grow: {add: 2}}]",
    "`grow`, `how: split`": "[{grow: {add: 2, how: split}}]",
}


def of_seed(seed: int, folder: Path) -> list[Row]:
    """Accuracies on what was known and on what is new, before and after."""
    rows, own = list[Row](), f"seed={seed}"
    for number, (name, case) in enumerate(CASES.items()):
        start = folder / str(number)
        train(start, *case.settings, case.without, own)
        before, _ = accuracies(start, case)
        for place, (arm, edits) in enumerate(ARMS.items()):
            out = folder / f"{number}-{place}"
            init = [f"init.from={start}", f"init.edits={edits}"] if edits else [f"init={start}"]
            train(out, *([] if edits else case.settings), *init, *FURTHER, case.whole, own)
            old, new = accuracies(out, case)
            rows.append({"arm": f"{name}: {arm}", "before": before, "old": old, "new": new})
    return rows


def accuracies(folder: Path, case: Case) -> tuple[float, float]:
    """Accuracy of a run on the test samples that are not new, and on those that are, if any."""
    run = tasks.load(folder)
    (labels,) = (each for each in run.task.kinds() if each.name == "class")
    found = torch.tensor([labels.names.index(name) for name in run.predict()["class"]])
    right, is_new = found == run.data.test["y"], case.is_new(run.task, run.data.test)
    old, new = (float(right[chosen].double().mean()) for chosen in (~is_new, is_new))
    return old, new


STUDY = Study(RESULTS / "edits_growing.csv", range(5), of_seed)
HEADINGS = (
    *("new", "before training on it", "known, before", "known, after", "change"),
    *("new, after", "less without growth"),
)


def table() -> str:
    """The rows as a Markdown table, accuracies in percent, differences paired by seed."""
    lines = list[list[str]]()
    for name in CASES:
        control = _percent(f"{name}: {NONE}")
        for arm in ARMS:
            rows = _percent(f"{name}: {arm}")
            before = [{"old": row["before"]} for row in rows]
            cells = [scores(rows, "before", 2), scores(rows, "old", 2)]
            cells += [difference(rows, before, "old", 2), scores(rows, "new", 2)]
            lines.append([name, arm, *cells, difference(rows, control, "new", 2)])
    return markdown(HEADINGS, lines)


def _percent(arm: str) -> list[Row]:
    shares = ("before", "old", "new")
    return [{name: 100 * float(row[name]) for name in shares} for row in STUDY.of(arm)]


if __name__ == "__main__":
    STUDY.run_command(__doc__, lambda: write_between("edits.md", "growing", table()))
