"""Images are read as they are, whatever they are kept in."""

import hashlib

import numpy as np
import pyarrow as pa
import pytest
import torch

from tasks.readers import ImageSource, Splits

from .files import encoded, pixels, write, write_idx, write_parquet

GRAY, COLOUR = (6, 5), (6, 5, 3)


def read(path, **options) -> Splits:
    return ImageSource(path=str(path), **options).read()


def everything(splits) -> set:
    """Every image with its class, whichever split it is in."""
    return {
        (image.numpy().tobytes(), part.classes[label])
        for part in (splits.train, splits.val, splits.test)
        for image, label in zip(part.x, part.y, strict=True)
    }


def expected(images, names) -> set:
    """The same of arrays ``(N, H, W[, 3])``."""
    stacked = (
        images[:, None] if images.ndim == 3 else np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    )
    return {(i.tobytes(), n) for i, n in zip(stacked, names, strict=True)}


@pytest.mark.parametrize("shape", [GRAY, COLOUR])
def test_folder_of_classes(tmp_path, shape):
    images = pixels(40, *shape)
    names = ["cat", "dog"] * 20
    for row, (image, name) in enumerate(zip(images, names, strict=True)):
        write(tmp_path / "pets" / name / f"{row}.png", encoded(image))
    write(tmp_path / "pets" / "cat" / "notes.txt", "no image")
    write(tmp_path / "pets" / ".DS_Store", "no image")
    found = read(tmp_path / "pets")
    assert found.name == "pets"
    assert found.train.classes == ("cat", "dog")
    assert everything(found) == expected(images, names)
    assert (len(found.train.y), len(found.val.y), len(found.test.y)) == (32, 4, 4)
    assert found.train.x.dtype == torch.uint8


