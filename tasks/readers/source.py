"""Location of files of a user's, or of data sets of the hub."""

from dataclasses import dataclass

from routers import ConfigError, OptionError

KEY = "task.data"


@dataclass(frozen=True)
class Source:
    """Location of data and fractions of its split.

    Attributes:
        path: a file or folder of the user's; or
        hub: a data set of the Hugging Face hub, ``NAME`` or ``NAME:CONFIG``.
        val, test: fractions of the training rows, if the data has no such split.

    Raises:
        ConfigError: if not exactly one of ``path`` and ``hub`` is given, or a fraction is
            out of range.
    """

    path: str | None = None
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
        return f"{KEY}.path={self.path}" if self.hub is None else f"{KEY}.hub={self.hub}"
