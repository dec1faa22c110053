"""Options of ``task.data``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

from routers import ConfigError, OptionError
from routers.plugins import check_options, unknown

from .._task import keys_complete

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


@dataclass(frozen=True)
class ImageSource(Source):
    """Images.

    Attributes:
        image, label: their columns in Parquet; the hub's usual names are found by themselves.
        channels: 1 or 3 to convert every image to gray or colour; else all must be as the first.
    """

    image: str | None = None
    label: str | None = None
    channels: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.channels not in (None, 1, 3):
            raise OptionError(f"{KEY}.channels", self.channels, "1 (gray), 3 (colour) or null")


@dataclass(frozen=True)
class TextSource(Source):
    """Labelled texts.

    Attributes:
        text, label: their columns.
        group: column to score by group, such as the language; or None.
        format: of files with another suffix: ``csv``, ``tsv``, ``jsonl``, ``parquet``.
    """

    text: str = "text"
    label: str = "label"
    group: str | None = None
    format: str | None = None


@dataclass(frozen=True)
class CorpusSource(Source):
    """Running text.

    Attributes:
        text: the column that holds it, for a data set of the hub.
    """

    text: str = "text"


@dataclass(frozen=True)
class TargetColumn:
    """A target column of a table.

    Attributes:
        column: its name.
        kind: ``binary``, ``classes`` or ``number``.
        positive: of a binary target, the value or values that are 1; all others are 0.
        negative: or those that are 0; all others are 1.
    """

    column: str
    kind: str = "classes"
    positive: Any = None
    negative: Any = None

    KINDS: ClassVar[tuple[str, ...]] = ("binary", "classes", "number")


@dataclass(frozen=True)
class TableSource(Source):
    """A table with declared columns.

    Attributes:
        categorical, numeric: columns that are features.
        targets: by name, each with the fields of ``TargetColumn``.
        views: named groups of feature columns, each a separate input; may be empty.
        columns: names of all columns, for delimited text without a header.
        delimiter: between columns of delimited text; None for that of the suffix.
        missing: fields that mean a value is missing, as an empty one always does.
        rare: a category in fewer training rows than this counts as unseen.
        rows: train on at most so many rows, or on all.
        format: of files with another suffix: ``csv``, ``tsv``, ``jsonl``, ``parquet``.
    """

    categorical: Sequence[str] = ()
    numeric: Sequence[str] = ()
    targets: Mapping[str, Any] = field(default_factory=dict)
    views: Mapping[str, Any] = field(default_factory=dict)
    columns: Sequence[str] | None = None
    delimiter: str | None = None
    missing: Sequence[str] = ("?",)
    rare: int = 1
    rows: int | None = None
    format: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.delimiter is not None and len(self.delimiter) != 1:
            raise OptionError(f"{KEY}.delimiter", self.delimiter, "one character")
        if self.rare < 1:
            raise OptionError(f"{KEY}.rare", self.rare, "an integer >= 1")
        if self.rows is not None and self.rows < 1:
            raise OptionError(f"{KEY}.rows", self.rows, "an integer >= 1, or null")
        if not self.features:
            raise ConfigError(
                f"{KEY}: no column is declared as a feature; give {KEY}.categorical=[NAME, …] "
                f"or {KEY}.numeric=[NAME, …]"
            )
        _check_repeats("categorical and numeric", self.features)
        if not self.targets:
            raise ConfigError(
                f"{KEY}.targets: none is declared; give {KEY}.targets.NAME.column=COLUMN"
            )
        for name, target in self.specs.items():
            if target.column in self.features:
                raise ConfigError(
                    f"{KEY}.targets.{name}.column={target.column}: is a feature too, which would "
                    f"give the answer away; take it out of {KEY}.categorical and {KEY}.numeric"
                )
        for view, columns in self.views.items():
            _check_view(view, columns, self.features)

    @property
    def features(self) -> tuple[str, ...]:
        """All feature columns, categorical first."""
        return (*self.categorical, *self.numeric)

    @property
    def specs(self) -> dict[str, TargetColumn]:
        """The targets, checked."""
        return {name: _target(f"{KEY}.targets.{name}", t) for name, t in self.targets.items()}


S = TypeVar("S", bound=Source)


def source_of(kind: type[S], options: Mapping[str, Any], key: str = KEY) -> S:
    """A source made of what the user wrote under ``key``.

    Args:
        kind: which source.
        options: its fields.
        key: where the user wrote them.

    Raises:
        ConfigError: naming the key, the value, what is allowed and the nearest match.

    >>> source_of(ImageSource, {"path": "photos", "val": 0.2}).val
    0.2
    """
    with keys_complete():
        check_options(key, kind, options, skip=0)
        return kind(**options)


def _target(key: str, options: Any) -> TargetColumn:
    if not isinstance(options, Mapping):
        raise OptionError(key, options, "a mapping such as {column: NAME, kind: binary}")
    check_options(key, TargetColumn, options, skip=0)
    target = TargetColumn(**options)
    if target.kind not in TargetColumn.KINDS:
        raise unknown(f"{key}.kind", target.kind, TargetColumn.KINDS)
    sides = [side for side in ("positive", "negative") if getattr(target, side) is not None]
    if len(sides) > 1:
        raise ConfigError(f"{key}: positive and negative are both given; give one of them")
    if sides and target.kind != "binary":
        raise ConfigError(
            f"{key}.{sides[0]}: goes with kind=binary, not {target.kind}; "
            f"give {key}.kind=binary or leave it out"
        )
    return target


def _check_view(view: str, columns: Any, features: Sequence[str]) -> None:
    key = f"{KEY}.views.{view}"
    if isinstance(columns, str) or not isinstance(columns, Sequence) or not columns:
        raise OptionError(key, columns, "a list of feature columns")
    for column in columns:
        if column not in features:
            raise unknown(key, column, features)
    _check_repeats(f"views.{view}", columns)


def _check_repeats(name: str, columns: Sequence[str]) -> None:
    for column in columns:
        if columns.count(column) > 1:
            raise ConfigError(f"{KEY}.{name}: {column!r} is named twice; name it once")
