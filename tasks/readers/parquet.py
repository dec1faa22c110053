"""Parquet and Arrow tables."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .error import needed, reading
from .growth import check_growth
from .paths import empty_file
from .records import Dialect
from .sheets import Sheet


def parquet(path: Path, dialect: Dialect) -> Sheet:
    """A Parquet file; columns are read when they are asked for."""
    pq = needed("pyarrow.parquet", "data", str(path))
    if not path.stat().st_size:
        raise empty_file(path)
    with reading(path):
        file = pq.ParquetFile(path)
        about = file.metadata
        schema, rows = file.schema_arrow, about.num_rows
        unpacked = sum(about.row_group(i).total_byte_size for i in range(about.num_row_groups))
        check_growth(path, path.stat().st_size, unpacked, "save it uncompressed")

    def read(name: str) -> Any:
        with reading(f"{path}, column {name!r}"):
            return file.read([name], use_threads=False).column(name)

    return arrow_sheet(str(path), schema, rows, read)


def arrow_sheet(title: str, schema: Any, rows: int, read: Callable[[str], Any]) -> Sheet:
    """A sheet over Arrow columns, which ``read`` returns by name when they are asked for."""
    columns = _Columns(tuple(schema.names), read)
    return Sheet(title, columns, rows, lambda row: f"row {row + 1}", _label_names(schema))


@dataclass(frozen=True)
class _Columns(Mapping[str, list[Any]]):
    """Columns of a file, read when asked for."""

    names: tuple[str, ...]
    read: Callable[[str], Any]

    def __getitem__(self, name: str) -> list[Any]:
        return _values(self.read(name))

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


def _values(column: Any) -> list[Any]:
    """Python values; text that is not UTF-8 is kept as it is."""
    pa = needed("pyarrow", "data", "Parquet")
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        raw = column.cast(pa.large_binary()).to_pylist()
        return [v if v is None else v.decode("utf-8", "surrogateescape") for v in raw]
    values: list[Any] = column.to_pylist()
    return values


def _label_names(schema: Any) -> dict[str, tuple[str, ...]]:
    """Names of labels, as the hub stores them with a table."""
    note = (schema.metadata or {}).get(b"huggingface")
    if note is None:
        return {}
    try:
        features = json.loads(note)["info"]["features"]
        return {
            name: tuple(map(str, feature["names"]))
            for name, feature in features.items()
            if feature.get("_type") == "ClassLabel" and feature.get("names")
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}  # another writer's note of that name
