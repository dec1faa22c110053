"""Texts are read byte for byte, whatever they are kept in."""

import csv
import hashlib

import pyarrow as pa
import pytest

from tasks.readers import Splits, TextSource

from .files import arrow, lines, write, write_parquet

#: Texts with everything that is awkward, each with a label.
ODD = [
    ('comma, "quote"', "good"),
    ("two\nlines", "bad"),
    (" spaces ", "good"),
    ("العربية", "bad"),
    ("?", "good"),
    ("x" * 1000, "bad"),
] * 5


def read(path, **options) -> Splits:
    return TextSource(path=str(path), **options).read()


def everything(splits) -> list:
    return sorted(
        (text, part.classes[label])
        for part in (splits.train, splits.val, splits.test)
        for text, label in zip(part.texts, part.y, strict=True)
    )


def expected(rows) -> list:
    return sorted((text.encode() if isinstance(text, str) else text, name) for text, name in rows)


def quoted(*fields: str) -> str:
    return ",".join('"' + field.replace('"', '""') + '"' for field in fields) + "\n"


@pytest.mark.parametrize("end", ["", ".gz"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_csv(tmp_path, end, mark):
    content = mark + "text,label\n" + "".join(quoted(*row) for row in ODD)
    found = read(write(tmp_path / f"all.csv{end}", content))
    assert everything(found) == expected(ODD)
    assert found.train.classes == ("bad", "good")
    assert found.train.group is None


def test_tsv_has_no_quotes(tmp_path):
    rows = [('"5" disk', "0"), ('"yes"', "1")] * 10
    content = "label\ttext\n" + "".join(f"{label}\t{text}\n" for text, label in rows)
    assert everything(read(write(tmp_path / "all.tsv", content))) == expected(rows)


@pytest.mark.parametrize("end", ["", ".gz"])
def test_json_lines(tmp_path, end):
    content = lines(*({"label": label, "text": text} for text, label in ODD)) + "\n"
    assert everything(read(write(tmp_path / f"all.jsonl{end}", content))) == expected(ODD)


def test_json_lines_end_where_json_says(tmp_path):
    """Unicode has line ends that are plain characters in JSON."""
    rows = [("a\u2028b\u0085c", "0"), ("d", "1")] * 10
    content = "".join(f'{{"text": "{text}", "label": {label}}}\n' for text, label in rows)
    assert everything(read(write(tmp_path / "all.jsonl", content))) == expected(rows)


def test_half_a_surrogate_pair(tmp_path):
    """JSON of cut-off texts has them, and they are no UTF-8."""
    content = '{"text": "\\ud83d", "label": 0}\n{"text": "a", "label": 1}\n' * 10
    found = read(write(tmp_path / "all.jsonl", content))
    assert set(found.train.texts) == {b"\xed\xa0\xbd", b"a"}


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.binary()])
def test_parquet(tmp_path, kind):
    texts = pa.array([text.encode() for text, _ in ODD], pa.binary()).cast(kind)
    labels = pa.array([label for _, label in ODD]).dictionary_encode()
    path = write_parquet(tmp_path / "all.parquet", {"text": texts, "label": labels})
    assert everything(read(path)) == expected(ODD)


def test_folders(tmp_path):
    for row, (text, label) in enumerate(ODD):
        write(tmp_path / label / f"{row}.txt{'.gz' * (row % 2)}", text)
    assert everything(read(tmp_path)) == expected(ODD)


def test_what_is_not_utf8_is_kept(tmp_path):
    raw = bytes(range(128, 256)) + b"\xff\x85\xa0"
    rows = [(raw, "0"), (b"plain", "1")] * 10
    table = b"".join(text + b"," + label.encode() + b"\n" for text, label in rows)
    json = b"".join(b'{"text": "' + t + b'", "label": ' + n.encode() + b"}\n" for t, n in rows)
    invalid = pa.Array.from_buffers(
        pa.string(), 20, pa.array([t for t, _ in rows], pa.binary()).buffers()
    )
    write_parquet(tmp_path / "a.parquet", {"text": invalid, "label": [0, 1] * 10})
    write(tmp_path / "a.csv", b"text,label\n" + table)
    write(tmp_path / "a.tsv", b"text\tlabel\n" + table.replace(b",", b"\t"))
    write(tmp_path / "a.jsonl", json)
    for suffix in ("parquet", "csv", "tsv", "jsonl"):
        assert everything(read(tmp_path / f"a.{suffix}")) == expected(rows), suffix
    for row, (text, label) in enumerate(rows):
        write(tmp_path / "folders" / label / f"{row}.txt", text)
    assert everything(read(tmp_path / "folders")) == expected(rows)


