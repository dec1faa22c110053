"""Parts from outside the project: one file each, and no edit anywhere else."""

import importlib
import sys

import pytest

import experts
import routers
from routers.__main__ import main as check
from tasks import TASKS, main

from .cases import TINY, result_of

ROUTER = '''\
import torch
from routers import Items, Router, Routing, register

@register("my_topk")
class MyTopK(Router):
    """The two best of a linear score. Source: Mixtral, 2401.04088, section 2.1.

    >>> MyTopK(4, 8)(Items(torch.randn(5, 4))).load.sum().item()
    10
    """

    def __init__(self, dim: int, num_experts: int, *, temperature: float = 1.0):
        super().__init__(dim, num_experts)
        self.temperature = temperature
        self.score = torch.nn.Linear(dim, num_experts, bias=False)

    def forward(self, items: Items) -> Routing:
        logits = self.score(items.x) / self.temperature
        best, expert = logits.topk(min(2, self.num_experts), -1)
        return Routing.by_item(items, expert, best.softmax(-1), self.num_experts, logits=logits)
'''

EXPERT = '''\
from experts import register
from experts.mlp import MLP

@register("my_mlp")
class MyMLP(MLP):
    """A wide one."""

    def __init__(self, dim: int, num_experts: int, *, times: int = 3):
        super().__init__(dim, num_experts, hidden=times * dim)
'''

TASK = '''\
from tasks import register
from tasks.digits import Digits

@register("my_digits")
class MyDigits(Digits):
    """Only even digits against odd ones."""

    def data(self):
        data = super().data()
        for split in (data.train, data.val, data.test):
            split["y"] %= 2
        return data
'''

LOSS = '''\
from routers import LOSSES

@LOSSES.register("my_loss")
def my_loss(routing):
    """The square of the largest gate mass."""
    return routing.importance.max() ** 2
'''


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A folder outside the project with a plug-in in it, on the path; forgotten afterwards."""
    registries = [routers.ROUTERS, experts.EXPERTS, TASKS, routers.LOSSES]
    for registry in registries:
        monkeypatch.setattr(registry, "_parts", dict(registry._parts))
    (tmp_path / "my_parts.py").write_text("\n\n".join([ROUTER, EXPERT, TASK, LOSS]))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    importlib.invalidate_caches()
    yield tmp_path
    sys.modules.pop("my_parts", None)


def test_short_enough_to_show():
    assert len(ROUTER.splitlines()) < 25


PARTS = ("task=my_digits", "router=my_topk", "expert=my_mlp", "losses.my_loss=0.1")


def test_trains_by_name(elsewhere):
    assert main([*TINY, "plugins=[my_parts]", *PARTS, "router.temperature=2.0", "out=run"]) == 0
    result = result_of(elsewhere / "run")
    assert (result["task"], result["router"], result["expert"]) == (
        "my_digits",
        "my_topk",
        "my_mlp",
    )
    saved = (elsewhere / "run" / "config.yaml").read_text()
    assert "temperature: 2.0" in saved
    assert "times: 3" in saved
    assert "my_loss: 0.1" in saved


def test_trains_by_module_and_class(elsewhere):
    parts = ("router=my_parts:MyTopK", "expert=my_parts:MyMLP", "task=my_parts:MyDigits")
    assert main([*TINY, *parts, "out=run"]) == 0
    assert result_of(elsewhere / "run")["router"] == "my_parts:MyTopK"


def test_options_are_checked_like_our_own(elsewhere, capsys):
    wrong = "router.temprature=2.0"
    assert main([*TINY, "plugins=[my_parts]", *PARTS, wrong, "out=run"]) == 2
    assert "did you mean 'temperature'" in capsys.readouterr().err


def test_is_in_the_catalogue_and_in_help(elsewhere, capsys):
    assert main(["--list", "plugins=[my_parts]"]) == 0
    assert "my_topk" in capsys.readouterr().out
    assert main(["--help", "plugins=[my_parts]", "router=my_topk"]) == 0
    assert "temperature=1.0" in capsys.readouterr().out


def test_passes_the_check(elsewhere, capsys, monkeypatch):
    monkeypatch.setattr("routers.conformance.harness.SIZES", [(8, 4)])  # one is enough here
    assert check(["check", "my_parts:MyTopK"]) == 0
    assert "FAIL" not in capsys.readouterr().out


def test_run_folder_needs_no_plugins_argument_to_resume(elsewhere, capsys):
    """They are in its configuration."""
    assert main([*TINY, "plugins=[my_parts]", *PARTS, "out=run"]) == 0
    (elsewhere / "run" / "result.json").unlink()
    assert main(["resume=run"]) == 0
    assert result_of(elsewhere / "run")["router"] == "my_topk"
