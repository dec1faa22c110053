"""The file of routes: what is written is read, and other files are refused."""

import json

import numpy as np
import pytest
import torch

import routers
from routers import ConfigError, Items, Routing
from routers.comparison import Routes
from tasks.routes import LayerRoutes, RouteTable

pq = pytest.importorskip("pyarrow.parquet")


def layer(name, routing, **identity):
    routes = Routes.of(routing)
    place = np.arange(len(routes), dtype=np.int32)
    return LayerRoutes(name, "TopK", routes, place // 2, place % 2, identity)


@pytest.fixture
def table():
    """Two layers of other sizes, with drops, two weights, and a column that only one has."""
    torch.manual_seed(0)
    first = routers.build("topk", 8, 4, k=2)(Items(torch.randn(6, 8))).limit(0.8)
    expert, weight = torch.tensor([[1], [0], [1]]), torch.rand(3, 1, 2)
    second = Routing.by_item(Items(torch.zeros(3, 1)), expert, weight, 2)
    kinds = np.array([2, 0, 0, 2, 0, 2])
    layers = (
        layer("blocks.0", first.detach(), kind=kinds, byte_value=np.arange(6) * 50),
        layer("", second, kind=kinds[:3]),
    )
    return RouteTable(layers, {"kind": ("é", "unused", "b")}, {"step": 3, "run": "mine"})


def test_what_is_written_is_read(table, tmp_path):
    path = tmp_path / "routes.parquet"
    table.write(path)
    found = RouteTable.read(path)
    assert [each.name for each in tmp_path.iterdir()] == ["routes.parquet"]
    assert (found.labels, found.about) == (table.labels, table.about)
    for read, written in zip(found.layers, table.layers, strict=True):
        assert (read.name, read.router) == (written.name, written.router)
        assert (read.num_experts, read.num_gates) == (written.num_experts, written.num_gates)
        for part in ("offsets", "experts", "weights", "kept"):
            values = getattr(read.routes, part)
            np.testing.assert_array_equal(values, getattr(written.routes, part))
            assert values.dtype == getattr(written.routes, part).dtype
        np.testing.assert_array_equal(read.sample, written.sample)
        np.testing.assert_array_equal(read.position, written.position)
        assert read.identity.keys() == written.identity.keys()
        for name, values in written.identity.items():
            np.testing.assert_array_equal(read.identity[name], values)
    assert not table.layers[0].routes.kept.all()


def test_labels_in_another_dictionary(table, tmp_path):
    """Another program may write labels in the order in which they occur."""
    pa = pytest.importorskip("pyarrow")
    table.write(tmp_path / "first")
    rows = pq.read_table(tmp_path / "first")
    place = rows.column_names.index("kind")
    labels = rows["kind"].combine_chunks().cast(pa.string()).dictionary_encode()
    assert labels.dictionary.to_pylist() == ["b", "é"]
    rows = rows.set_column(place, "kind", labels).replace_schema_metadata(rows.schema.metadata)
    pq.write_table(rows, tmp_path / "again", row_group_size=6)
    found = RouteTable.read(tmp_path / "again")
    for read, written in zip(found.layers, table.layers, strict=True):
        np.testing.assert_array_equal(read.identity["kind"], written.identity["kind"])


def test_any_reader_of_parquet_sees_text_and_lists(table, tmp_path):
    table.write(tmp_path / "routes.parquet")
    read = pq.read_table(tmp_path / "routes.parquet")
    rows = read.to_pylist()
    assert read.column_names[:3] == ["layer", "sample", "position"]
    assert [row["kind"] for row in rows] == ["b", "é", "é", "b", "é", "b", "b", "é", "é"]
    assert [row["byte_value"] for row in rows] == [0, 50, 100, 150, 200, 250, None, None, None]
    assert rows[6]["experts"] == [1]
    assert rows[6]["kept"] == [True]
    assert rows[6]["weights"] == table.layers[1].routes.weights[0].tolist()
    column = pq.ParquetFile(tmp_path / "routes.parquet").metadata.row_group(0).column(0)
    assert column.compression == "ZSTD"


def test_a_table_of_no_items(tmp_path):
    none = Routing.by_item(Items(torch.zeros(0, 1)), torch.zeros(0, 2).long(), torch.zeros(0, 2), 4)
    RouteTable((layer("moe", none, kind=np.zeros(0, dtype=np.int64)),), {"kind": ("a",)}).write(
        tmp_path / "none"
    )
    assert len(RouteTable.read(tmp_path / "none")) == 0


def test_what_is_no_table_is_refused(table, tmp_path):
    path = tmp_path / "routes.parquet"
    table.write(path)
    read = pq.read_table(path)
    pq.write_table(read.replace_schema_metadata({}), tmp_path / "other.parquet")
    with pytest.raises(ConfigError, match="holds no routes; make them with python -m tasks"):
        RouteTable.read(tmp_path / "other.parquet")
    note = {**json.loads(read.schema.metadata[b"switchyard.routes"]), "format": 2}
    later = read.replace_schema_metadata({"switchyard.routes": json.dumps(note)})
    pq.write_table(later, path)
    with pytest.raises(ConfigError, match="format 2 is of a later version"):
        RouteTable.read(path)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ConfigError, match="the file is corrupt"):
        RouteTable.read(path)


def test_a_label_with_the_name_of_a_column(table, tmp_path):
    wrong = layer("moe", Routing.by_item(Items(torch.zeros(1, 1)), *one()), kept=np.zeros(1))
    with pytest.raises(ConfigError, match="kept: a column of every table"):
        RouteTable((wrong,)).write(tmp_path / "routes.parquet")
    assert not list(tmp_path.iterdir())


def one():
    return torch.zeros(1, 1).long(), torch.ones(1, 1), 2


def test_layers_of_other_items_are_not_compared(table):
    with pytest.raises(ConfigError, match="route other items"):
        table.layers[0].check_same_items(table.layers[1])
