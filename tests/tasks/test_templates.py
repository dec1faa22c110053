"""Templates: each kind is generated, checked and trained, and bad names are refused."""

import doctest
import importlib
import re
import sys

import pytest

from experts.__main__ import main as experts_main
from routers.__main__ import main as routers_main
from tasks import main
from tasks.templates import KINDS

COMMANDS = {"routers": routers_main, "experts": experts_main, "tasks": main}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder of a user, on the path; what its files register is forgotten."""
    for kind in KINDS.values():
        monkeypatch.setattr(kind.registry(), "_parts", dict(kind.registry()._parts))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for module in ("two_words", "test_two_words"):
        sys.modules.pop(module, None)


def step(shown, name):
    """The command after a word of the next steps."""
    (line,) = (line for line in shown.splitlines() if line.startswith(f"  {name} "))
    return line.split()[1:]


@pytest.mark.parametrize("kind", KINDS)
def test_generated_checked_and_trained(folder, capsys, monkeypatch, kind):
    monkeypatch.setattr("routers.conformance.harness.SIZES", [(8, 4)])  # one is enough here
    assert main(["new", kind, "two_words"]) == 0
    shown = capsys.readouterr().out
    text = (folder / "two_words.py").read_text() + (folder / "test_two_words.py").read_text()
    assert "my_" not in text
    assert "My" not in text
    importlib.invalidate_caches()
    tests = importlib.import_module("test_two_words")
    tests.test_keeps_the_contract()
    (trains,) = [v for k, v in vars(tests).items() if k in ("test_trains", "test_is_in_the_result")]
    trains(folder)
    assert (folder / "run" / "result.json").exists()
    part = importlib.import_module("two_words")
    assert doctest.testmod(part).failed == 0
    monkeypatch.setattr("routers.conformance.suite.CHECKS", [])  # they passed above
    _, _, package, *words = step(shown, "check")
    assert COMMANDS[package](words) == 0
    brief = ["trainer.max_steps=1", "trainer.progress=false", "out=again"]
    assert main([*step(shown, "train")[3:], "--cfg", *brief]) == 0


def test_a_folder_is_made_and_named(folder, capsys):
    assert main(["new", "loss", "peak", "out=parts/mine"]) == 0
    assert (folder / "parts" / "mine" / "test_peak.py").exists()
    shown = capsys.readouterr().out
    assert step(shown, "first") == ["cd", "parts/mine"]
    assert '[project.entry-points."switchyard.losses"]' in shown
    assert 'peak = "peak:peak"' in shown


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["rooter", "mine"], "kind=rooter: unknown; did you mean 'router'"),
        (["router"], "new: kind or name is missing; write python -m tasks new KIND NAME"),
        (["router", "NearestFirst"], "name=NearestFirst is invalid: .* Try nearest_first"),
        (["router", "2-best"], "Try my_2_best"),
        (["router", "lambda"], "Try my_lambda"),
        (["router", "none"], "Try my_none"),
        (["router", "yes"], "no keyword of Python or YAML. Try my_yes"),
        (["expert", "auto"], "Try my_auto"),
        (["router", "topk"], "router=topk is registered already; choose another, such as my_topk"),
        (["loss", "random"], "a module of this name exists already"),
        (["gate", "mine", "k=2"], "k=2: new takes no key but out"),
        (["gate", "mine", "out=taken.txt"], "out=taken.txt: cannot be written"),
        (["gate", "../mine"], "Try mine"),
    ],
)
def test_refused(folder, capsys, words, message):
    (folder / "taken.txt").touch()
    assert main(["new", *words]) == 2
    assert re.search(message, capsys.readouterr().err)
    assert [path.name for path in folder.iterdir()] == ["taken.txt"]


#: Names that a template uses, one of them in a doctest alone.
USED = {
    "router": ["router", "items"],
    "gate": ["gate", "hidden"],
    "expert": ["bank"],
    "loss": ["probs", "routing"],
    "metric": ["rows"],
    "backbone": ["backbone"],
    "data": ["splits", "images"],
    "task": ["data", "task"],
}


@pytest.mark.parametrize("kind", KINDS)
def test_names_that_the_template_uses_are_refused(folder, capsys, kind):
    """Its part would replace what the rest of the file means by them, such as ``Data``."""
    for name in (*USED[kind], "torch", "null", "lambda"):
        assert main(["new", kind, name]) == 2, name
        assert f"my_{name}" in capsys.readouterr().err
    assert not list(folder.iterdir())


def test_files_are_never_overwritten(folder, capsys):
    (folder / "test_mine.py").write_text("precious")
    assert main(["new", "router", "mine"]) == 2
    assert "test_mine.py exists already; choose another name" in capsys.readouterr().err
    assert (folder / "test_mine.py").read_text() == "precious"
    assert not (folder / "mine.py").exists()
