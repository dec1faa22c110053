"""A language model of a user's own text."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from torch import Tensor

from ._task import TASKS, Data
from .bases.language import Language
from .readers import CorpusSource, Splits, read_corpus, read_other_corpus, source_of


@TASKS.register("language_model")
class LanguageModel(Language):
    """Predicts your own text byte by byte: a file or a folder of text.

    The text is read as it is, in any language or encoding: bytes need no tokenizer. Without
    separate files the last tenth of the bytes tests, the tenth before it validates.

    A sample is a window of ``length`` bytes; each predicts the one after it. Windows overlap by
    ``context`` bytes. In training all their bytes count, so an epoch, the shuffled windows,
    meets each byte about ``length / (length - context)`` times. In evaluation each byte of the
    split but its very first counts exactly once, in the first window that reaches it, after at
    least ``context`` others except at the start. The score is the mean of ``-log2 p``.

    Args:
        data: where the text is: ``path`` of a file or folder, or ``hub`` name and ``text``
            column; and ``val`` and ``test``, the fractions to hold out.
        model: backbone for windows of bytes, a name or ``{name: decoder, depth: 2}``.
        length: bytes in a window.
        context: bytes that consecutive windows share.
        ids: number of last bytes that an id, the input of hash routing, stands for.
    """

    def __init__(
        self,
        *,
        data: Mapping[str, Any] = {},
        model: str | Mapping[str, Any] = "decoder",
        length: int = 256,
        context: int = 128,
        ids: int = 1,
    ) -> None:
        super().__init__(model=model, length=length, context=context, ids=ids)
        self.source = source_of(CorpusSource, data)

    def corpus(self) -> Splits[Tensor]:
        return self.text

    def other_data(self, source: Mapping[str, Any], labelled: bool) -> Data:
        return self.data_of(read_other_corpus(source_of(CorpusSource, source), self.text))

    @cached_property
    def text(self) -> Splits[Tensor]:
        """The text, read once."""
        return read_corpus(self.source)
