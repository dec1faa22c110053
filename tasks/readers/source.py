"""Location of files of a user's, or of data sets of the hub."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from routers import ConfigError, OptionError

KEY = "task.data"

#: Options of files that name other data to test a trained model on.
PLACES = ("path", "hub", "format", "delimiter", "columns", "text", "label", "image")


@dataclass(frozen=True)
class Source:
    """Location of data and fractions of its split.

    Attributes:
        path: a file or folder of the user's, a pattern such as ``data/*.csv``, or a list of them,
            which are read as if they were in one folder; or
        hub: a data set of the Hugging Face hub, ``NAME`` or ``NAME:CONFIG``.
        val, test: fractions of the training rows, if the data has no such split.

    Raises:
        ConfigError: if not exactly one of ``path`` and ``hub`` is given, or a fraction is
            out of range.
    """

    places: ClassVar[tuple[str, ...] | None] = PLACES

    path: str | Sequence[str] | None = None
    hub: str | None = None
    val: float = 0.1
    test: float = 0.1

    def __post_init__(self) -> None:
        if (self.path is None) == (self.hub is None):
            given = "neither" if self.path is None else "both"
            raise ConfigError(
                f"{KEY}: {given} of path and hub is given; give one, "
                f"{KEY}.path=FILE_OR_FOLDER or {KEY}.hub=NAME"
            )
        if self.path is not None and not self.path:
            raise OptionError(f"{KEY}.path", self.path, "a file, a folder or a list of them")
        for name, value in (("val", self.val), ("test", self.test)):
            if not 0 < value < 1:
                raise OptionError(f"{KEY}.{name}", value, "a number in (0, 1)")
        if self.val + self.test >= 1:
            raise ConfigError(
                f"{KEY}: val={self.val} and test={self.test} leave no row to train on; "
                "give fractions that add up to less than 1"
            )

    @property
    def title(self) -> str:
        """The setting, as an error names it."""
        if self.hub is not None:
            return f"{KEY}.hub={self.hub}"
        several = self.path is not None and not isinstance(self.path, str)
        return f"{KEY}.path=[{','.join(self.path or ())}]" if several else f"{KEY}.path={self.path}"
