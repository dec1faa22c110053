"""``python -m routers``: catalogue, verdicts, exit codes."""

import subprocess
import sys

import pytest

import routers
from routers.__main__ import main
from routers._checks import CHECKS

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


def test_check_that_passes(capsys):
    assert main(["check", "uniform"]) == 0
    shown = capsys.readouterr().out
    assert "FAIL" not in shown
    assert "not promised" in shown
    assert f"uniform: {len(CHECKS)} of {len(CHECKS)} checks pass" in shown


def test_check_that_fails_from_the_current_folder(tmp_path):
    (tmp_path / "their_module.py").write_text(BROKEN)
    done = subprocess.run(
        [sys.executable, "-m", "routers", "check", "their_module:Broken"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    shown = " ".join(done.stdout.split())
    assert "gradients FAIL why the task sends no gradient to w" in shown
    assert "mend weigh the experts' outputs" in shown
    assert "Traceback" not in done.stdout + done.stderr


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


def test_help(capsys):
    with pytest.raises(SystemExit) as done:
        main(["--help"])
    assert done.value.code == 0
    assert "check" in capsys.readouterr().out
