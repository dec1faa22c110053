"""What a user may write under ``task.data``."""

import pytest

from routers import ConfigError
from tasks.readers import choose_data

TABLE = {"path": "x.csv", "numeric": ["age"], "targets": {"y": {"column": "y"}}}


def with_target(**target):
    return {**TABLE, "targets": {"t": {"column": "y", **target}}}


# name, options, what the message must hold
REFUSED = [
    ("texts", {}, "task.data: neither of path and hub", "task.data.path=", "task.data.hub="),
    ("texts", {"path": "a", "hub": "b"}, "task.data: both of path and hub"),
    ("texts", {"path": "a", "txt": "b"}, "task.data.txt", "did you mean 'text'"),
    ("texts", {"path": 3}, "task.data.path=3", "str"),
    ("texts", {"path": "a", "val": 0}, "task.data.val=0", "in (0, 1)"),
    ("texts", {"path": "a", "test": 1.0}, "task.data.test=1.0", "(0, 1)"),
    ("texts", {"path": "a", "test": "x"}, "task.data.test=x", "float"),
    ("texts", {"path": "a", "val": 0.5, "test": 0.5}, "no row to train on", "less than 1"),
    ("corpus", {"path": "a", "label": "b"}, "task.data.label", "Allowed:"),
    ("images", {"path": "a", "channels": 4}, "task.data.channels=4", "1 (gray)"),
    ("images", {"path": "a", "size": [32]}, "task.data.size=[32]", "[HEIGHT, WIDTH]"),
    ("texts", {"path": "a", "delimiter": ""}, "task.data.delimiter", "one character"),
    ("texts", {"path": "a", "name": "imges"}, "task.data=imges: unknown", "mean 'images'"),
    ("table", {**TABLE, "delimiter": ",,"}, "task.data.delimiter", "one character"),
    ("table", {**TABLE, "rare": 0}, "task.data.rare=0", ">= 1"),
    ("table", {**TABLE, "rows": 0}, "task.data.rows=0", ">= 1"),
    ("table", {**TABLE, "numeric": []}, "no column is declared", "task.data.categorical=["),
    ("table", {**TABLE, "categorical": ["age"]}, "'age' is named twice"),
    ("table", {**TABLE, "targets": {}}, "task.data.targets", "task.data.targets.NAME.column"),
    ("table", {**TABLE, "targets": {"t": "y"}}, "task.data.targets.t=y", "{column: NAME"),
    ("table", {**TABLE, "targets": {"t": {}}}, "task.data.targets.t.column: required"),
    ("table", with_target(column="age"), "task.data.targets.t.column=age", "give the answer"),
    ("table", with_target(kind="binry"), "targets.t.kind=binry", "did you mean 'binary'"),
    ("table", with_target(positve=1), "targets.t.positve", "did you mean 'positive'"),
    ("table", with_target(positive=1), "targets.t.positive", "kind=binary"),
    ("table", with_target(kind="binary", positive=1, negative=0), "give one of them"),
    ("table", {**TABLE, "views": {"v": []}}, "task.data.views.v", "list of feature columns"),
    ("table", {**TABLE, "views": {"v": ["aeg"]}}, "task.data.views.v=aeg", "mean 'age'"),
]


@pytest.mark.parametrize(
    ("name", "options", "fragments"), [(row[0], row[1], row[2:]) for row in REFUSED]
)
def test_refused(name, options, fragments):
    with pytest.raises(ConfigError) as error:
        choose_data(name, options)
    assert [part for part in fragments if part not in str(error.value)] == [], error.value


def test_accepted():
    source = choose_data("table", {**TABLE, "views": {"who": ["age"]}, "test": 0.5})
    assert (source.features, source.test, source.val) == (("age",), 0.5, 0.1)
    assert source.specs["y"].kind == "classes"
