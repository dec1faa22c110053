"""The contract of a data set, which ``task.data.name`` chooses."""

from abc import ABC, abstractmethod
from functools import cached_property
from typing import Any, ClassVar, Generic, TypeVar

from routers import ConfigError

from .error import DataError
from .source import KEY
from .split import Splits

T = TypeVar("T")


class DataSet(ABC, Generic[T]):
    """A data set; the constructor's arguments are its options, ``task.data.OPTION``.

    What it reads decides which tasks it is for: ``Images`` for ``image``, ``Texts`` for
    ``text_classification``, a ``Table`` for ``multitask``, and a tensor of bytes, ``(bytes,)``
    uint8, for ``language_model``. Invalid options raise ``OptionError`` with their bare name.

    Class attributes:
        places: options that may name other data to test a trained model on, or None for all; the
            rest was fitted to training data.
    """

    places: ClassVar[tuple[str, ...] | None] = None

    @abstractmethod
    def read(self) -> Splits[T]:
        """The samples of each split, the same at every call; ``Splits.of`` makes them."""

    @cached_property
    def splits(self) -> Splits[T]:
        """The result of ``read``, read once."""
        return self.read()

    def read_other(self, trained: "DataSet[T]", known: Splits[T], labelled: bool) -> Splits[T]:
        """The splits of a training, but with this data to test on.

        This is its test split if it comes with one, else all of it. Classes, and whatever else
        was fitted to training data, stay as they were.

        Args:
            trained: the data set of the training.
            known: what it read.
            labelled: False if this data needs no labels.
        """
        raise ConfigError(
            f"{type(self).__name__}: this data set cannot replace data to test on, because it "
            "defines no read_other"
        )


def read_as(kind: type[T], data: DataSet[Any]) -> Splits[T]:
    """Read a data set for a task that works on samples of type ``kind``.

    Raises:
        ConfigError: if they are of another type.
    """
    found = data.splits
    if not isinstance(found.train, kind):
        raise DataError(
            f"{KEY}.name: {type(data).__name__} reads {type(found.train).__name__}, and this task "
            f"needs {kind.__name__}; choose another data set or another task"
        )
    return found
