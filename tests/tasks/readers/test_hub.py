"""Data sets of the hub, through a library that stands in for ``datasets``."""

import socket
import sys
import threading
import time
from importlib.machinery import ModuleSpec
from types import SimpleNamespace

import pytest

from tasks.readers import (
    CorpusSource,
    DataError,
    ImageSource,
    TextSource,
)

from .files import arrow, encoded, pixels


class Part:
    """A split as ``datasets`` gives it."""

    def __init__(self, table):
        self.table = table

    def with_format(self, kind):
        assert kind == "arrow"
        return self

    def __getitem__(self, rows):
        return self.table[rows] if isinstance(rows, str) else self.table.slice()


@pytest.fixture
def hub(monkeypatch):
    """A hub that holds what the test puts into it, by ``(name, config)``."""
    held = {}

    def load_dataset(name, config):
        if (name, config) not in held:
            raise FileNotFoundError(f"Dataset {name!r} doesn't exist\nsecond line")
        return {split: Part(table) for split, table in held[name, config].items()}

    library = SimpleNamespace(load_dataset=load_dataset, __spec__=ModuleSpec("datasets", None))
    monkeypatch.setitem(sys.modules, "datasets", library)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return held


def texts(rows, first=0):
    columns = {"text": [f"t{first + n}" for n in range(rows)], "label": [0, 1] * (rows // 2)}
    return arrow(columns, {"label": ["no", "yes"]})


def test_texts(hub):
    hub["tweets", "en"] = {"train": texts(20), "validation": texts(4, 20), "test": texts(6, 24)}
    found = TextSource(hub="tweets:en").read()
    assert found.name == "tweets:en"
    assert found.train.classes == ("no", "yes")
    assert found.val.texts == [b"t20", b"t21", b"t22", b"t23"]
    assert found.test.y.tolist() == [0, 1] * 3


def test_splits_that_are_missing(hub):
    hub["tweets", None] = {"train": texts(40), "unsupervised": texts(2)}
    found = TextSource(hub="tweets").read()
    assert [len(p.texts) for p in (found.train, found.val, found.test)] == [32, 4, 4]


def test_images(hub):
    images = pixels(20, 6, 5)
    cells = [{"bytes": encoded(image), "path": None} for image in images]
    hub["digits", None] = {"train": arrow({"image": cells, "fine_label": [0, 1] * 10})}
    found = ImageSource(hub="digits").read()
    assert {x.numpy().tobytes() for x in found.train.x} < {image.tobytes() for image in images}


def test_corpus(hub):
    hub["wiki", None] = {"train": texts(10), "validation": texts(2), "test": texts(2)}
    found = CorpusSource(hub="wiki").read()
    assert found.val.numpy().tobytes() == b"t0\nt1"
    with pytest.raises(DataError, match=r"task\.data\.hub=wiki, split train: no column 'page'"):
        CorpusSource(hub="wiki", text="page").read()


def test_corpus_of_what_is_no_text(hub):
    hub["wiki", None] = {"train": arrow({"text": ["a", "", None], "label": [0, 1, 0]})}
    with pytest.raises(DataError, match="split train, row 3: NoneType where text belongs"):
        CorpusSource(hub="wiki").read()
    with pytest.raises(DataError, match="row 1: int where text belongs; name the column"):
        CorpusSource(hub="wiki", text="label").read()


def test_hash_is_of_the_values(hub):
    hub["a", None] = hub["b", None] = {"train": texts(40)}
    hub["c", None] = {"train": texts(40, first=1)}
    sums = [TextSource(hub=name).read().sha256 for name in "abc"]
    assert sums[0] == sums[1] != sums[2]


def test_bad_row(hub):
    table = arrow({"text": ["a", "", "b"], "label": [0, 1, 0]})
    hub["tweets", None] = {"train": table}
    with pytest.raises(DataError, match=r"task\.data\.hub=tweets, split train, row 2: the text is"):
        TextSource(hub="tweets").read()


def test_name_that_does_not_exist(hub):
    with pytest.raises(DataError) as error:
        TextSource(hub="twets").read()
    message = str(error.value)
    assert message.startswith("task.data.hub=twets: cannot be loaded (FileNotFoundError: Dataset")
    assert "check the name" in message
    assert "second line" not in message


def test_no_training_split(hub):
    hub["tweets", None] = {"test": texts(10)}
    with pytest.raises(DataError, match=r"task\.data\.hub=tweets: has no split train but test"):
        TextSource(hub="tweets").read()


def test_without_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: pytest.fail("asked the network"))
    with pytest.raises(DataError) as error:
        TextSource(hub="tweets").read()
    wanted = "task.data.hub=tweets: needs datasets; pip install 'switchyard-moe[hub]'"
    assert str(error.value) == wanted


@pytest.fixture
def online(hub, monkeypatch):
    """The same hub where the user has not said that it is offline."""
    for name in ("HF_HUB_OFFLINE", "http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_ENDPOINT", "http://hub.example")
    hub["tweets", None] = {"train": texts(40)}
    return hub


def test_without_network(online, monkeypatch):
    def no_name(*_, **__):
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", no_name)
    with pytest.raises(DataError) as error:
        TextSource(hub="tweets").read()
    message = str(error.value)
    assert message.startswith("task.data.hub=tweets: http://hub.example cannot be reached")
    assert "HF_HUB_OFFLINE=1" in message


def test_name_look_up_that_hangs(online, monkeypatch):
    """The system's look-up cannot be stopped, so it is not waited for."""
    done = threading.Event()

    def hang(*_, **__):
        done.wait(60)
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    monkeypatch.setattr("tasks.readers.hub._SECONDS", 0.1)
    start = time.monotonic()
    with pytest.raises(DataError, match="cannot be reached"):
        TextSource(hub="tweets").read()
    assert time.monotonic() - start < 30
    done.set()


@pytest.mark.parametrize("status", ["200 OK", "404 Not Found", "503 Busy"])
def test_with_network(online, monkeypatch, status):
    """Whatever answers is network; what it says is for ``datasets`` to judge."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer():
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(f"HTTP/1.0 {status}\r\nContent-Length: 0\r\n\r\n".encode())

        serving = threading.Thread(target=answer)
        serving.start()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        assert len(TextSource(hub="tweets").read().train.texts) == 32
        serving.join()
