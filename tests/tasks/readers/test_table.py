"""Tables: categories, numbers, targets, and what is missing."""

import math

import numpy as np
import pyarrow as pa
import pytest

from tasks.readers import Splits, TableSource

from .files import lines, write, write_parquet

HEADER = "job, age, pay, city, rich\n"


def read(path, **options) -> Splits:
    given = {
        "categorical": ["job", "city"],
        "numeric": ["age", "pay"],
        "targets": {"rich": {"column": "rich", "kind": "binary", "positive": "yes"}},
    }
    return TableSource(**{"path": str(path), **given, **options}).read()


def split(tmp_path, train: str, val: str, test: str, header: str = HEADER, suffix: str = "csv"):
    for name, rows in (("train", train), ("val", val), ("test", test)):
        write(tmp_path / f"{name}.{suffix}", header + rows)
    return tmp_path


TRAIN = """cook, 20, 1.5, Rome, yes
smith, ?, 2, Rome, no
cook, 30, , Oslo, no
?, 40, 1e3, Oslo, yes
"""
VAL = "smith, 5, 5, Rome, no\n"
TEST = "pilot, -1, ?, , yes\n"


def test_by_hand(tmp_path):
    found = read(split(tmp_path, TRAIN, VAL, TEST))
    train, test = found.train, found.test
    # cook 2, smith 3; Oslo 2, Rome 3; 0 missing, 1 never seen in training
    assert train.categorical.tolist() == [[2, 3], [3, 3], [2, 2], [0, 2]]
    assert test.categorical.tolist() == [[1, 0]]
    assert train.cardinalities == (4, 4)
    nan = math.nan
    np.testing.assert_equal(train.numeric.tolist(), [[20, 1.5], [nan, 2], [30, nan], [40, 1000]])
    np.testing.assert_equal(test.numeric.tolist(), [[-1, nan]])
    assert train.targets.tolist() == [[1], [0], [0], [1]]
    assert train.target_classes == (("not yes", "yes"),)
    assert (train.categorical_names, train.numeric_names) == (("job", "city"), ("age", "pay"))
    assert (train.target_names, train.target_kinds) == (("rich",), ("binary",))
    assert found.val.targets.tolist() == [[0]]


def test_every_format_alike(tmp_path):
    """CSV, TSV, JSONL and Parquet, strings or numbers, without a header or compressed."""
    rows = [[f"j{n % 3}", n, n / 4, "ab"[n % 2], "yes" if n % 4 else "no"] for n in range(40)]
    names = ["job", "age", "pay", "city", "rich"]
    body = "".join(",".join(map(str, row)) + "\n" for row in rows)
    typed = dict(zip(names, zip(*rows, strict=True), strict=True))
    paths = [
        write(tmp_path / "a.csv", ",".join(names) + "\n" + body),
        write(tmp_path / "b.csv.gz", ", ".join(names) + "\n" + body.replace(",", ", ")),
        write(tmp_path / "c.tsv", "\t".join(names) + "\n" + body.replace(",", "\t")),
        write(tmp_path / "d.jsonl", lines(*(dict(zip(names, r, strict=True)) for r in rows))),
        write_parquet(tmp_path / "e.parquet", {k: pa.array(v) for k, v in typed.items()}),
    ]
    found = [read(path) for path in paths]
    found.append(read(write(tmp_path / "f.test.gz", body), columns=names))
    found.append(
        read(write(tmp_path / "g.csv", body.replace(",", ";")), columns=names, delimiter=";")
    )
    for other in found[1:]:
        assert other.split_sha256 == found[0].split_sha256
        for name in ("categorical", "numeric", "targets"):
            assert getattr(other.train, name).equal(getattr(found[0].train, name))
            assert getattr(other.test, name).equal(getattr(found[0].test, name))


@pytest.mark.parametrize(
    ("sides", "expected", "classes"),
    [
        ({"positive": "b"}, [0, 1, 0], ("not b", "b")),
        ({"positive": ["b", "c"]}, [0, 1, 1], ("not b or c", "b or c")),
        ({"negative": "b"}, [1, 0, 1], ("b", "not b")),
    ],
)
def test_binary_target(tmp_path, sides, expected, classes):
    train = "".join(f"x,1,1,x,{v}\n" for v in "abc")
    target = {"rich": {"column": "rich", "kind": "binary", **sides}}
    found = read(split(tmp_path, train, train, train), targets=target)
    assert found.train.targets[:, 0].tolist() == expected
    assert found.train.target_classes == (classes,)


def test_positive_number(tmp_path):
    """A number in the configuration is the same as its text in a file."""
    rows = "x,1,1,x,0\nx,1,1,x,1\n"
    target = {"rich": {"column": "rich", "kind": "binary", "positive": 1}}
    assert read(split(tmp_path, rows, rows, rows), targets=target).val.targets.tolist() == [
        [0],
        [1],
    ]