def test_a_field_may_be_a_book(tmp_path):
    """The csv module stops at 131,072 characters by default."""
    limit = csv.field_size_limit()
    rows = [("x" * 200_000, "0"), ("y", "1")] * 10
    path = write(tmp_path / "a.csv", "text,label\n" + "".join(f"{t},{n}\n" for t, n in rows))
    assert everything(read(path)) == expected([(text.encode(), label) for text, label in rows])
    assert csv.field_size_limit() == limit


def test_names_that_are_not_utf8(tmp_path):
    path = write(
        tmp_path / "a.csv", b"text,label\na,caf\xe9\na,bar\n" * 1 + b"a,caf\xe9\na,bar\n" * 9
    )
    assert read(path).train.classes == ("bar", "caf\\xe9")


def test_splits_and_groups(tmp_path):
    languages = ["en", "de"] * 10
    for split, rows in (("train", 20), ("validation", 4), ("test", 6)):
        columns = {"tweet": ["x"] * rows, "mood": [1, 10] * (rows // 2), "lang": languages[:rows]}
        write_parquet(tmp_path / f"{split}.parquet", columns)
    found = read(tmp_path, text="tweet", label="mood", group="lang")
    assert found.train.classes == ("1", "10")
    assert found.train.groups == ("de", "en")
    assert found.val.group.tolist() == [1, 0, 1, 0]
    assert (len(found.train.texts), len(found.test.texts)) == (20, 6)


def test_names_noted_in_parquet(tmp_path):
    names = {"label": ["no", "yes"], "lang": ["ar", "de", "en"]}
    columns = {"text": ["x"] * 40, "label": [0, 1] * 20, "lang": [2, 0] * 20}
    found = read(write_parquet(tmp_path / "a.parquet", columns, names), group="lang")
    assert found.train.classes == ("no", "yes")
    assert found.train.groups == ("ar", "de", "en")
    assert set(found.train.group.tolist()) == {0, 2}


def test_another_note_in_parquet(tmp_path):
    columns = {"text": ["x"] * 20, "label": [0, 1] * 10}
    table = arrow(columns).replace_schema_metadata({"huggingface": "[1"})
    write_parquet(tmp_path / "a.parquet", dict(zip(table.column_names, table.columns, strict=True)))
    assert read(tmp_path / "a.parquet").train.classes == ("0", "1")


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (["10", "9", "-1"], ("-1", "9", "10")),
        (["10", "9", "b"], ("10", "9", "b")),
        ([2.0, 10.0, 3], ("2", "3", "10")),
        ([True, False, True], ("0", "1")),
    ],
)
def test_classes_are_sorted(tmp_path, labels, classes):
    content = lines(*({"text": "x", "label": label} for label in labels * 10))
    assert read(write(tmp_path / "a.jsonl", content)).train.classes == classes


def test_format_of_an_unknown_suffix(tmp_path):
    path = write(tmp_path / "a.corpus", "text\tlabel\na\t0\na\t1\n" + "a\t0\na\t1\n" * 9)
    assert len(read(path, format="tsv").train.texts) == 16
    assert len(read(tmp_path, format="tsv").train.texts) == 16


def test_hash_of_one_file_and_of_several(tmp_path):
    content = "text,label\n" + "x,0\nx,1\n" * 10
    write(tmp_path / "train.csv", content)
    write(tmp_path / "test.csv", content)
    one = hashlib.sha256(content.encode()).hexdigest()
    assert read(tmp_path / "train.csv").sha256 == one
    sums = f"{one}  train.csv\n{one}  test.csv\n"
    assert read(tmp_path).sha256 == hashlib.sha256(sums.encode()).hexdigest()


def test_files_named_after_no_split_train_beside_a_test_file(tmp_path):
    """As UCI names them."""
    write(tmp_path / "adult.data", "text,label\n" + "x,0\nx,1\n" * 20)
    write(tmp_path / "adult.test.gz", "text,label\n" + "x,0\n" * 3)
    found = read(tmp_path)
    assert [len(p.texts) for p in (found.train, found.val, found.test)] == [36, 4, 3]
    (tmp_path / "adult.data").unlink()
    write(tmp_path / "adult.test.gz", "text,label\n" + "x,0\nx,1\n" * 20)
    found = read(tmp_path)
    assert [len(p.texts) for p in (found.train, found.val, found.test)] == [32, 4, 4]
