"""The routes of a run: which experts each item had in each layer, as a Parquet file."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routers import ConfigError
from routers.comparison import Routes

from ..readers import DataError, needed
from ..readers.error import reading

#: Format of the file; higher where a column changes its meaning.
FORMAT = 1

#: Key of the metadata in the file, which is JSON.
METADATA = b"switchyard.routes"

#: Columns that every table has; all others identify items.
COLUMNS = ("layer", "sample", "position", "experts", "weights", "kept")


@dataclass(frozen=True, eq=False)
class LayerRoutes:
    """The routes of ``N`` items in one layer.

    Attributes:
        name: of the module, such as ``blocks.0.moe``.
        router: name of the router's class.
        routes: experts and weights, before and after drops.
        sample: ``(N,)`` int32, the row of the item's sample in its split.
        position: ``(N,)`` int32, the place of the item in its sample; 0 for whole samples.
        identity: further columns ``(N,)`` by name, integers; of a labeling the places of labels
            in ``RouteTable.labels``.
    """

    name: str
    router: str
    routes: Routes
    sample: NDArray[np.int32]
    position: NDArray[np.int32]
    identity: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.routes)

    @property
    def num_experts(self) -> int:
        """``E``."""
        return self.routes.num_experts

    @property
    def num_gates(self) -> int:
        """The number of weights of each assignment, ``T``."""
        return self.routes.weights.shape[1]

    def check_same_items(self, other: "LayerRoutes") -> None:
        """Raise ``ConfigError`` unless both layers routed the same items in the same order."""
        for column in ("sample", "position"):
            if not np.array_equal(getattr(self, column), getattr(other, column)):
                raise ConfigError(
                    f"layers {self.name} and {other.name} route other items ({column} differs); "
                    "compare networks that route the same items of the same split"
                )


@dataclass(frozen=True, eq=False)
class RouteTable:
    """The routes of all routed layers of a network for the samples of a split.

    A file has a row for each layer and item, with the columns ``layer`` (a number), ``sample``,
    ``position``, those of ``identity`` (labels as text), ``experts``, ``weights`` and ``kept``.
    These three are lists, one entry per assignment before drops; a layer with ``T`` gates has ``T``
    weights per assignment, one after another. Any reader of Parquet reads it.

    Attributes:
        layers: in their order.
        labels: names of labels by column.
        about: the run, its data and checkpoint: plain values, kept in the metadata of the file.

    >>> import torch
    >>> from routers import Items, Routing
    >>> expert, weight = torch.tensor([[0], [1]]), torch.ones(2, 1)
    >>> routing = Routing.by_item(Items(torch.zeros(2, 1)), expert, weight, 4)
    >>> layer = LayerRoutes("moe", "TopK", Routes.of(routing), np.arange(2), np.zeros(2))
    >>> table = RouteTable((layer,))
    >>> len(table), table.layers[0].routes.experts.tolist()
    (2, [0, 1])
    """

    layers: tuple[LayerRoutes, ...]
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return sum(map(len, self.layers))

    def write(self, path: Path) -> None:
        """Write the file, whole or not at all; a layer is a row group.

        ``DataError`` without pyarrow, of the extra ``data``.
        """
        pa, pq = _arrow(path)
        schema = self._schema(pa)
        part = path.with_name(f"{path.name}.part")
        try:
            with pq.ParquetWriter(part, schema, compression="zstd") as file:
                for number, layer in enumerate(self.layers):
                    columns = self._columns(pa, number, layer)
                    file.write_table(
                        pa.table([columns[name] for name in schema.names], schema=schema)
                    )
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)

    @classmethod
    def read(cls, path: Path) -> "RouteTable":
        """Read a file; ``DataError`` if it is none, corrupt, or of a later version."""
        _, pq = _arrow(path)
        with reading(path):
            file = pq.ParquetFile(path)
            note = (file.schema_arrow.metadata or {}).get(METADATA)
            if note is None:
                raise DataError(f"{path}: holds no routes; make them with python -m tasks routes")
            about = json.loads(note)
            if about["format"] > FORMAT:
                raise DataError(
                    f"{path}: format {about['format']} is of a later version of Switchyard; this "
                    f"one reads formats up to {FORMAT}, so update it"
                )
            labels = {name: tuple(each) for name, each in about["labels"].items()}
            layers = tuple(
                _read_layer(file.read_row_group(number, use_threads=False), each, labels)
                for number, each in enumerate(about["layers"])
            )
        return cls(layers, labels, about["about"])

    def _schema(self, pa: Any) -> Any:
        identity = dict.fromkeys(name for layer in self.layers for name in layer.identity)
        if taken := [name for name in identity if name in COLUMNS]:
            raise ConfigError(f"{taken[0]}: a column of every table; give the labels another name")
        most = max((layer.num_experts for layer in self.layers), default=0)
        integer = pa.int16() if most <= np.iinfo(np.int16).max else pa.int32()
        note = {
            "format": FORMAT,
            "layers": [
                {
                    "name": layer.name,
                    "router": layer.router,
                    "num_experts": layer.num_experts,
                    "num_gates": layer.num_gates,
                }
                for layer in self.layers
            ],
            "labels": {name: list(each) for name, each in self.labels.items()},
            "about": dict(self.about),
        }
        fields = [("layer", pa.int16()), ("sample", pa.int32()), ("position", pa.int32())]
        label = pa.dictionary(pa.int32(), pa.string())
        fields += [(name, label if name in self.labels else pa.int64()) for name in identity]
        fields += [
            ("experts", pa.list_(integer)),
            ("weights", pa.list_(pa.float32())),
            ("kept", pa.list_(pa.bool_())),
        ]
        return pa.schema(fields, metadata={METADATA: json.dumps(note).encode()})

    def _columns(self, pa: Any, number: int, layer: LayerRoutes) -> dict[str, Any]:
        """The columns of one layer by name; empty where it has none of an identity."""
        schema, routes, rows = self._schema(pa), layer.routes, len(layer)
        columns = {
            "layer": pa.array(np.full(rows, number), pa.int16()),
            "sample": pa.array(layer.sample, pa.int32()),
            "position": pa.array(layer.position, pa.int32()),
            "experts": _lists(pa, routes.offsets, routes.experts, schema, "experts"),
            "weights": _lists(
                pa, routes.offsets * layer.num_gates, routes.weights.ravel(), schema, "weights"
            ),
            "kept": _lists(pa, routes.offsets, routes.kept, schema, "kept"),
        }
        for name in schema.names:
            if name in columns:
                continue
            values = layer.identity.get(name)
            if values is None:
                columns[name] = pa.nulls(rows, schema.field(name).type)
            elif name in self.labels:
                codes = pa.array(values, pa.int32())
                columns[name] = pa.DictionaryArray.from_arrays(codes, list(self.labels[name]))
            else:
                columns[name] = pa.array(values, pa.int64())
        return columns


def _arrow(path: Path) -> tuple[Any, Any]:
    """The modules that read and write Parquet."""
    return needed("pyarrow", "data", str(path)), needed("pyarrow.parquet", "data", str(path))


def _lists(pa: Any, offsets: NDArray[np.int64], values: Any, schema: Any, name: str) -> Any:
    inner = pa.array(values, schema.field(name).type.value_type)
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), inner)


def _read_layer(
    rows: Any, about: Mapping[str, Any], labels: Mapping[str, Sequence[str]]
) -> LayerRoutes:
    columns = {name: rows.column(name).combine_chunks() for name in rows.column_names}
    lists = {name: columns[name] for name in ("experts", "weights", "kept")}
    flat = {name: each.flatten().to_numpy(zero_copy_only=False) for name, each in lists.items()}
    offsets = np.concatenate([[0], np.cumsum(lists["experts"].value_lengths().to_numpy())])
    routes = Routes(
        about["num_experts"],
        offsets.astype(np.int64),
        flat["experts"].astype(np.int32),
        flat["weights"].astype(np.float32).reshape(-1, about["num_gates"]),
        flat["kept"].astype(np.bool_),
    )
    identity = {
        name: _codes(each, labels[name]) if name in labels else each.to_numpy().astype(np.int64)
        for name, each in columns.items()
        if name not in COLUMNS and not (len(each) and each.null_count == len(each))
    }
    return LayerRoutes(
        about["name"],
        about["router"],
        routes,
        columns["sample"].to_numpy(),
        columns["position"].to_numpy(),
        identity,
    )


def _codes(column: Any, names: Sequence[str]) -> NDArray[np.int64]:
    """The place of each label among the names, whatever dictionary the file has."""
    place = {name: number for number, name in enumerate(names)}
    own = np.array([place[name] for name in column.dictionary.to_pylist()], dtype=np.int64)
    return own[column.indices.to_numpy()]
