"""Classification of Unicode character names."""

from collections.abc import Mapping
from typing import Any, ClassVar

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
        model, ids, max_length, label_smoothing, score: as in ``text_classification``.

    >>> len(CharNames().data().train["y"])
    10308
    """

    part_defaults: ClassVar = {
        "model": {
            "depth": 1,
            "ngrams": (1, 2, 3, 4, 5, 6),
            "buckets": 2**16,
            "rare": 1,
            "dropout": 0.1,
        }
    }

    def __init__(
        self,
        *,
        model: str | Mapping[str, Any] = "bag",
        ids: int = 1,
        max_length: int = 128,
        label_smoothing: float = 0.05,
        score: str = "accuracy",
    ) -> None:
        super().__init__(model, ids, max_length, label_smoothing, score)

    def read(self) -> Splits[Texts]:
        found = read_names()
        category = found.properties["category"]

        def take(places: Tensor) -> Texts:
            names = [found.names[place] for place in places.tolist()]
            return Texts(names, category.y[places], category.classes)

        parts = map(take, (found.train, found.val, found.test))
        return Splits("char_names", found.sha256, found.split_sha256, *parts)