def test_folder_of_splits(tmp_path):
    images = pixels(8, *GRAY)
    places = ["train/train", "train/cat", "valid/cat", "test/train"]  # a class may be called train
    for row, image in enumerate(images):
        write(tmp_path / places[row // 2] / f"{row}.png", encoded(image))
    found = read(tmp_path)
    assert found.train.classes == ("cat", "train")
    assert found.val.x[:, 0].numpy().tolist() == images[4:6].tolist()
    assert found.test.y.tolist() == [1, 1]


def test_class_called_train(tmp_path):
    for name in ("bus", "train"):
        for row, image in enumerate(pixels(10, *GRAY)):
            write(tmp_path / name / f"{row}.png", encoded(image))
    assert read(tmp_path).train.classes == ("bus", "train")


@pytest.mark.parametrize("struct", [True, False])
def test_parquet(tmp_path, struct):
    images = pixels(30, *COLOUR)
    labels = [row % 3 for row in range(30)]
    cells = [{"bytes": encoded(i), "path": "x"} if struct else encoded(i) for i in images]
    names = {"label": ["ant", "bee", "cow"]}
    for split, rows in (
        ("train", slice(20)),
        ("validation", slice(20, 25)),
        ("test", slice(25, 30)),
    ):
        columns = {"img": cells[rows], "label": labels[rows]}
        write_parquet(tmp_path / "data" / f"{split}-00000-of-00001.parquet", columns, names)
    found = read(tmp_path)
    assert found.train.classes == ("ant", "bee", "cow")
    assert found.train.x.permute(0, 2, 3, 1).numpy().tolist() == images[:20].tolist()
    assert found.test.y.tolist() == labels[25:]
    assert len(found.val.y) == 5


def test_parquet_of_one_file(tmp_path):
    cells = pa.array([encoded(i) for i in pixels(20, *GRAY)])
    path = write_parquet(tmp_path / "all.parquet", {"photo": cells, "kind": ["a", "b"] * 10})
    found = read(path, image="photo", label="kind")
    assert (len(found.train.y), len(found.val.y), len(found.test.y)) == (16, 2, 2)
    assert found.test.y.sort().values.tolist() == [0, 1]
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_parquet_of_several_parts(tmp_path):
    images = pixels(20, *GRAY)
    for part in (0, 1):
        rows = slice(10 * part, 10 * part + 10)
        columns = {"image": [encoded(i) for i in images[rows]], "label": [3, 12] * 5}
        write_parquet(tmp_path / f"part-{part}.parquet", columns)
    found = read(tmp_path)
    assert found.train.classes == ("3", "12")
    assert everything(found) == expected(images, ["3", "12"] * 10)


@pytest.mark.parametrize("end", ["", ".gz"])
def test_idx(tmp_path, end):
    images, labels = pixels(30, *GRAY), np.arange(30, dtype=np.uint8) % 10
    write_idx(tmp_path, "train-", images[:20], labels[:20], end)
    write_idx(tmp_path, "t10k-", images[20:], labels[20:], end)
    found = read(tmp_path, val=0.5)
    assert found.test.x[:, 0].numpy().tolist() == images[20:].tolist()
    assert found.test.y.tolist() == labels[20:].tolist()
    assert everything(found) == expected(images, map(str, labels))


def test_idx_by_its_file(tmp_path):
    images, labels = pixels(20, *GRAY), np.arange(20, dtype=np.uint8) % 2
    write_idx(tmp_path, "train-", images, labels)
    found = read(tmp_path / "train-images-idx3-ubyte")
    assert everything(found) == expected(images, map(str, labels))


@pytest.mark.parametrize("shape", [GRAY, COLOUR, (3, 6, 5), (1, 6, 5)])
def test_npz(tmp_path, shape):
    images, labels = pixels(40, *shape), np.arange(40) % 2
    np.savez(tmp_path / "one.npz", x=images, y=labels)
    names = list(map(str, labels))
    plain = images[:, 0] if shape[0] == 1 else images
    plain = plain.transpose(0, 2, 3, 1) if shape[0] == 3 else plain
    assert everything(read(tmp_path / "one.npz")) == expected(plain, names)


def test_npz_with_splits(tmp_path):
    images, labels = pixels(30, *GRAY), np.arange(30).reshape(-1, 1) % 2
    parts = {"train": slice(20), "val": slice(20, 26), "test": slice(26, 30)}
    arrays = {f"x_{s}": images[rows] for s, rows in parts.items()}
    arrays |= {f"y_{s}": labels[rows] for s, rows in parts.items()}
    np.savez_compressed(tmp_path / "it.npz", **arrays)
    found = read(tmp_path)
    assert found.val.x[:, 0].numpy().tolist() == images[20:26].tolist()
    assert found.test.y.tolist() == [0, 1, 0, 1]


def test_archives_that_each_have_splits(tmp_path):
    images = pixels(40, *GRAY)
    for part, name in enumerate(("a.npz", "b.npz")):
        mine = images[20 * part : 20 * part + 20]
        arrays = {"x_train": mine[:16], "x_val": mine[16:18], "x_test": mine[18:]}
        labels = {f"y_{s}": np.arange(len(arrays[f"x_{s}"])) % 2 for s in ("train", "val", "test")}
        np.savez(tmp_path / name, **arrays, **labels)
    found = read(tmp_path)
    assert found.train.x[:, 0].numpy().tolist() == [*images[:16].tolist(), *images[20:36].tolist()]
    assert found.test.x[:, 0].numpy().tolist() == images[[18, 19, 38, 39]].tolist()


@pytest.mark.parametrize("channels", [1, 3])
def test_channels(tmp_path, channels):
    """Gray and colour side by side, and the same from an array."""
    images = pixels(20, *COLOUR)
    for row, image in enumerate(images):
        mode = ("RGB", "L", "RGBA", "P")[row % 4]
        write(tmp_path / "files" / "ab"[row % 2] / f"{row:02}.png", encoded(image, mode=mode))
    assert read(tmp_path / "files", channels=channels).train.x.shape == (16, channels, 6, 5)
    for row, image in enumerate(images):
        write(tmp_path / "colour" / "ab"[row % 2] / f"{row:02}.png", encoded(image))
    np.savez(tmp_path / "it.npz", x=images, y=["a", "b"] * 10)
    same = everything(read(tmp_path / "colour", channels=channels))
    assert everything(read(tmp_path / "it.npz", channels=channels)) == same


def test_hash_tells_content_names_and_splits_apart(tmp_path):
    image, other = pixels(2, *GRAY)

    def digest(folder, changed=image, name="a"):
        for row in range(12):
            write(tmp_path / folder / "x" / f"{row}.png", encoded(image))
            write(tmp_path / folder / name / f"{row}.png", encoded(changed if row == 5 else image))
        found = read(tmp_path / folder)
        return found.sha256, found.split_sha256

    first = digest("one")
    assert digest("two") == first
    assert digest("three", changed=other)[0] != first[0]
    assert digest("four", name="b")[0] != first[0]
    assert read(tmp_path / "one", test=0.3).split_sha256 != first[1]
