"""A user's own text, to be predicted byte by byte."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from torch import Tensor

from ._task import TASKS
from .bases.language import Language
from .readers import CorpusSource, Splits, read_corpus, source_of


@TASKS.register("language_model")
class LanguageModel(Language):
    """Predicts your own text byte by byte: a file or a folder of text.

    The text is read as it is, in any language or encoding: bytes need no tokenizer. Without
    files of their own the last tenth of the bytes tests, the tenth before it validates.

    A sample is a window of ``length`` bytes; each predicts the one after it. Windows overlap by
    ``context`` bytes. In training all their bytes count, so an epoch, the shuffled windows,
    meets each byte about ``length / (length - context)`` times. In evaluation each byte of the
    split but its very first counts exactly once, in the first window that reaches it, after at
    least ``context`` others except at the start. The score is the mean of ``-log2 p``.

    Args:
        data: where the text is: ``path`` of a file or folder, or ``hub`` name and ``text``
            column; and ``val`` and ``test``, the fractions to hold out.
        dim: ``D``, a multiple of ``2 * heads``.
        depth: number of blocks.
        heads: attention heads.
        length: bytes in a window.
        context: bytes that windows share.
        ngrams: lengths of the byte n-grams a byte is embedded with; ``[1]`` for bytes alone.
        buckets: rows of the embedding's table for each of these.
        ngram_dropout: chance, in training, that an n-gram of two or more bytes is not looked at.
        dropout: chance that a value of the embedding, or of the last block, is left out.
        routed: which blocks are routed, from 0; None for all. The others are dense.
        ids: how many last bytes an item's id, which hash routing looks up, stands for.
    """

    def __init__(
        self,
        *,
        data: Mapping[str, Any] = {},
        dim: int = 128,
        depth: int = 2,
        heads: int = 4,
        length: int = 256,
        context: int = 128,
        ngrams: Sequence[int] = (1, 2, 3, 4, 5),
        buckets: int = 2**14,
        ngram_dropout: float = 0.5,
        dropout: float = 0.2,
        routed: Sequence[int] | None = None,
        ids: int = 1,
    ) -> None:
        super().__init__(
            dim=dim,
            depth=depth,
            heads=heads,
            length=length,
            context=context,
            ngrams=ngrams,
            buckets=buckets,
            ngram_dropout=ngram_dropout,
            dropout=dropout,
            routed=routed,
            ids=ids,
        )
        self.source = source_of(CorpusSource, data)

    def corpus(self) -> Splits[Tensor]:
        return self.text

    @cached_property
    def text(self) -> Splits[Tensor]:
        """What was read, once."""
        return read_corpus(self.source)
