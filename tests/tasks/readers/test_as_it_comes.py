"""Data as it is distributed: without a header, in archives, in several files."""

import tarfile
import zipfile

import numpy as np
import pytest

from tasks import main
from tasks.readers import CorpusSource, DataError, ImageSource, TableSource, TextSource

from ..cases import tiny
from .files import encoded, pixels, write

GOOD, BAD = "a fine film that I would see again", "the worst two hours of my life"
ROWS = [(f"{number} {GOOD}", "1") for number in range(20)]
ROWS += [(f"{number} {BAD}", "0") for number in range(20)]


def tsv(*columns: str, header: str = "") -> str:
    """The rows with their label first or second."""
    named = [dict(zip(("text", "label"), row, strict=True)) for row in ROWS]
    return header + "".join("\t".join(row[c] for c in columns) + "\n" for row in named)


def texts(path, **options):
    return TextSource(path=str(path), **options).read()


def refused(source) -> str:
    with pytest.raises(DataError) as error:
        source.read()
    assert len(str(error.value).splitlines()) == 1
    return str(error.value)


def archive(path, folder):
    """A folder as a ``.zip``, its own name included."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for inner in sorted(folder.rglob("*")):
            file.write(inner, inner.relative_to(folder.parent))
    return path


# ---- headers ----


@pytest.mark.parametrize("order", [["label", "text"], ["text", "label"]])
def test_text_without_a_header(tmp_path, order):
    """It is refused with the setting that reads it, which may be copied."""
    path = write(tmp_path / "train.tsv", tsv(*order))
    text = refused(TextSource(path=str(path)))
    assert "train.tsv: no column 'text'" in text
    assert "The first line looks like data" in text
    assert text.endswith(f"give task.data.columns=[{','.join(order)}]")
    found = texts(path, columns=order)
    assert sum(len(part.texts) for part in (found.train, found.val, found.test)) == 40
    assert found.train.classes == ("0", "1")
    assert found.guesses == {}


def test_csv_of_three_columns_without_a_header(tmp_path):
    content = "".join(f'"{label}","T{n}","{text}"\n' for n, (text, label) in enumerate(ROWS))
    path = write(tmp_path / "train.csv", content)
    assert "task.data.columns=[label,column2,text]" in refused(TextSource(path=str(path)))
    assert texts(path, columns=["label", "title", "text"]).train.classes == ("0", "1")


def test_table_without_a_header(tmp_path):
    path = write(tmp_path / "a.csv", "1,a\n2,b\n" * 10)
    source = {"path": str(path), "numeric": ["age"], "targets": {"t": {"column": "kind"}}}
    text = refused(TableSource(**source))
    assert "no column 'kind'" in text
    assert "looks like data; if it is, give task.data.columns=[" in text
    assert len(TableSource(**source, columns=["age", "kind"]).read().train.targets) == 16


def test_an_index_of_pandas_is_no_column(tmp_path):
    rows = "".join(f"{n},{text},{label}\n" for n, (text, label) in enumerate(ROWS))
    path = write(tmp_path / "a.csv", f",tweet,sentiment\n{rows}")
    found = texts(path)
    assert found.guesses == {"text": "tweet", "label": "sentiment"}
    assert found.train.texts[0].endswith(GOOD.encode())
    # also where the other names are unusual, and two columns are left to choose from
    assert texts(write(path, f",v1,v2\n{rows}")).guesses == {"text": "v1", "label": "v2"}
    text = refused(TextSource(path=str(write(path, ",a fine film,good\n0,x,a\n1,y,good\n"))))
    assert "The first line looks like data" in text


def test_a_header_that_columns_repeat(tmp_path):
    path = write(tmp_path / "a.tsv", tsv("text", "label", header="text\tlabel\n"))
    text = refused(TextSource(path=str(path), columns=["text", "label"]))
    assert "a.tsv, line 1: the first line holds these names; leave out task.data.columns" in text


def test_columns_of_what_names_them_itself(tmp_path):
    path = write(tmp_path / "a.jsonl", '{"text": "x", "label": 1}\n')
    text = refused(TextSource(path=str(path), columns=["text", "label"]))
    assert "a.jsonl: names its columns itself; leave out task.data.columns" in text


# ---- guesses ----


@pytest.mark.parametrize(
    "header", ["sentence\tlabel", "Review\tSentiment", "v2\tlabel", "text\tv1", "v2\tv1"]
)
def test_columns_are_guessed(tmp_path, header):
    """By their names, by what is left, or by what repeats; and it is known that they were."""
    path = write(tmp_path / "a.tsv", tsv("text", "label", header=f"{header}\n"))
    found = texts(path)
    assert found.train.classes == ("0", "1")
    assert min(map(len, found.train.texts)) > 20
    named = dict(zip(("text", "label"), header.split("\t"), strict=True))
    assert found.guesses == {role: name for role, name in named.items() if role != name}


def test_a_guess_is_printed_at_the_start(tmp_path, capsys):
    path = write(tmp_path / "a.tsv", tsv("text", "label", header="v2\tlabel\n"))
    settings = ("trainer.progress=true", "trainer.batch_size=8", f"task.data.path={path}")
    task = ("task=text_classification", *tiny("text_classification"), "expert.hidden=16")
    assert main([*task, *settings, f"out={tmp_path / 'run'}"]) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert first.startswith("data: a.tsv, 32 train, 4 val, 4 test samples (test and val taken")
    assert "labels: class (2)" in first
    assert first.endswith("; guessed: task.data.text=v2")


def test_a_value_like_the_header_is_no_reason_to_refuse(tmp_path):
    path = write(tmp_path / "a.csv", "text,label\ntext,a\nlabel,b\n" * 10)
    assert len(texts(path.parent).train.texts) > 10


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("review,comment,label", "no column 'text'; name it with task.data.text=COLUMN"),
        ("text,class,topic", "no column 'label'; name it with task.data.label=COLUMN"),
        ("one,two,three", "There are: one, two, three"),
    ],
)
def test_no_guess_among_several(tmp_path, header, message):
    path = write(tmp_path / "a.csv", header + "\n" + "x y,a,1\nz,b,2\n" * 10)
    assert message in refused(TextSource(path=str(path)))


def test_other_data_is_read_by_the_same_guess(tmp_path):
    path = write(tmp_path / "a.tsv", tsv("text", "label", header="v2\tv1\n"))
    trained = TextSource(path=str(path))
    other = TextSource(path=str(write(tmp_path / "b.tsv", "v1\tv2\n\tbad\n\tgood\n")))
    test = other.read_other(trained, trained.read(), labelled=False).test
    assert test.texts == [b"bad", b"good"]


# ---- several files ----


def test_splits_by_the_names_of_files(tmp_path):
    for name, rows in (("train1", 20), ("train_2", 18), ("dev", 4), ("test-00000-of-00001", 6)):
        write(tmp_path / f"{name}.csv", "text,label\n" + "x,a\ny,b\n" * (rows // 2))
    write(tmp_path / "README.md", "not a table")
    write(tmp_path / "extra.csv", "text,label\nno,c\n")
    found = texts(tmp_path)
    assert [len(part.texts) for part in (found.train, found.val, found.test)] == [38, 4, 6]
    assert found.made == ()


HEADER = "text,label\n"


def test_a_list_is_read_like_the_folder_that_holds_it(tmp_path, monkeypatch):
    for name, rows in (("train1", 20), ("train_2", 18), ("dev", 4), ("test", 6)):
        write(tmp_path / f"{name}.csv", HEADER + "x,a\ny,b\n" * (rows // 2))
    whole = texts(tmp_path)
    monkeypatch.chdir(tmp_path)
    names = ["train1.csv", "train_2.csv", str(tmp_path / "dev.csv"), "test.csv"]
    for path in (names, "*.csv", ["t*.csv", "dev.csv"], str(tmp_path / "*.csv")):
        found = TextSource(path=path).read()
        assert (found.sha256, found.split_sha256) == (whole.sha256, whole.split_sha256), path
        assert found.train.texts == whole.train.texts
    assert found.name == "dev.csv and 3 more"
    assert TextSource(path=["train1.csv"]).read().name == "train1.csv"
    # without names of splits, all are training rows, in the order given
    for name in "ba":
        write(tmp_path / "more" / f"{name}.csv", HEADER + f"{name},a\n{name},b\n" * 10)
    found = TextSource(path=["more/b.csv", "more/a.csv"]).read()
    assert found.train.texts == sorted(found.train.texts, reverse=True)
    assert set(found.train.texts) == {b"a", b"b"}
    assert found.made == ("test", "val")


def test_a_list_of_folders(tmp_path):
    """The name of one decides on the split of its files."""
    for name in ("train", "test"):
        write(tmp_path / name / "part.csv", HEADER + f"{name},a\n{name},b\n" * 10)
        write(tmp_path / "plain" / name / "book.txt", f"{name} " * 10)
    found = TextSource(path=[str(tmp_path / "test"), str(tmp_path / "train")]).read()
    assert (set(found.train.texts), set(found.test.texts)) == ({b"train"}, {b"test"})
    corpus = CorpusSource(path=str(tmp_path / "plain" / "*")).read()
    assert bytes(corpus.test.numpy()) == b"test " * 10


def test_a_table_in_several_files(tmp_path):
    for name in ("a.csv", "b.csv"):
        write(tmp_path / name, "age,kind\n" + "1,a\n2,b\n" * 10)
    source = {"numeric": ["age"], "targets": {"t": {"column": "kind"}}}
    assert len(TableSource(path=str(tmp_path / "?.csv"), **source).read().train.targets) == 32


def test_a_list_that_cannot_be_read(tmp_path):
    write(tmp_path / "a.csv", HEADER + "x,a\ny,b\n")
    for name in ("dev.csv", "val.csv", "b/dev.csv"):
        write(tmp_path / name, HEADER + "x,a\n")
    write(tmp_path / "b" / "other.csv", "words,kind\nx,a\n")
    write(tmp_path / "readme.md", "x")
    write(tmp_path / "empty" / "readme.md", "x")
    for path, fragments in {
        ("*.json",): ["*.json: nothing matches this pattern", "holds a.csv"],
        ("a.csv", "c.csv"): ["c.csv: no such file or folder; did you mean", "a.csv?"],
        ("a.csv", "b/../a.csv"): ["a.csv is named twice; name it once"],
        ("a.csv", "*.csv"): ["a.csv is named twice"],
        ("a.csv", "dev.csv", "val.csv"): ["dev.csv and", "val.csv are both called val; leave out"],
        ("dev.csv", "a.csv", "b/dev.csv"): ["are both called val", "such as val1 and val2"],
        ("a.csv", "b/other.csv"): [
            "other.csv: no column 'text' (task.data.text=text), which",
            "has",
        ],
        ("a.csv", "empty"): ["empty: holds no file like those of the others; leave it out"],
        ("a.csv", "readme.md"): ["readme.md: the suffix '.md' has no known format", "leave it out"],
    }.items():
        text = refused(TextSource(path=[str(tmp_path / name) for name in path]))
        assert [part for part in fragments if part not in text] == [], text


def test_a_pattern_on_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["task=text_classification", "task.data.path=*.csv", "out=run"]) == 2
    assert "task.data.path=*.csv: nothing matches this pattern" in capsys.readouterr().err


def test_several_columns_of_text(tmp_path):
    rows = [f"title {n},body {n},{'ab'[n % 2]}" for n in range(20)]
    rows[0] = ",alone,a"
    path = write(tmp_path / "a.csv", "title,body,label\n" + "\n".join(rows))
    found = texts(path, text=["title", "body"])
    assert found.train.texts[0] == b"alone"
    assert found.train.texts[-1].split(b"\n")[0].startswith(b"title ")
    assert found.train.texts[-1].split(b"\n")[1].startswith(b"body ")
    assert "no column 'boddy' (task.data.text=boddy); did you mean 'body'" in refused(
        TextSource(path=str(path), text=["title", "boddy"])
    )
    path = write(path, "title,body,label\nx,,a\n,,b\n")
    text = refused(TextSource(path=str(path), text=["title", "body"]))
    assert "line 3: the text is empty" in text


# ---- archives ----


@pytest.mark.parametrize("ending", [".tar", ".tar.gz", ".tgz"])
def test_tar(tmp_path, ending):
    write(tmp_path / "SST" / "train.tsv", tsv("text", "label", header="sentence\tlabel\n"))
    path = tmp_path / f"a{ending}"
    with tarfile.open(path, "w" if ending == ".tar" else "w:gz") as file:
        file.add(tmp_path / "SST", "SST")
    assert texts(path).sha256 == texts(tmp_path / "SST").sha256
    with tarfile.open(path, "w") as file:
        file.add(tmp_path / "SST", "../SST")
    assert "cannot be read (OutsideDestinationError" in refused(TextSource(path=str(path)))


def test_archives_of_splits(tmp_path):
    """The name of an archive decides, whatever the folder in it is called."""
    for name in ("train", "test"):
        for row, image in enumerate(pixels(8, 8, 8)):
            write(tmp_path / name / "in" / "ab"[row % 2] / f"{row}.png", encoded(image))
        archive(tmp_path / f"{name}.zip", tmp_path / name / "in")
    found = ImageSource(path=str(tmp_path / "*.zip"), val=0.25).read()
    assert [len(part.y) for part in (found.train, found.val, found.test)] == [6, 2, 8]
    assert found.name == "test.zip and 1 more"
    assert found.sha256 == ImageSource(path=str(tmp_path / "*.zip"), val=0.3).read().sha256
    write(tmp_path / "train" / "in" / "a" / "x.png", b"no image")
    archive(tmp_path / "train.zip", tmp_path / "train" / "in")
    text = refused(ImageSource(path=str(tmp_path / "*.zip")))
    assert text.startswith(f"{tmp_path / 'train.zip' / 'in' / 'a' / 'x.png'}: cannot be read")
    text = refused(ImageSource(path=[str(tmp_path / name) for name in ("test.zip", "train")]))
    assert "train is no archive as others are; unpack these first" in text
    # folders of classes are no list of data sets
    text = refused(ImageSource(path=str(tmp_path / "train" / "in" / "*")))
    assert "in/a: holds 0.png" in text.replace("\\", "/")


def test_zip_of_texts(tmp_path):
    """The same data, with the same hash, as the folder it holds."""
    folder = tmp_path / "SST"
    write(folder / "train.tsv", tsv("text", "label", header="sentence\tlabel\n"))
    write(folder / "dev.tsv", "sentence\tlabel\nx\t1\n")
    found = texts(archive(tmp_path / "SST.zip", folder))
    assert (found.sha256, found.split_sha256) == (texts(folder).sha256, texts(folder).split_sha256)
    assert found.val.texts == [b"x"]


def test_zip_of_images_and_of_running_text(tmp_path):
    for row, image in enumerate(pixels(20, 8, 8)):
        name = f"{row}.png" + (".gz" if row < 5 else "")
        write(tmp_path / "pets" / ("cat", "dog")[row % 2] / name, encoded(image))
    found = ImageSource(path=str(archive(tmp_path / "pets.zip", tmp_path / "pets"))).read()
    assert found.train.classes == ("cat", "dog")
    assert len(found.train.y) + len(found.val.y) + len(found.test.y) == 20
    write(tmp_path / "plays" / "a.txt", b"ab" * 50)
    write(tmp_path / "plays" / "b.txt", b"cd" * 50)
    corpus = CorpusSource(path=str(archive(tmp_path / "plays.zip", tmp_path / "plays"))).read()
    assert bytes(corpus.train.numpy()) == b"ab" * 50 + b"cd" * 30


def test_table_in_a_zip(tmp_path):
    write(tmp_path / "t" / "rows.csv", "age,kind\n" + "1,a\n2,b\n" * 10)
    path = archive(tmp_path / "t.zip", tmp_path / "t")
    source = {"path": str(path), "numeric": ["age"], "targets": {"t": {"column": "kind"}}}
    assert len(TableSource(**source).read().train.targets) == 16


def test_errors_of_a_zip_name_it(tmp_path):
    write(tmp_path / "t" / "train.csv", "text,label\nx,a\n,b\n")
    text = refused(TextSource(path=str(archive(tmp_path / "t.zip", tmp_path / "t"))))
    assert text.startswith(f"{tmp_path / 't.zip' / 't' / 'train.csv'}, line 3: the text is empty")
    path = write(tmp_path / "half.zip", (tmp_path / "t.zip").read_bytes()[:50])
    assert "half.zip: cannot be read (BadZipFile" in refused(TextSource(path=str(path)))


def test_zip_that_grows(tmp_path, monkeypatch):
    monkeypatch.setattr("tasks.readers.growth.ALWAYS_ACCEPTED", 10_000)
    write(tmp_path / "t" / "train.csv", "text,label\n" + "x,a\ny,b\n" * 200_000)
    text = refused(TextSource(path=str(archive(tmp_path / "t.zip", tmp_path / "t"))))
    assert "t.zip: its" in text
    assert "over 200 times as many; exclude it or, if you trust it, unpack it" in text


def test_zip_stays_in_its_folder(tmp_path):
    (tmp_path / "in").mkdir()
    with zipfile.ZipFile(tmp_path / "in" / "a.zip", "w") as file:
        file.writestr("../../out.tsv", tsv("text", "label", header="text\tlabel\n"))
    before = sorted(tmp_path.rglob("*"))
    assert texts(tmp_path / "in" / "a.zip").train.classes == ("0", "1")
    assert sorted(tmp_path.rglob("*")) == before


# ---- what is no text ----


def test_images_are_no_text(tmp_path):
    path = write(tmp_path / "photos" / "a.png.gz", encoded(pixels(1, 8, 8)[0]))
    text = refused(CorpusSource(path=str(path.parent)))
    assert text.startswith(f"{path}: is binary, not text (its byte ")
    write(tmp_path / "c" / "x" / "a.txt", b"\x89PNG\0")
    write(tmp_path / "c" / "y" / "b.txt", b"text")
    assert "a.txt: is binary, not text (its byte 5 is zero)" in refused(
        TextSource(path=str(tmp_path / "c"))
    )
    path = write(tmp_path / "a.csv", b"PK\3\4\0\0")
    assert "a.csv: is binary, not text" in refused(TextSource(path=str(path)))


def test_text_in_16_bits_is_text(tmp_path):
    path = write(tmp_path / "a.txt", ("word " * 100).encode("utf-16"))
    assert len(CorpusSource(path=str(path)).read().test) == 100


# ---- images of several sizes ----


def test_images_are_scaled_and_framed(tmp_path):
    """A wide image keeps its proportions: it lies in the middle, with black above and below."""
    for row in range(20):
        shape = (8, 8) if row % 2 else (4, 16)
        white = np.full(shape, 255, np.uint8)
        write(tmp_path / "ab"[row % 2] / f"{row:02}.png", encoded(white))
    text = refused(ImageSource(path=str(tmp_path)))
    assert "scale all to one size with task.data.size=[HEIGHT,WIDTH]" in text
    found = ImageSource(path=str(tmp_path), size=[8, 8]).read()
    assert found.train.x.shape == (16, 1, 8, 8)
    rows = found.train.x[found.train.y == 0][0, 0].float().mean(1).tolist()
    assert rows == [0, 0, 0, 255, 255, 0, 0, 0]
    assert found.train.x[found.train.y == 1].min() == 255


def test_arrays_are_scaled(tmp_path):
    x, y = np.full((20, 4, 16, 3), 255, np.uint8), np.arange(20) % 2
    np.savez(tmp_path / "a.npz", x_train=x, y_train=y, x_test=x[:, :, :4], y_test=y)
    found = ImageSource(path=str(tmp_path / "a.npz"), size=[8, 8]).read()
    assert found.train.x.shape[1:] == found.test.x.shape[1:] == (3, 8, 8)
    assert found.test.x.min() == 255
