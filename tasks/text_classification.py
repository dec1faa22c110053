"""A user's own texts, to be told apart by their bytes."""

from collections.abc import Mapping, Sequence
from typing import Any

from ._task import TASKS
from .bases.text import Text
from .readers import Splits, Texts, TextSource, read_texts, source_of


@TASKS.register("text_classification")
class TextClassification(Text):
    """Your own texts in classes: CSV, TSV, JSONL or Parquet, or a folder of ``.txt`` per class.

    Texts are read as bytes, in any language or encoding, and need no tokenizer. With
    ``data.group``, a column such as the language, every measure is taken in each group, the
    score is the mean over the groups, and routers may know the group as the task.

    Args:
        data: where the texts are: ``path`` of a file or folder, or ``hub`` name; ``text``,
            ``label`` and ``group``, their columns; ``val`` and ``test``, the fractions to hold
            out where the data has no such split; ``format`` where the suffix does not say it.
        model: ``encoder`` (routes bytes), ``bag`` of character n-grams (routes whole texts), or
            ``wide_bag``, a bag with logistic regression beside it (for ``optimizer.name=sgd``).
        dim: ``D``, a multiple of ``2 * heads``.
        depth: number of blocks.
        heads: attention heads of ``encoder``.
        ngrams: lengths of the n-grams, of ``encoder`` in bytes, of bags in characters.
        buckets: rows of the table of n-grams; of ``encoder`` for each length.
        rare: of bags, an n-gram that fewer training texts hold counts as never met: what one
            text alone has helps to learn it by heart.
        ngram_dropout: chance, in training, that an n-gram is not looked at.
        dropout: chance that a value is left out.
        routed: which blocks of ``encoder`` are routed, from 0; None for all.
        ids: how many bytes an id, which hash routing looks up, stands for: of ``encoder`` the
            last ones at an item, of bags the first of the text.
        max_length: bytes of a text that are read, from its start.
        label_smoothing: of the cross-entropy.
        score: ``accuracy`` or ``macro_f1``.
    """

    def __init__(
        self,
        *,
        data: Mapping[str, Any] = {},
        model: str = "encoder",
        dim: int = 64,
        depth: int = 2,
        heads: int = 4,
        ngrams: Sequence[int] = (1, 2, 3, 4, 5),
        buckets: int = 2**13,
        rare: int = 2,
        ngram_dropout: float = 0.5,
        dropout: float = 0.2,
        routed: Sequence[int] | None = None,
        ids: int = 1,
        max_length: int = 512,
        label_smoothing: float = 0.1,
        score: str = "accuracy",
    ) -> None:
        super().__init__(
            model=model,
            dim=dim,
            depth=depth,
            heads=heads,
            ngrams=ngrams,
            buckets=buckets,
            rare=rare,
            ngram_dropout=ngram_dropout,
            dropout=dropout,
            routed=routed,
            ids=ids,
            max_length=max_length,
            label_smoothing=label_smoothing,
            score=score,
        )
        self.source = source_of(TextSource, data)
        self.has_tasks = self.source.group is not None
        self.group_name = self.source.group or self.group_name

    def read(self) -> Splits[Texts]:
        return read_texts(self.source)
