"""A language model of a user's own text."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from torch import Tensor

from ._task import TASKS, Data
from .backbones import BACKBONES
from .bases.language import Language
from .readers import DataSet, Splits, choose_data, read_as

#: Bytes a second that two cores train on with two blocks, about, and epochs that this should last.
RATE, EPOCHS = 20_000, 4


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
        data: where the text is: ``path`` of files or folders, or ``hub`` name and ``text``
            column; and ``val`` and ``test``, the fractions to hold out; or ``name`` of a data
            set of ``DATA``, and its options.
        model: backbone for windows of bytes, a name or ``{name: decoder, depth: 2}``.
        length: bytes in a window.
        context: bytes that consecutive windows share.
        ids: number of last bytes that an id, the input of hash routing, stands for.
        tokenizer: a local ``tokenizer.json`` of Hugging Face, by whose tokens the text is read and
            predicted instead of by bytes, in all that is said here but the score; it must give
            back the text.
    """

    auto = ("model", "length", "context")
    coupled = ("length", "context")

    def __init__(
        self,
        *,
        data: Mapping[str, Any] | DataSet[Tensor] = {},
        model: str | Mapping[str, Any] = "decoder",
        length: int = 256,
        context: int = 128,
        ids: int = 1,
        tokenizer: str | None = None,
    ) -> None:
        super().__init__(model=model, length=length, context=context, ids=ids, tokenizer=tokenizer)
        self.source = choose_data("corpus", data)

    def corpus(self) -> Splits[Tensor]:
        return self.text

    def same_data(self) -> Mapping[str, Any]:
        return {"data": self.source}

    def recipe(self, seconds: float, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """A decoder of one block, or of more if the time allows, and windows that overlap little.

        Its n-gram embeddings do what a deeper network would need far more steps for.
        """
        train = len(self.vocabulary.running(self.text.train)[0])
        length = max(16, min(192, train // 32), 2 * given.get("task.context", 0))
        length = given.get("task.length", length)
        context = given.get("task.context", length // 6)
        windows = max(1, (train - length) // max(1, length - context))
        name = given.get("task.model", "decoder")
        depth = 1 if seconds * RATE < EPOCHS * train else 2
        small = {"dim": 96, "depth": depth, "ngram_dropout": 0.3}
        known = BACKBONES.options(name)
        return {
            "task.model": {"name": name, **{key: small[key] for key in small if key in known}},
            "task.length": length,
            "task.context": context,
            "expert": {"name": "mlp", "hidden": 192},
            "moe.num_experts": 8,
            "optimizer.name": "adamw",
            "optimizer.lr": 0.003,
            "optimizer.weight_decay": 0.05,
            "optimizer.warmup": 0.1,
            "trainer.batch_size": max(1, min(8, windows // 8)),
            "trainer.max_epochs": 6,
        }

    def other_data(self, source: Mapping[str, Any], labelled: bool) -> Data:
        other = choose_data("corpus", source)
        return self.data_of(other.read_other(self.source, self.text, labelled))

    @cached_property
    def text(self) -> Splits[Tensor]:
        """The text, read once."""
        return read_as(Tensor, self.source)
