"""Files that cannot be used are refused with the file, the row and the cure."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.readers import (
    CorpusSource,
    DataError,
    ImageSource,
    TableSource,
    TextSource,
)

from .files import (
    cut_short,
    encoded,
    idx,
    lines,
    pixels,
    write,
    write_idx,
    write_parquet,
)

TEXTS = "text,label\n" + "x,a\ny,b\n" * 10
IMAGES = pixels(20, 6, 5)
PNGS = [encoded(image) for image in IMAGES]
LABELS = [0, 1] * 10
TWO = np.array(LABELS, np.uint8)


def message(source) -> str:
    with pytest.raises(DataError) as error:
        source.read()
    return str(error.value)


def refused_texts(path, **options) -> str:
    return message(TextSource(path=str(path), **options))


def refused_images(path, **options) -> str:
    return message(ImageSource(path=str(path), **options))


def refused_table(path, **options) -> str:
    targets = {"t": {"column": "label"}}
    given = {"path": str(path), "numeric": ["age"], "targets": targets, **options}
    return message(TableSource(**given))


def check(text: str, *fragments: str) -> None:
    assert [part for part in fragments if part not in text] == [], text
    assert len(text.splitlines()) == 1


# ---- paths ----


@pytest.mark.parametrize("kind", [TextSource, ImageSource, CorpusSource])
def test_path_that_does_not_exist(tmp_path, kind):
    write(tmp_path / "reviews" / "train.csv", TEXTS)
    text = message(kind(path=str(tmp_path / "reviws" / "train.csv")))
    check(text, "task.data.path=", "no such file or folder", f"mean {tmp_path / 'reviews'}?")
    text = message(kind(path=str(tmp_path / "reviews" / "qqq")))
    check(text, "no such file or folder", "holds train.csv")


def test_path_below_a_file(tmp_path):
    path = write(tmp_path / "a.csv", TEXTS)
    check(refused_texts(path / "b.csv"), "no such file or folder")


def test_empty_folder(tmp_path):
    (tmp_path / "full").mkdir()
    check(refused_texts(tmp_path / "full"), "holds none; expected", "train.csv")
    check(refused_images(tmp_path / "full"), "holds none; expected one folder of images per class")
    check(refused_table(tmp_path / "full"), "holds none; expected", "train.parquet")


def test_folder_of_something_else(tmp_path):
    write(tmp_path / "a.docx", "x")
    check(refused_texts(tmp_path), "holds a.docx; expected")
    check(refused_images(tmp_path), "holds a.docx; expected")
    check(refused_images(tmp_path / "a.docx"), "a.docx", "expected one folder of images per class")


def test_empty_class_folder(tmp_path):
    for row, png in enumerate(PNGS):
        write(tmp_path / "ab"[row % 2] / f"{row}.png", png)
    (tmp_path / "c").mkdir()
    check(refused_images(tmp_path), f"{tmp_path / 'c'}: the folder holds no file", "remove it")


def test_no_training_file(tmp_path):
    for name in ("validation", "test"):
        write(tmp_path / f"{name}.csv", TEXTS)
    check(refused_texts(tmp_path), "test.csv", "no training file", "name it train*")


def test_suffix_that_tells_nothing(tmp_path):
    path = write(tmp_path / "a.corpus", TEXTS)
    check(refused_texts(path), "a.corpus", "'.corpus'", "task.data.format=csv|tsv|jsonl|parquet")


def test_format_that_does_not_exist(tmp_path):
    path = write(tmp_path / "a.csv", TEXTS)
    with pytest.raises(ValueError, match=r"task\.data\.format=cvs: unknown; did you mean 'csv'"):
        TextSource(path=str(path), format="cvs").read()


# ---- damaged files ----


def test_truncated_gzip(tmp_path):
    path = write(tmp_path / "a.csv.gz", TEXTS)
    cut_short(path)
    check(refused_texts(path), "a.csv.gz: cannot be read (EOFError", "download")


def test_damaged_gzip(tmp_path):
    path = write(tmp_path / "a.csv.gz", TEXTS)
    content = bytearray(path.read_bytes())
    content[-6] ^= 255  # of the check sum
    path.write_bytes(content)
    check(refused_texts(path), "a.csv.gz: cannot be read (BadGzipFile", "download")
    check(refused_texts(write(tmp_path / "b.csv", TEXTS).rename(tmp_path / "b.csv.gz")), "b.csv.gz")


def test_image_file_that_cannot_be_read(tmp_path):
    for row, png in enumerate(PNGS):
        write(tmp_path / "ab"[row % 2] / f"{row}.png", png)
    (tmp_path / "a" / "z.png").symlink_to("/proc/self/mem")
    check(refused_images(tmp_path), "z.png: cannot be read (OSError", "exclude it")


@pytest.fixture
def little_growth(monkeypatch):
    """A bomb of any size is one of a few bytes."""
    monkeypatch.setattr("tasks.readers.growth.ALWAYS_ACCEPTED", 10_000)


@pytest.mark.usefixtures("little_growth")
def test_gzip_that_grows(tmp_path):
    text = TEXTS + "z,a\n" * 100_000
    path = write(tmp_path / "a.csv.gz", text)
    check(refused_texts(path), "a.csv.gz: its", "over 200 times", "decompress it")
    assert TextSource(path=str(write(tmp_path / "a.csv", text))).read().train


@pytest.mark.usefixtures("little_growth")
@pytest.mark.parametrize("name", ["a.npz", "a.parquet", "image.parquet"])
def test_archive_that_grows(tmp_path, name):
    flat = np.zeros((20, 1000, 1000), np.uint8)
    path = tmp_path / name
    if name == "a.npz":
        np.savez_compressed(path, x=flat, y=LABELS)
    elif name == "a.parquet":
        text = pa.array([f"{row:02}" + "x" * 1_000_000 for row in range(20)])
        pq.write_table(pa.table({"text": text, "label": LABELS}), path, compression="zstd")
    else:
        write_parquet(path, {"img": [encoded(image) for image in flat], "label": LABELS})
    message = refused_texts(path) if name == "a.parquet" else refused_images(path)
    check(message, name, "over 200 times", "save it")


def test_file_beyond_memory(tmp_path, monkeypatch):
    def short(*_):
        raise MemoryError

    path = write(tmp_path / "a.csv", TEXTS)
    monkeypatch.setattr("pathlib.Path.read_bytes", short)
    check(refused_texts(path), "a.csv: does not fit in memory; make it smaller or exclude it")


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.csv.gz", "a.parquet"])
def test_empty_file(tmp_path, name):
    check(
        refused_texts(write(tmp_path / name, b"")),
        f"{name}: the file is empty",
        "download",
    )


@pytest.mark.parametrize("name", ["a.npz", "a.parquet", "train-images-idx3-ubyte"])
def test_empty_file_of_images(tmp_path, name):
    write(tmp_path / "train-labels-idx1-ubyte", idx(TWO))
    check(refused_images(write(tmp_path / name, b"")), f"{name}: the file is empty")


@pytest.mark.parametrize("content", ["text,label\n", "\n", "text\tlabel\n"])
def test_file_without_rows(tmp_path, content):
    path = write(tmp_path / ("a.tsv" if "\t" in content else "a.csv"), content)
    check(refused_texts(path), f"{path.name}: holds no row")


def test_parquet_without_rows(tmp_path):
    write_parquet(tmp_path / "train.parquet", {"text": ["a", "b"], "label": [0, 1]})
    write_parquet(tmp_path / "test.parquet", {"text": [], "label": []})
    check(refused_texts(tmp_path), "test.parquet: holds no row", "leave it out")


@pytest.mark.parametrize("share", [0.2, 0.9])
@pytest.mark.parametrize("name", ["a.parquet", "a.npz"])
def test_truncated_archive(tmp_path, name, share):
    path = tmp_path / name
    if name == "a.npz":
        np.savez(path, x=IMAGES, y=LABELS)
    else:
        write_parquet(path, {"img": PNGS, "label": LABELS})
    cut_short(path, share)
    check(refused_images(path), f"{name}: cannot be read (", "download")


def test_parquet_damaged_inside(tmp_path):
    path = write_parquet(tmp_path / "a.parquet", {"img": PNGS, "label": LABELS})
    content = bytearray(path.read_bytes())
    content[4:40] = bytes(36)  # the first page's header; the end of the file is whole
    path.write_bytes(content)
    check(refused_images(path), "a.parquet, column 'img': cannot be read (", "download")


def test_npz_damaged_inside(tmp_path):
    np.savez(tmp_path / "a.npz", x=IMAGES, y=LABELS)
    content = bytearray((tmp_path / "a.npz").read_bytes())
    content[300] ^= 255  # a pixel, and not its check sum
    (tmp_path / "a.npz").write_bytes(content)
    check(refused_images(tmp_path / "a.npz"), "a.npz: cannot be read (BadZipFile", "download")


def test_npz_without_an_image(tmp_path):
    np.savez(tmp_path / "a.npz", x=IMAGES[:0], y=TWO[:0])
    check(refused_images(tmp_path / "a.npz"), "a.npz, x: holds no image; fill it or leave it out")


def test_npz_of_objects_is_never_unpickled(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.array([{}], object), y=[0])
    check(refused_images(tmp_path / "a.npz"), "a.npz: cannot be read (", "allow_pickle=False")


# ---- columns and rows ----


def test_missing_column(tmp_path):
    path = write(tmp_path / "a.csv", TEXTS)
    text = refused_texts(path, text="txet")
    check(text, "a.csv: no column 'txet'", "task.data.text=txet", "mean 'text'", "text, label")
    check(refused_texts(path, label="labels"), "task.data.label=labels", "mean 'label'")
    check(refused_texts(path, group="lang"), "no column 'lang'", "task.data.group=lang")


def test_missing_column_in_one_file_of_several(tmp_path):
    write(tmp_path / "train.csv", TEXTS)
    write(tmp_path / "test.jsonl", lines({"text": "x", "lable": "a"}))
    check(refused_texts(tmp_path), "test.jsonl: no column 'label'", "did you mean 'lable'")


def test_missing_column_of_a_table(tmp_path):
    path = write(tmp_path / "a.csv", "aeg,label\n" + "1,a\n2,b\n" * 10)
    check(refused_table(path), "a.csv: no column 'age' (task.data.numeric=age)", "mean 'aeg'")


def test_missing_columns_of_images(tmp_path):
    path = write_parquet(tmp_path / "a.parquet", {"pic": PNGS, "label": LABELS})
    check(refused_images(path), "no column 'image' or 'img'", "task.data.image=COLUMN", "pic")
    check(refused_images(path, image="pick"), "no column 'pick'", "did you mean 'pic'")


@pytest.mark.parametrize(
    ("row", "fields"), [("x", 1), ("x,y,z", 3), ('"open,a', None), ('"x"y,a', None)]
)
def test_line_of_other_length(tmp_path, row, fields):
    path = write(tmp_path / "a.csv", 'text,label\n"two\nlines",b\n\n' + row + "\nx,a\n")
    text = refused_texts(path)
    check(text, "a.csv, line 5: ", "fix the line")
    if fields:
        check(text, f"{fields} fields where 2 columns are named", "delimiter")


def test_two_columns_of_one_name(tmp_path):
    path = write(tmp_path / "a.csv", "text,label,text\n" + "x,a,b\n" * 10)
    check(refused_texts(path), "two columns are called 'text'", "rename")


@pytest.mark.parametrize(("row", "kind"), [("[1]", "list"), ("{oops}", "JSONDecodeError")])
def test_line_that_is_no_object(tmp_path, row, kind):
    good = lines({"text": "x", "label": 1})
    check(refused_texts(write(tmp_path / "a.jsonl", good + "\n" + row)), "a.jsonl, line 3", kind)


# ---- texts ----


@pytest.mark.parametrize("where", ["train", "test"])
def test_text_of_no_length(tmp_path, where):
    write(tmp_path / "train.csv", TEXTS)
    write(tmp_path / "test.csv", TEXTS)
    write(tmp_path / f"{where}.csv", "text,label\nx,a\ny,b\n,a\n" + "x,b\n" * 9)
    check(refused_texts(tmp_path), f"{where}.csv, line 4: the text is empty", "remove the row")


def test_text_that_is_missing(tmp_path):
    path = write_parquet(tmp_path / "a.parquet", {"text": ["a", None, "b"], "label": [0, 1, 0]})
    check(refused_texts(path), "a.parquet, row 2: the text is missing", "remove the row")
    path = write(tmp_path / "a.jsonl", lines({"text": 5, "label": 1}))
    check(refused_texts(path), "a.jsonl, line 1: the text is int, not text")


def test_text_file_of_no_length(tmp_path):
    write(tmp_path / "a" / "1.txt", "x")
    write(tmp_path / "b" / "2.txt", "")
    check(refused_texts(tmp_path), f"{tmp_path / 'b' / '2.txt'}: the file is empty")


def test_group_of_folders(tmp_path):
    write(tmp_path / "a" / "1.txt", "x")
    check(refused_texts(tmp_path, group="lang"), "task.data.group=lang", "leave it out")


# ---- labels ----


def test_label_in_no_training_row(tmp_path):
    write(tmp_path / "train.csv", TEXTS)
    write(tmp_path / "test.csv", "text,label\nx,a\ny,bb\n")
    text = refused_texts(tmp_path)
    check(text, "test.csv, line 3: the label 'bb' is in no training row", "mean 'b'", "remove")


def test_group_in_no_training_row(tmp_path):
    write(tmp_path / "train.csv", "text,label,lang\n" + "x,a,en\ny,b,de\n" * 10)
    write(tmp_path / "test.csv", "text,label,lang\nx,a,fr\n")
    check(refused_texts(tmp_path, group="lang"), "test.csv, line 2: the group 'fr'", "de, en")


def test_label_of_an_array_in_no_training_row(tmp_path):
    arrays = {"x_train": IMAGES, "y_train": TWO, "x_test": IMAGES}
    np.savez(tmp_path / "a.npz", **arrays, y_test=[5, *LABELS[1:]])
    check(refused_images(tmp_path / "a.npz"), "a.npz, x_test, row 1: the label '5' is in no")
    np.savez(tmp_path / "a.npz", **arrays, y_test=[*LABELS[1:], 5])
    check(refused_images(tmp_path / "a.npz"), "a.npz, x_test, row 20: the label '5' is in no")


@pytest.mark.parametrize("label", [2, -1])
@pytest.mark.parametrize("split", ["train", "test"])
def test_label_out_of_range(tmp_path, label, split):
    names = {"label": ["no", "yes"]}
    good = {"text": ["x"] * 20, "label": LABELS}
    for name in ("train", "test"):
        labels = [0, 1, label] if name == split else LABELS
        columns = {**good, "text": ["x"] * len(labels), "label": labels}
        write_parquet(tmp_path / f"{name}.parquet", columns, names)
    text = refused_texts(tmp_path)
    check(
        text, f"{split}.parquet, row 3: the label {label} is out of range", "in [0, 1]", "no, yes"
    )


@pytest.mark.parametrize("label", [None, "", 0.5])
def test_label_that_is_none(tmp_path, label):
    path = write(
        tmp_path / "a.jsonl", lines({"text": "x", "label": 1}, {"text": "x", "label": label})
    )
    shown = "0.5" if label else "missing"
    check(refused_texts(path), f"a.jsonl, line 2: the label is {shown}", "remove the row")


def test_single_class(tmp_path):
    path = write(tmp_path / "a.csv", "text,label\n" + "x,spam\n" * 30)
    check(
        refused_texts(path), "a.csv: every training row has the label 'spam'", "two or more classes"
    )
    np.savez(tmp_path / "a.npz", x=IMAGES, y=np.full(20, 7))
    check(refused_images(tmp_path / "a.npz"), "every training row has the label '7'")
    table = write(tmp_path / "t.csv", "age,label\n" + "1,spam\n" * 30)
    check(refused_table(table), "t.csv: every training row has the label 'spam'")


# ---- images ----


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_truncated_image(tmp_path, kind):
    images = [encoded(image, kind) for image in pixels(20, 32, 32)]
    images[6] = images[6][: len(images[6]) // 2]
    path = write_parquet(tmp_path / "a.parquet", {"img": images, "label": LABELS})
    check(refused_images(path), "a.parquet, row 7: cannot be read (OSError", "download")


def test_image_that_is_none(tmp_path):
    images = [*PNGS[:4], b"not an image", *PNGS[5:]]
    path = write_parquet(tmp_path / "a.parquet", {"img": images, "label": LABELS})
    check(refused_images(path), "a.parquet, row 5: cannot be read (UnidentifiedImageError")
    cells = [{"bytes": None, "path": "a.png"}] * 20
    path = write_parquet(tmp_path / "b.parquet", {"img": cells, "label": LABELS})
    check(refused_images(path), "b.parquet, row 1: no bytes of an image", "remove the row")


def test_image_of_another_size(tmp_path):
    images = [*PNGS[:19], encoded(pixels(1, 5, 7)[0])]
    path = write_parquet(tmp_path / "a.parquet", {"img": images, "label": LABELS})
    check(refused_images(path), "a.parquet, row 20: the image is 7x5 and the first one 5x6", "size")
    for row, image in enumerate(images):
        write(tmp_path / "f" / "ab"[row // 10] / f"{row:02}.png", image)
    check(refused_images(tmp_path / "f"), f"{tmp_path / 'f' / 'b' / '19.png'}: the image is 7x5")


def test_image_of_another_size_in_another_split(tmp_path):
    write_parquet(tmp_path / "train.parquet", {"img": PNGS, "label": LABELS})
    other = {"img": [encoded(pixels(1, 8, 8)[0])], "label": [0]}
    write_parquet(tmp_path / "test.parquet", other)
    check(refused_images(tmp_path), "test.parquet, row 1: the image is 8x8 and the first one 5x6")
    np.savez(tmp_path / "a.npz", x_train=IMAGES, y_train=TWO, x_test=IMAGES[:, :4], y_test=TWO)
    (tmp_path / "train.parquet").unlink()
    text = refused_images(tmp_path / "a.npz")
    check(text, "a.npz, x_test: the images are 1x4x5", "a.npz, x_train 1x6x5", "one size")


def test_image_of_another_mode(tmp_path):
    images = [*PNGS[:19], encoded(pixels(1, 6, 5, 3)[0])]
    path = write_parquet(tmp_path / "a.parquet", {"img": images, "label": LABELS})
    text = refused_images(path)
    check(text, "a.parquet, row 20: the image is of mode RGB and the first one of L", "channels=3")
    first = [encoded(pixels(1, 6, 5, 3)[0], mode="RGBA"), *PNGS[1:]]
    path = write_parquet(tmp_path / "b.parquet", {"img": first, "label": LABELS})
    check(refused_images(path), "b.parquet, row 1: the image is of mode RGBA", "channels=3")


# ---- IDX and NumPy ----


def test_idx_of_another_magic_number(tmp_path):
    write_idx(tmp_path, "train-", IMAGES, TWO)
    path = write(tmp_path / "train-images-idx3-ubyte", idx(IMAGES, magic=0x801))
    check(refused_images(path), f"{path}: begins with 00 00 08 01", "00 00 08 03", "download")


def test_idx_with_values_missing(tmp_path):
    write_idx(tmp_path, "train-", IMAGES, TWO)
    path = tmp_path / "train-images-idx3-ubyte"
    cut_short(path)
    check(refused_images(path), str(path), "20 x 6 x 5 = 600", "download")
    path.write_bytes(idx(IMAGES)[:6])
    check(refused_images(path), str(path), "holds 0 values")


def test_idx_of_other_counts(tmp_path):
    write_idx(tmp_path, "train-", IMAGES, TWO[:19])
    text = refused_images(tmp_path)
    check(text, "train-labels-idx1-ubyte: 19 labels for the 20 images of", "pair of files")


def test_idx_without_labels(tmp_path):
    write(tmp_path / "train-images-idx3-ubyte", idx(IMAGES))
    check(refused_images(tmp_path), "no file of labels in its folder", "train-labels-idx1-ubyte")


@pytest.mark.parametrize(
    ("arrays", "fragments"),
    [
        ({"X": IMAGES, "y": TWO}, ("no array 'x'", "did you mean", "x_train")),
        ({"x_train": IMAGES, "y": TWO}, ("no array 'y_train'", "There are: x_train, y")),
        ({"x_test": IMAGES, "y_test": TWO}, ("no array 'x_train'", "There are: x_test, y_test")),
        ({"x": IMAGES / 255, "y": TWO}, ("a.npz, x: pixels are of type float64", "uint8")),
        ({"x": IMAGES[0], "y": TWO}, ("a.npz, x: its shape is (6, 5)", "(N, H, W, C)")),
        ({"x": IMAGES, "y": TWO[:3]}, ("a.npz, y: its shape is (3,) for 20 images", "one label")),
        ({"x": IMAGES, "y": TWO / 2}, ("a.npz, y: labels are of type float64", "integers")),
        ({"x": IMAGES, "y": np.arange(20) - 1}, ("a.npz, y, row 1: the label -1 is out of range",)),
    ],
)
def test_arrays_that_do_not_fit(tmp_path, arrays, fragments):
    np.savez(tmp_path / "a.npz", **arrays)
    check(refused_images(tmp_path / "a.npz"), *fragments)


# ---- tables ----


def table(*rows: str) -> str:
    return "age,label\n" + "1,a\n2,b\n" * 10 + "".join(row + "\n" for row in rows)


def test_number_that_is_none(tmp_path):
    path = write(tmp_path / "a.csv", table("old,a"))
    text = refused_table(path)
    check(text, "a.csv, line 22, column 'age': 'old' is no number", "task.data.missing")
    check(refused_table(write(path, table("inf,a"))), "line 22, column 'age': 'inf'")
    check(refused_table(write(path, table("-1e39,a"))), "column 'age': '-1e39' is no number up to")


def test_column_without_a_value(tmp_path):
    path = write(tmp_path / "a.csv", "age,label\n" + "?,a\n,b\n" * 10)
    check(refused_table(path), "a.csv, column 'age': no training row has a value")
    path = write(tmp_path / "b.csv", "age,label\n" + "1,?\n" * 20)
    check(refused_table(path), "b.csv, column 'label': no training row has a value")


def test_class_in_no_training_row(tmp_path):
    write(tmp_path / "train.csv", table())
    write(tmp_path / "test.csv", "age,label\n1,a\n2,bb\n")
    text = refused_table(tmp_path)
    check(text, "test.csv, line 3, column 'label': the class 'bb'", "did you mean 'b'", "remove")


def test_positive_that_is_never_seen(tmp_path):
    path = write(tmp_path / "a.csv", table())
    targets = {"t": {"column": "label", "kind": "binary", "positive": ["a", "B."]}}
    text = refused_table(path, targets=targets)
    check(text, "a.csv: task.data.targets.t.positive=B.: no training row", "There are: a, b")
    targets = {"t": {"column": "label", "kind": "binary"}}
    path = write(tmp_path / "b.csv", table(*["3,c"] * 20))
    check(refused_table(path, targets=targets), "more than two values", "targets.t.positive=VALUE")


def test_columns_that_are_too_few(tmp_path):
    path = write(tmp_path / "a.csv", "1,2,a\n3,4,b\n")
    text = refused_table(path, columns=["age", "label"])
    check(text, "a.csv, line 1: 3 fields where 2 columns are named")


def test_lists_in_a_table(tmp_path):
    rows = [{"age": 1, "label": "a"}, {"age": [1], "label": "b"}]
    path = write(tmp_path / "a.jsonl", lines(*rows * 10))
    check(refused_table(path), "a.jsonl, line 2: holds a list", "its own column")
