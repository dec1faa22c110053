"""Classification of a user's own texts."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ._task import TASKS, Data, fitting_model
from .bases.text import Text
from .readers import DataError, DataSet, Splits, Texts, choose_data, read_as

#: Training steps of the recipe, about: an epoch of few texts is short.
STEPS = 2300

#: Bytes of a text that the recipe reads, at least and at most, and the share of the texts that it
#: reads whole between these.
LENGTHS, COVERED = (512, 4096), 0.99

#: Most parameters of the recipe: with many classes there are fewer buckets for n-grams.
MAX_PARAMETERS = 2**24


@TASKS.register("text_classification")
class TextClassification(Text):
    """Your own texts in classes: CSV, TSV, JSONL or Parquet, or a folder of ``.txt`` per class.

    Texts are read as bytes, in any language or encoding, and need no tokenizer. With
    ``data.group``, a column such as the language, every measure is taken in each group, the
    score is the mean over the groups, and routers may know the group as the task.

    Args:
        data: where the texts are: ``path`` of files or folders, or ``hub`` name; ``text``,
            ``label`` and ``group``, their columns; ``val`` and ``test``, the fractions to hold
            out where the data has no such split; ``columns``, all names where there is no
            header; ``delimiter``, and ``format`` of files with another suffix; or ``name`` of a
            data set of ``DATA``, and its options.
        model: backbone for texts, a name or ``{name: encoder, depth: 2}``: ``encoder`` routes
            bytes, ``bag`` and ``wide_bag`` of character n-grams route whole texts.
        ids: number of bytes that an id, the input of hash routing, stands for: the last ones at
            an item where bytes are routed, else the first ones of the text.
        max_length: bytes of a text that are read, from its start.
        label_smoothing: of the cross-entropy.
        score: ``accuracy`` or ``macro_f1``.
        tokenizer: a local ``tokenizer.json`` of Hugging Face, whose tokens are read instead of
            bytes, in all that is said here.
    """

    auto = ("model", "label_smoothing", "max_length")

    def __init__(
        self,
        *,
        data: Mapping[str, Any] | DataSet[Texts] = {},
        model: str | Mapping[str, Any] = "encoder",
        ids: int = 1,
        max_length: int = 512,
        label_smoothing: float = 0.1,
        score: str = "accuracy",
        tokenizer: str | None = None,
    ) -> None:
        super().__init__(model, ids, max_length, label_smoothing, score, tokenizer)
        self.source = choose_data("texts", data)
        self.has_tasks = self.texts.train.group is not None

    def read(self) -> Splits[Texts]:
        return read_as(Texts, self.source)

    def same_data(self) -> Mapping[str, Any]:
        return {"data": self.source}

    def recipe(self, seconds: float, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """Logistic regression on n-grams next to routed layers, of a fixed number of steps.

        Its weight decay is that of logistic regression with C = 2. It reads as much of each text
        as covers nearly all of them; a network that routes bytes costs too much for that.
        """
        train = self.texts.train
        rows = len(train.texts)
        fast = "wide_bag" if self.vocabulary.unit == "byte" else "encoder"  # it reads bytes alone
        model = fitting_model(given, fast, "encoder")
        most = 64 if rows >= 5000 else 32 if rows >= 1500 else 16
        batch = given.get("trainer.batch_size", max(1, min(most, rows // 4)))
        common = {"moe.num_experts": 8, "optimizer.warmup": 0.1, "trainer.batch_size": batch}
        if model != "wide_bag":
            return common | {
                "task.model": {"name": model},
                "task.max_length": LENGTHS[0],
                "task.label_smoothing": 0.1,
                "expert": {"name": "mlp", "hidden": 128},
                "optimizer.name": "adamw",
                "optimizer.lr": 0.003,
                "optimizer.weight_decay": 0.05,
                "trainer.max_epochs": 5,
            }
        dim, buckets = 16, 2**18 if rows >= 5000 else 2**17
        while buckets * (dim + len(train.classes)) > MAX_PARAMETERS:
            buckets //= 2
        return common | {
            "task.model": {
                "name": "wide_bag",
                "dim": dim,
                "depth": 1,
                "buckets": buckets,
                "rare": 2 if rows >= 1000 else 1,
                "ngram_dropout": 0.0,
                "dropout": 0.5,
            },
            "task.max_length": _covering([len(text) for text in train.texts]),
            "task.label_smoothing": 0.0,
            "expert": {"name": "mlp", "hidden": 32},
            "optimizer.name": "sgd",
            "optimizer.lr": 0.5,
            "optimizer.weight_decay": min(1.5 / rows, 0.01),
            "trainer.max_epochs": min(max(STEPS * batch // rows, 5), 40),
        }

    def other_data(self, source: Mapping[str, Any], labelled: bool) -> Data:
        found = choose_data("texts", source).read_other(self.source, self.texts, labelled)
        test = found.test
        if labelled and test.group is not None:
            rows = test.group.bincount(minlength=len(test.groups)).tolist()
            if 0 in rows:
                raise DataError(
                    f"{found.name}: no row has the {test.group_name} "
                    f"{test.groups[rows.index(0)]!r}, and the score is the mean over all; "
                    "add such rows"
                )
        return self.data_of(found)


def _covering(lengths: Sequence[int]) -> int:
    """The smallest power of two that is enough for nearly all texts, within ``LENGTHS``.

    >>> _covering([10] * 99 + [9000]), _covering([10] * 98 + [600] * 2), _covering([9000])
    (512, 1024, 4096)
    """
    least, most = LENGTHS
    longest = sorted(lengths)[math.ceil(COVERED * len(lengths)) - 1]
    return min(max(least, 1 << (longest - 1).bit_length()), most)
