"""Classification of a user's own texts."""

from collections.abc import Mapping
from typing import Any

from ._task import TASKS, Data
from .bases.text import Text
from .readers import (
    DataError,
    Splits,
    Texts,
    TextSource,
    read_other_texts,
    read_texts,
    source_of,
)


@TASKS.register("text_classification")
class TextClassification(Text):
    """Your own texts in classes: CSV, TSV, JSONL or Parquet, or a folder of ``.txt`` per class.

    Texts are read as bytes, in any language or encoding, and need no tokenizer. With
    ``data.group``, a column such as the language, every measure is taken in each group, the
    score is the mean over the groups, and routers may know the group as the task.

    Args:
        data: where the texts are: ``path`` of a file or folder, or ``hub`` name; ``text``,
            ``label`` and ``group``, their columns; ``val`` and ``test``, the fractions to hold
            out where the data has no such split; ``format`` of files with another suffix.
        model: backbone for texts, a name or ``{name: encoder, depth: 2}``: ``encoder`` routes
            bytes, ``bag`` and ``wide_bag`` of character n-grams route whole texts.
        ids: number of bytes that an id, the input of hash routing, stands for: the last ones at
            an item where bytes are routed, else the first ones of the text.
        max_length: bytes of a text that are read, from its start.
        label_smoothing: of the cross-entropy.
        score: ``accuracy`` or ``macro_f1``.
    """

    def __init__(
        self,
        *,
        data: Mapping[str, Any] = {},
        model: str | Mapping[str, Any] = "encoder",
        ids: int = 1,
        max_length: int = 512,
        label_smoothing: float = 0.1,
        score: str = "accuracy",
    ) -> None:
        super().__init__(model, ids, max_length, label_smoothing, score)
        self.source = source_of(TextSource, data)
        self.has_tasks = self.source.group is not None
        self.group_name = self.source.group or self.group_name

    def read(self) -> Splits[Texts]:
        return read_texts(self.source)

    def other_data(self, source: Mapping[str, Any], labelled: bool) -> Data:
        named = source_of(TextSource, source)
        found = read_other_texts(named, self.texts, labelled)
        if labelled and found.test.group is not None:
            rows = found.test.group.bincount(minlength=len(found.test.groups)).tolist()
            if 0 in rows:
                group = found.test.groups[rows.index(0)]
                raise DataError(
                    f"{named.title}: no row has the {self.group_name} {group!r}, and the score is "
                    "the mean over all; add such rows"
                )
        return self.data_of(found)
