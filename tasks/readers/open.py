"""Rows with named columns: from files, or from the hub."""

from collections.abc import Callable, Mapping
from pathlib import Path

from routers.plugins import unknown

from .error import DataError
from .hub import hub_sheets
from .parquet import parquet
from .paths import Files, digest, empty, existing, files_of, name_of, suffix_of
from .records import Dialect, comma_separated, json_lines, tab_separated
from .sheets import Sheet, Sheets
from .source import KEY, Source

#: How files are read, by the name of their format.
FORMATS: Mapping[str, Callable[[Path, Dialect], Sheet]] = {
    "csv": comma_separated,
    "tsv": tab_separated,
    "jsonl": json_lines,
    "parquet": parquet,
}

#: Formats that may lack names of columns.
DELIMITED = ("csv", "tsv")

_SUFFIXES = {
    ".csv": "csv",
    ".data": "csv",  # as UCI names them
    ".test": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
}


def open_sheets(source: Source, dialect: Dialect, format: str | None = None) -> Sheets:
    """The rows of a source.

    Raises:
        DataError: if nothing is there that can be read.
    """
    if source.hub is not None:
        return hub_sheets(source)
    if format is not None and format not in FORMATS:
        raise DataError(str(unknown(f"{KEY}.format", format, FORMATS)))
    given = existing(source)
    files = files_of(source, lambda p: format is not None or p in given or is_record_file(p))
    if not files:
        raise empty(
            source,
            "files such as train.parquet and test.parquet, or one of .csv, .tsv, .jsonl or "
            ".parquet (all but the last may end in .gz)",
        )
    return sheets_of(source, files, dialect, format)


def sheets_of(source: Source, files: Files, dialect: Dialect, format: str | None = None) -> Sheets:
    """The rows of files that are already found."""
    formats = {p: format or _format(p) for split in files.values() for p in split}
    for path, name in formats.items():
        if dialect.columns is not None and name not in DELIMITED:
            raise DataError(f"{path}: names its columns itself; leave out {KEY}.columns")
    by_split = {
        split: [FORMATS[formats[p]](p, dialect) for p in paths] for split, paths in files.items()
    }
    return Sheets(source, by_split, name_of(source), digest(files))


def is_record_file(path: Path) -> bool:
    """Whether the suffix is that of a file with named columns."""
    return suffix_of(path) in _SUFFIXES


def _format(path: Path) -> str:
    suffix = suffix_of(path)
    if suffix not in _SUFFIXES:
        raise DataError(
            f"{path}: the suffix {suffix!r} has no known format; "
            f"give {KEY}.format={'|'.join(FORMATS)}, rename the file, or leave it out"
        )
    return _SUFFIXES[suffix]
