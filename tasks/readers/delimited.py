"""Comma- and tab-separated text."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .error import DataError
from .paths import read_bytes
from .sheets import Sheet
from .source import KEY


@dataclass(frozen=True)
class Dialect:
    """Dialect of delimited text.

    Attributes:
        delimiter: between fields, or None for that of the format.
        trim: leave out spaces before fields.
        columns: names of the columns where the text has no header.
    """

    delimiter: str | None = None
    trim: bool = False
    columns: Sequence[str] | None = None


def comma_separated(path: Path, dialect: Dialect) -> Sheet:
    """Fields between commas, quoted where need be (RFC 4180)."""
    return _delimited(path, dialect, dialect.delimiter or ",", csv.QUOTE_MINIMAL)


def tab_separated(path: Path, dialect: Dialect) -> Sheet:
    """Fields between tabs, never quoted: a quotation mark is text."""
    return _delimited(path, dialect, dialect.delimiter or "\t", csv.QUOTE_NONE)


def _delimited(path: Path, dialect: Dialect, delimiter: str, quoting: Literal[0, 3]) -> Sheet:
    text = read_bytes(path).removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
    reader = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=delimiter,
        quoting=quoting,
        skipinitialspace=dialect.trim,
        strict=True,
    )
    rows, lines, line = [], [], 1
    limit = csv.field_size_limit(max(len(text), 1))  # a field may be a whole book
    try:
        for row in reader:
            if row:
                rows.append(row)
                lines.append(line)
            line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"{path}, line {line}: cannot be read ({error}); fix the line or its quotes"
        ) from error
    finally:
        csv.field_size_limit(limit)
    names = dialect.columns
    if names is None:
        names = [name.strip(" \t") for name in rows.pop(0)] if rows else []
        lines = lines[1:]
    _check_fields(path, names, rows, lines)
    columns = dict(zip(names, zip(*rows, strict=True), strict=True)) if rows else {}
    return Sheet(str(path), columns, len(rows), lambda row: f"line {lines[row]}")


def _check_fields(
    path: Path, names: Sequence[str], rows: Sequence[Sequence[str]], lines: Sequence[int]
) -> None:
    for name in names:
        if names.count(name) > 1:
            raise DataError(
                f"{path}: two columns are called {name!r}; rename one in its header or, where it "
                f"has no header, name all columns with {KEY}.columns=[…]"
            )
    for row, line in zip(rows, lines, strict=True):
        if len(row) != len(names):
            raise DataError(
                f"{path}, line {line}: {len(row)} fields where {len(names)} columns are named; "
                "fix the line, its quotes or the delimiter"
            )
