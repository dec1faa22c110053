"""Rows of text files: comma- and tab-separated, and JSON lines."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from routers import OptionError

from .error import DataError, reading
from .header import header_hint, starts_with_index
from .paths import read_text
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


def check_delimiter(delimiter: str | None) -> None:
    """Raise ``OptionError`` for a delimiter that is not one character."""
    if delimiter is not None and len(delimiter) != 1:
        raise OptionError(f"{KEY}.delimiter", delimiter, "one character")


def comma_separated(path: Path, dialect: Dialect) -> Sheet:
    """Fields between commas, quoted where need be (RFC 4180)."""
    return _delimited(path, dialect, dialect.delimiter or ",", csv.QUOTE_MINIMAL)


def tab_separated(path: Path, dialect: Dialect) -> Sheet:
    """Fields between tabs, never quoted: a quotation mark is text."""
    return _delimited(path, dialect, dialect.delimiter or "\t", csv.QUOTE_NONE)


def json_lines(path: Path, dialect: Dialect) -> Sheet:
    """An object a line; a key that a line lacks is a missing value."""
    rows, lines = [], []
    for number, line in enumerate(_text(path).split("\n"), 1):
        if not line.strip():
            continue
        with reading(f"{path}, line {number}"):
            row = json.loads(line)
        if not isinstance(row, dict):
            raise DataError(
                f"{path}, line {number}: expected an object such as "
                f'{{"text": "…", "label": 1}}, got {type(row).__name__}'
            )
        rows.append(row)
        lines.append(number)
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {name: [row.get(name) for row in rows] for name in names}
    return _sheet(path, columns, lines)


def _text(path: Path) -> str:
    return read_text(path).removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")


def _sheet(
    path: Path, columns: Mapping[str, Sequence[Any]], lines: Sequence[int], hint: str = ""
) -> Sheet:
    return Sheet(str(path), columns, len(lines), lambda row: f"line {lines[row]}", hint=hint)


def _delimited(path: Path, dialect: Dialect, delimiter: str, quoting: Literal[0, 3]) -> Sheet:
    text = _text(path)
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
    names, hint = dialect.columns, ""
    first = [name.strip(" \t") for name in rows[0]] if rows else []
    if names is None:
        names, rows, lines = first, rows[1:], lines[1:]
    elif first == list(names):
        raise DataError(
            f"{path}, line {lines[0]}: the first line holds these names; leave out {KEY}.columns"
        )
    _check_fields(path, names, rows, lines)
    if dialect.columns is None:
        if starts_with_index(names, rows):
            names, rows = names[1:], [row[1:] for row in rows]
        hint = header_hint(names, rows)
    columns = dict(zip(names, zip(*rows, strict=True), strict=True)) if rows else {}
    return _sheet(path, columns, lines, hint)


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
