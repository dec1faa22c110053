"""Data sets from outside the project, one file each, for tasks that exist."""

import importlib
import re
import sys
from pathlib import Path

import pytest

from tasks import DATA, Images, Splits, Texts, compose, main

from ..cases import NARROW, result_of, tiny

FILE = '''
import torch

from routers import OptionError
from tasks import DATA, DataSet, Images, Splits, Table, Texts


@DATA.register("my_stripes")
class MyStripes(DataSet[Images]):
    """Horizontal and vertical stripes."""

    def __init__(self, *, number: int = 80):
        if number < 20:
            raise OptionError("number", number, "an integer >= 20")
        self.number = number

    def read(self):
        y = torch.arange(self.number) % 2
        rows = (torch.arange(8).view(8, 1) % 2).expand(8, 8)
        x = torch.stack([rows, rows.T])[y].unsqueeze(1).to(torch.uint8) * 255
        return Splits.of("stripes", Images(x, y, ("rows", "columns")))


class Greetings(DataSet[Texts]):
    """Greetings in two languages, by time of day."""

    def read(self):
        words = [b"good day", b"good night", b"bonjour", b"bonne nuit"] * 20
        y, group = torch.arange(80) % 2, torch.arange(80) // 2 % 2
        texts = Texts(words, y, ("day", "night"), group, ("en", "fr"), "language")
        return Splits.of("greetings", texts, test=texts.take(torch.arange(8)))


class Bytes(DataSet[torch.Tensor]):
    """Letters in their order."""

    def read(self):
        parts = (torch.arange(n).remainder(26).add(97).byte() for n in (3000, 300, 300))
        return Splits("letters", "0" * 64, None, *parts)


class Sums(DataSet[Table]):
    """A number and whether it is large."""

    def read(self):
        x = torch.arange(80.0).view(80, 1) % 7
        kinds = torch.zeros(80, 0, dtype=torch.int64)
        classes = (("small", "large"),)
        table = Table(kinds, (), x, (x > 3).float(), (), ("x",), ("size",), ("binary",), classes)
        return Splits.of("sums", table)
'''


@pytest.fixture(autouse=True)
def plugin(tmp_path, monkeypatch):
    """The file on the import path; the registry forgets it afterwards."""
    monkeypatch.setattr(DATA, "_parts", dict(DATA._parts))
    (tmp_path / "my_data.py").write_text(FILE)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    yield
    sys.modules.pop("my_data", None)


RUNS = [
    (
        "image",
        "task.data.number=100 task.data=my_stripes",
        "task.model=vit task.model.patch=4",
        [80, 10, 10],
    ),
    ("text_classification", "task.data.name=my_data:Greetings", "router=mapped", [72, 8, 8]),
    ("language_model", "task.data.name=my_data:Bytes", "task.length=32 task.context=8", None),
    ("multitask", "task.data.name=my_data:Sums", "task.bins=4", [66, 7, 7]),
]


@pytest.mark.parametrize(("task", "data", "options", "rows"), RUNS)
def test_a_data_set_trains_a_task_that_exists(tmp_path, capsys, task, data, options, rows):
    model = tiny(task) if task != "multitask" else ("task.dim=16", *tiny()[2:])
    out = tmp_path / "run"
    settings = [
        *model,
        NARROW,
        "trainer.batch_size=16",
        "plugins=[my_data]",
        "trainer.progress=true",
    ]
    assert main([f"task={task}", *settings, *data.split(), *options.split(), f"out={out}"]) == 0
    found = result_of(out)["data"]
    assert rows is None or list(found["rows"].values()) == rows
    assert len(found["sha256"]) == 64
    assert f"data: {found['name']}, " in capsys.readouterr().out


def test_the_example_of_the_documentation_trains(tmp_path):
    """As its commands are printed below it, with a small network."""
    text = (Path(__file__).parents[3] / "docs" / "data.md").read_text("utf-8")
    (tmp_path / "mine.py").write_text(re.search(r"```python\n(.*?)```", text, re.DOTALL)[1])
    commands = re.findall(r"^python -m tasks (.*mine.*)$", text, re.MULTILINE)
    assert len(commands) == 2
    for number, command in enumerate(commands):
        small = [*tiny("image"), NARROW, "trainer.batch_size=16", f"out={tmp_path / str(number)}"]
        assert main([*small, *command.split()]) == 0
    sys.modules.pop("mine")


def test_classes_and_groups_are_those_of_the_data_set():
    compose(["plugins=[my_data]"])
    stripes = DATA.build("my_stripes").read()
    assert isinstance(stripes, Splits)
    assert stripes.train.classes == ("rows", "columns")
    assert stripes.train.y.bincount().tolist() == [32, 32]  # of each class the same fraction
    again = DATA.build("my_stripes").read()
    assert (again.sha256, again.split_sha256) == (stripes.sha256, stripes.split_sha256)
    assert DATA.build("my_stripes", number=90).read().sha256 != stripes.sha256


def test_it_is_listed(capsys):
    assert main(["--list", "plugins=[my_data]"]) == 0
    listed = capsys.readouterr().out
    assert "my_stripes           Horizontal and vertical stripes." in listed
    assert "texts                Labelled texts: CSV, TSV, JSONL or Parquet" in listed


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["task.data.name=my_strips"], "task.data=my_strips: unknown; did you mean 'my_stripes'?"),
        (
            ["task.data={name: my_stripes, num: 1}"],
            "task.data.num: unknown; did you mean 'number'?",
        ),
        (["task.data={name: my_stripes, number: 2}"], "task.data.number=2 is invalid: expected an"),
        (["task.data.name=my_data:Greetings"], "Greetings reads Texts, and this task needs Images"),
        (["task.data.name=my_data:torch"], "is not a subclass of tasks.readers.data_set.DataSet"),
        (["task.data.name=texts", "task.data.path=x"], "no such file or folder"),
        (["task.data=/"], "task.data=/: is no name of a data set; give task.data.path=/"),
    ],
)
def test_wrong_settings(tmp_path, capsys, settings, message):
    assert main(["task=image", "plugins=[my_data]", *settings, f"out={tmp_path / 'run'}"]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("made", "message"),
    [
        ("Images(x.float(), y, ab)", "x is torch.float32 of shape .*; expected torch.uint8 of"),
        ("Images(x, y[:3], ab)", r"labels are torch.int64 of shape \(3,\); expected .*\(4,\)"),
        ("Images(x, y + 1, ab)", r"labels from 1 to 2; expected integers in \[0, 1\]"),
        ("Texts(['a'] * 4, y, ab)", r"'a' \(str\) is no text; expected bytes"),
        ("Texts([b'a'] * 4, y, ab, y + 5, ab)", "Texts, group: labels from 5 to 6"),
    ],
)
def test_samples_of_wrong_type_or_shape_are_refused(made, message):
    import torch

    names = {"x": torch.zeros(4, 1, 8, 8).byte(), "y": torch.arange(4) % 2, "ab": ("a", "b")}
    with pytest.raises(ValueError, match=message):
        eval(made, {"Images": Images, "Texts": Texts}, names)
