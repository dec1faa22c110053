"""Names of characters, to be told apart by what the characters are."""

from collections.abc import Sequence

from torch import Tensor

from ._task import TASKS
from .bases.text import Text
from .readers import Splits, Texts
from .text.unicode_names import read_names


@TASKS.register("char_names")
class CharNames(Text):
    """From a character's Unicode name to its general category: one of 26, such as ``Lu`` or ``Sm``.

    12,886 names, those of Unicode 3.2 that are not made by rule, from Python's own
    ``unicodedata``: the same with every version of Python. 80, 10 and 10% train, validate and
    test. The category ``Lo`` has 39% of them.

    Args:
        model: ``encoder`` (routes bytes), ``bag`` of character n-grams (routes whole names), or
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
        max_length: bytes of a name that are read, from its start.
        label_smoothing: of the cross-entropy.
        score: ``accuracy`` or ``macro_f1``.

    >>> len(CharNames().data().train["y"])
    10308
    """

    def __init__(
        self,
        *,
        model: str = "bag",
        dim: int = 64,
        depth: int = 1,
        heads: int = 4,
        ngrams: Sequence[int] = (1, 2, 3, 4, 5, 6),
        buckets: int = 2**16,
        rare: int = 1,
        ngram_dropout: float = 0.5,
        dropout: float = 0.1,
        routed: Sequence[int] | None = None,
        ids: int = 1,
        max_length: int = 128,
        label_smoothing: float = 0.05,
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

    def read(self) -> Splits[Texts]:
        found = read_names()
        category = found.properties["category"]

        def take(places: Tensor) -> Texts:
            names = [found.names[place] for place in places.tolist()]
            return Texts(names, category.y[places], category.classes, None, ())

        parts = map(take, (found.train, found.val, found.test))
        return Splits("char_names", found.sha256, found.split_sha256, *parts)
