"""What a user may write under ``task.data``."""

import pytest

from routers import ConfigError
from tasks.readers import CorpusSource, ImageSource, TableSource, TextSource, source_of

TABLE = {"path": "x.csv", "numeric": ["age"], "targets": {"y": {"column": "y"}}}


def with_target(**target):
    return {**TABLE, "targets": {"t": {"column": "y", **target}}}


# source, options, what the message must hold
REFUSED = [
    (TextSource, {}, "task.data: neither of path and hub", "task.data.path=", "task.data.hub="),
    (TextSource, {"path": "a", "hub": "b"}, "task.data: both of path and hub"),
    (TextSource, {"path": "a", "txt": "b"}, "task.data.txt", "did you mean 'text'"),
    (TextSource, {"path": 3}, "task.data.path=3", "str"),
    (TextSource, {"path": "a", "val": 0}, "task.data.val=0", "in (0, 1)"),
    (TextSource, {"path": "a", "test": 1.0}, "task.data.test=1.0", "(0, 1)"),
    (TextSource, {"path": "a", "test": "x"}, "task.data.test=x", "float"),
    (TextSource, {"path": "a", "val": 0.5, "test": 0.5}, "no row to train on", "less than 1"),
    (CorpusSource, {"path": "a", "label": "b"}, "task.data.label", "Allowed:"),
    (ImageSource, {"path": "a", "channels": 4}, "task.data.channels=4", "1 (gray)"),
    (TableSource, {**TABLE, "delimiter": ",,"}, "task.data.delimiter", "one character"),
    (TableSource, {**TABLE, "rare": 0}, "task.data.rare=0", ">= 1"),
    (TableSource, {**TABLE, "rows": 0}, "task.data.rows=0", ">= 1"),
    (TableSource, {**TABLE, "numeric": []}, "no column is declared", "task.data.categorical=["),
    (TableSource, {**TABLE, "categorical": ["age"]}, "'age' is named twice"),
    (TableSource, {**TABLE, "targets": {}}, "task.data.targets", "task.data.targets.NAME.column"),
    (TableSource, {**TABLE, "targets": {"t": "y"}}, "task.data.targets.t=y", "{column: NAME"),
    (TableSource, {**TABLE, "targets": {"t": {}}}, "task.data.targets.t.column: required"),
    (TableSource, with_target(column="age"), "task.data.targets.t.column=age", "give the answer"),
    (TableSource, with_target(kind="binry"), "targets.t.kind=binry", "did you mean 'binary'"),
    (TableSource, with_target(positve=1), "targets.t.positve", "did you mean 'positive'"),
    (TableSource, with_target(positive=1), "targets.t.positive", "kind=binary"),
    (TableSource, with_target(kind="binary", positive=1, negative=0), "give one of them"),
    (TableSource, {**TABLE, "views": {"v": []}}, "task.data.views.v", "list of feature columns"),
    (TableSource, {**TABLE, "views": {"v": ["aeg"]}}, "task.data.views.v=aeg", "mean 'age'"),
]


@pytest.mark.parametrize(
    ("kind", "options", "fragments"), [(row[0], row[1], row[2:]) for row in REFUSED]
)
def test_refused(kind, options, fragments):
    with pytest.raises(ConfigError) as error:
        source_of(kind, options)
    assert [part for part in fragments if part not in str(error.value)] == [], error.value


def test_accepted():
    source = source_of(TableSource, {**TABLE, "views": {"who": ["age"]}, "test": 0.5})
    assert (source.features, source.test, source.val) == (("age",), 0.5, 0.1)
    assert source.specs["y"].kind == "classes"


def test_key_of_an_unknown_option():
    with pytest.raises(ConfigError, match=r"mine\.pth"):
        source_of(TextSource, {"pth": "a"}, key="mine")
