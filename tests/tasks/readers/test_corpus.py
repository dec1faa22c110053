"""Running text is read byte for byte and split where it lies."""

import hashlib

import pytest

from tasks.readers import CorpusSource, DataError, Splits

from .files import cut_short, write

TEXT = bytes([*range(1, 256), 10]) * 4  # a zero byte would mark what is no text


def read(path, **options) -> Splits:
    return CorpusSource(path=str(path), **options).read()


def content(part) -> bytes:
    return part.numpy().tobytes()


@pytest.mark.parametrize("name", ["book.txt", "book.txt.gz"])
def test_file(tmp_path, name):
    found = read(write(tmp_path / name, TEXT), val=0.25, test=0.125)
    assert content(found.train) == TEXT[:640]
    assert content(found.val) == TEXT[640:896]
    assert content(found.test) == TEXT[896:]


def test_folder(tmp_path):
    write(tmp_path / "b" / "one.txt", b"BB")
    write(tmp_path / "a.txt.gz", b"A" * 10)
    write(tmp_path / "c.md", b"C" * 8)
    write(tmp_path / ".hidden", b"no")
    found = read(tmp_path)
    joined = content(found.train) + content(found.val) + content(found.test)
    assert joined == b"A" * 10 + b"BB" + b"C" * 8


def test_own_splits(tmp_path):
    write(tmp_path / "wiki.train.raw", b"a" * 100)
    write(tmp_path / "wiki.valid.raw", b"b" * 5)
    write(tmp_path / "wiki.test.raw", b"c" * 7)
    found = read(tmp_path)
    assert [len(part) for part in (found.train, found.val, found.test)] == [100, 5, 7]


def test_own_splits_in_folders(tmp_path):
    """The outermost name counts: what is in ``train`` is for training, whatever it is called."""
    write(tmp_path / "text" / "train" / "b.txt", b"b" * 90)
    write(tmp_path / "text" / "train" / "test.txt", b"a" * 10)
    write(tmp_path / "text" / "val" / "part" / "a.txt", b"c" * 5)
    write(tmp_path / "text" / "test.txt", b"d" * 7)
    found = read(tmp_path)
    assert content(found.train) == b"b" * 90 + b"a" * 10
    assert (content(found.val), content(found.test)) == (b"c" * 5, b"d" * 7)


def test_hashes(tmp_path):
    path = write(tmp_path / "book.txt", TEXT)
    assert read(path).sha256 == hashlib.sha256(TEXT).hexdigest()
    assert read(path).split_sha256 == read(path).split_sha256
    assert read(path).split_sha256 != read(path, val=0.2).split_sha256


def test_too_short(tmp_path):
    with pytest.raises(DataError, match=r"book\.txt: 5 bytes leave none for .*give more text"):
        read(write(tmp_path / "book.txt", b"abcde"))


def test_truncated(tmp_path):
    path = write(tmp_path / "book.txt.gz", TEXT)
    cut_short(path)
    with pytest.raises(DataError, match=r"book\.txt\.gz: cannot be read \(EOFError.*download"):
        read(path)


def test_empty(tmp_path):
    with pytest.raises(DataError, match=r"task\.data\.path=.*: holds nothing; expected text files"):
        read(tmp_path)
    with pytest.raises(DataError, match=r"book\.txt: the file is empty"):
        read(write(tmp_path / "book.txt", b""))