@pytest.mark.parametrize(
    ("values", "positive"),
    [
        (("no", "yes"), True),  # what YAML makes of yes
        (("False", "True"), True),
        (("0.0", "1.0"), 1),
        (("0.0", "1.0"), 1.0),
        (("off", "on"), [True]),
        (("1", "1.0"), "1.0"),  # itself, where it is there
    ],
)
def test_positive_as_yaml_reads_it(tmp_path, values, positive):
    rows = "".join(f"x,1,1,x,{value}\n" for value in values)
    target = {"rich": {"column": "rich", "kind": "binary", "positive": positive}}
    found = read(split(tmp_path, rows, rows, rows), targets=target)
    assert found.train.targets.tolist() == [[0], [1]]


def test_binary_target_of_two_values(tmp_path):
    target = {"rich": {"column": "rich", "kind": "binary"}}
    found = read(split(tmp_path, TRAIN, VAL, TEST), targets=target)
    assert found.train.targets[:, 0].tolist() == [1, 0, 0, 1]
    assert found.train.target_classes == (("no", "yes"),)


def test_several_targets_with_missing_values(tmp_path):
    train = "x,1,10,b,7\nx,1,9,a,?\nx,1,?,b,-2\nx,1,10,?,0\n"
    targets = {
        "place": {"column": "city", "kind": "classes"},
        "size": {"column": "pay", "kind": "classes"},
        "worth": {"column": "rich", "kind": "number"},
    }
    given = {"categorical": ["job"], "numeric": ["age"], "targets": targets}
    found = read(split(tmp_path, train, "x,1,9,a,1\n", "x,1,9,?,?\n"), **given)
    nan = math.nan
    expected = [[1, 1, 7], [0, 0, nan], [1, nan, -2], [nan, 1, 0]]
    np.testing.assert_equal(found.train.targets.tolist(), expected)
    assert found.train.target_classes == (("a", "b"), ("9", "10"), ())
    np.testing.assert_equal(found.test.targets.tolist(), [[nan, 0, nan]])


def test_rare_categories(tmp_path):
    train = "".join(
        f"{job},1,1,x,{'yes' if row % 2 else 'no'}\n" for row, job in enumerate("aaabbc")
    )
    found = read(split(tmp_path, train, train, train), rare=2)
    assert found.train.categorical[:, 0].tolist() == [2, 2, 2, 3, 3, 1]
    assert found.train.cardinalities == (4, 3)


def test_other_marks_of_missing_values(tmp_path):
    found = read(split(tmp_path, TRAIN.replace("?", "n/a"), VAL, VAL), missing=["n/a"])
    assert found.train.categorical[3, 0] == 0
    assert found.train.numeric[1, 0].isnan()


def test_limited_rows_and_their_categories(tmp_path):
    """Categories are those of the rows that train."""
    body = "".join(f"j{n},{n},{n},x,{'yes' if n % 2 else 'no'}\n" for n in range(200))
    path = write(tmp_path / "a.csv", HEADER + body)
    found = read(path, rows=50)
    assert found.train.cardinalities == (52, 3)
    assert set(found.test.categorical[:, 0].tolist()) == {1}
    assert len(found.test.targets) == 20
    assert len(read(path).train.targets) == 160


def test_split_in_proportion_to_the_first_target_with_classes(tmp_path):
    body = "".join(
        f"x,{n},{n},{'ab'[n % 2]},{'yes' if n % 15 == 4 else 'no'}\n" for n in range(600)
    )
    targets = {
        "age": {"column": "age", "kind": "number"},
        "rich": {"column": "rich", "kind": "binary", "positive": "yes"},
        "city": {"column": "city"},
    }
    given = {"categorical": ["job"], "numeric": ["pay"], "targets": targets, "val": 0.25}
    found = read(write(tmp_path / "a.csv", HEADER + body), **given)
    parts = (found.train, found.val, found.test)
    assert [float(part.targets[:, 1].sum()) for part in parts] == [26, 10, 4]


def test_views_and_no_column_of_a_kind(tmp_path):
    views = {"who": ["job"], "where": ["city"]}
    found = read(split(tmp_path, TRAIN, VAL, TEST), numeric=[], views=views)
    assert found.train.views == {"who": ("job",), "where": ("city",)}
    assert found.train.numeric.shape == (4, 0)
    found = read(tmp_path, categorical=[])
    assert found.train.categorical.shape == (4, 0)
    assert found.train.cardinalities == ()


def test_nulls_in_parquet(tmp_path):
    columns = {
        "job": pa.array(["a", None, "b"] * 10),
        "city": pa.array([1, 2, None] * 10),
        "age": pa.array([1.0, math.nan, None] * 10),
        "pay": pa.array([True, False, None] * 10),
        "rich": pa.array(["yes", "no", None] * 10),
    }
    found = read(write_parquet(tmp_path / "a.parquet", columns))
    train = found.train
    missing = train.targets[:, 0].isnan()
    assert missing.sum() == 8
    assert train.categorical[missing].tolist() == [[3, 0]] * 8
    assert train.numeric[missing].isnan().all()
    assert set(train.numeric[~missing, 1].tolist()) == {0, 1}
