"""``python -m routers``: catalogue, verdicts, exit codes."""

import re
import sys
from pathlib import Path

import pytest

import routers
from routers.__main__ import main
from routers.conformance.suite import CHECKS

README = (Path(__file__).resolve().parents[2] / "README.md").read_text()
BROKEN = """
import torch
from routers import Router, Routing

class Broken(Router):
    def __init__(self, dim, num_experts):
        super().__init__(dim, num_experts)
        self.w = torch.nn.Parameter(torch.randn(num_experts, dim))

    def forward(self, items):
        logits = items.x @ self.w.t()
        best = logits.detach().argmax(-1, keepdim=True)
        weight = logits.gather(1, best).softmax(-1)
        return Routing.by_item(items, best, weight, self.num_experts, logits=logits)
"""


def test_catalogue_shows_every_router(capsys):
    assert main([]) == 0
    shown = capsys.readouterr().out
    for name in routers.available():
        assert name in shown
    assert "k=2" in shown
    assert "causal" in shown


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, on the path as with ``python -m``; one size of a router is enough."""
    monkeypatch.setattr("routers.conformance.harness.SIZES", [(8, 4)])
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for module in ("their_module", "nearest", "test_nearest"):
        sys.modules.pop(module, None)


def test_check_that_fails_from_the_current_folder(folder, capsys):
    (folder / "their_module.py").write_text(BROKEN)
    assert main(["check", "their_module:Broken"]) == 1
    shown, errors = capsys.readouterr()
    assert "gradients FAIL why the task sends no gradient to w" in " ".join(shown.split())
    assert "hint weigh the experts' outputs" in " ".join(shown.split())
    assert "Traceback" not in shown + errors


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("topkk", "did you mean 'topk'"),
        ("no_such_module:Router", "no such module"),
        ("routers:Rooter", "did you mean 'routers:Router'"),
    ],
)
def test_unknown_name(name, message, capsys):
    assert main(["check", name]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert not captured.out


@pytest.mark.usefixtures("folder")
def test_check_with_options(capsys):
    assert main(["check", "uniform", "k=3"]) == 0
    shown = capsys.readouterr().out
    assert "FAIL" not in shown
    assert "not declared" in shown
    assert f"uniform k=3: {len(CHECKS)} of {len(CHECKS)} checks pass" in shown
    assert main(["check", "topk", "k=1"]) == 1  # a combination that no size takes
    assert "use weighting=probability" in " ".join(capsys.readouterr().out.split())
    for wrong, said in (("kk=1", "did you mean 'k'"), ("k", "expected key=value")):
        assert main(["check", "topk", wrong]) == 2
        assert said in capsys.readouterr().err


class Passed:
    """A plugin of pytest: the number of tests that passed."""

    number = 0

    def pytest_runtest_logreport(self, report):
        self.number += report.when == "call" and report.passed


def test_three_lines_of_pytest(folder, monkeypatch):
    """The README's router in the README's test, as a third party runs it."""
    python = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    (router,) = [block for block in python if "class Nearest" in block]
    (lines,) = [block for block in python if block.startswith("@routers.parametrize_with_checks")]
    assert len(lines.splitlines()) == 3
    (folder / "nearest.py").write_text(router)
    test = f"import routers\nfrom nearest import Nearest\n\n{lines}"
    (folder / "test_nearest.py").write_text(test)
    monkeypatch.setattr(routers.ROUTERS, "_parts", dict(routers.ROUTERS._parts))
    passed = Passed()
    plugins = ("-p", "no:cacheprovider", "-p", "no:faulthandler")
    assert pytest.main(["-q", *plugins, str(folder)], plugins=[passed]) == 0
    assert passed.number == len(CHECKS)


def test_help(capsys):
    with pytest.raises(SystemExit) as done:
        main(["--help"])
    assert done.value.code == 0
    assert "check" in capsys.readouterr().out
