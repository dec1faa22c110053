"""JSON, one object a line."""

import json
from pathlib import Path

from .delimited import Dialect
from .error import DataError, reading
from .paths import read_bytes
from .sheets import Sheet


def json_lines(path: Path, dialect: Dialect) -> Sheet:
    """An object a line; a key that a line lacks is a missing value."""
    text = read_bytes(path).removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
    rows, lines = [], []
    for number, line in enumerate(text.split("\n"), 1):
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
    return Sheet(str(path), columns, len(rows), lambda row: f"line {lines[row]}")
