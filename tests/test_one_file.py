"""Adding a router costs one file: everything finds it, and nothing else is edited."""

import importlib
import sys

import pytest
import torch

import routers
from routers.__main__ import main as catalogue
from routers.plugins import import_parts, load_plugins
from sweeps.search.space import read_space
from tasks.config.compose import compose
from tasks.running.cli import main as train

from .tasks.cases import TINY, result_of

FILE = '''\
"""Items take the experts whose centroids are nearest."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import nn

from routers import Items, Router, Routing, OptionError, register


@register("nearby")
class Nearby(Router):
    """Every item takes the experts whose centroids are nearest.

    Source: after Roy et al. 2020, 2003.05997.

    >>> Nearby(4, 8)(Items(torch.zeros(3, 4))).load.sum().item()
    6
    """

    search_space: ClassVar[Mapping[str, Any]] = {"k": [2, 3], "heat": {"low": 0.5, "high": 2.0}}
    default_losses: ClassVar[Mapping[str, float]] = {"switch": 0.02}

    def __init__(self, dim: int, num_experts: int, *, k: int = 2, heat: float = 1.0) -> None:
        super().__init__(dim, num_experts)
        if not 2 <= k <= num_experts:
            raise OptionError("router.k", k, f"an integer from 2 to {num_experts}")
        self.k = k
        self.heat = heat
        self.centroid = nn.Parameter(torch.randn(num_experts, dim))

    def forward(self, items: Items) -> Routing:
        apart = items.x.unsqueeze(1) - self.centroid
        logits = -apart.square().mean(-1) / self.heat
        best = logits.topk(self.k)
        weight = best.values.softmax(-1)
        return Routing.by_item(items, best.indices, weight, self.num_experts, logits=logits)
'''
PLUGIN = "plugins=[nearby_file]"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder on the path that holds the file and nothing else; all is forgotten afterwards."""
    monkeypatch.setattr(routers.ROUTERS, "_parts", dict(routers.ROUTERS._parts))
    (tmp_path / "nearby_file.py").write_text(FILE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    importlib.invalidate_caches()
    assert "nearby" not in routers.available()
    yield tmp_path
    sys.modules.pop("nearby_file", None)


def test_it_is_short():
    assert len(FILE.splitlines()) <= 40


def test_in_the_catalogue(folder, capsys):
    assert catalogue(["--plugins", "nearby_file"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "nearby what Every item takes the experts whose centroids are nearest." in shown
    assert "source after Roy et al. 2020, 2003.05997" in shown
    assert "cost 0 FLOPs per item, 16,384 parameters" in shown
    assert "options k=2 heat=1.0" in shown


def test_in_help_and_in_the_list(folder, capsys):
    assert train(["--list", PLUGIN]) == 0
    assert "nearby               Every item takes" in capsys.readouterr().out
    assert train(["--help", PLUGIN, "router=nearby"]) == 0
    shown = capsys.readouterr().out
    assert "heat=1.0" in shown
    assert "after Roy et al." in shown
    assert "switch: 0.02" in shown


def test_in_the_kit(folder, capsys):
    load_plugins(["nearby_file"])
    cases = routers.parametrize_with_checks().mark.args[1]
    own = [case for case in cases if case.id.startswith("nearby-")]
    assert len(own) == len(cases) / len(routers.available())
    for case in own:
        router, check = case.values
        check(router)
    assert catalogue(["--plugins", "nearby_file", "check", "nearby"]) == 0
    assert f"nearby: {len(own)} of {len(own)} checks pass" in capsys.readouterr().out


def test_in_training(folder):
    run = ["router=nearby", "router.heat=1.5", "task=digits", "expert.hidden=16", "out=run"]
    assert train([*TINY, PLUGIN, *run, "trainer.max_steps=2"]) == 0
    assert result_of(folder / "run")["router"] == "nearby"
    assert "heat: 1.5" in (folder / "run" / "config.yaml").read_text()


def test_in_the_space_of_a_sweep(folder):
    space = {each.key: each for each in read_space({}, compose([PLUGIN, "router=nearby"]))}
    assert space.keys() == {"router.k", "router.heat"}
    assert space["router.k"].distribution.choices == (2, 3)
    assert (space["router.heat"].distribution.low, space["router.heat"].default) == (0.5, 1.0)


def test_as_a_file_among_ours(folder, monkeypatch):
    """In the folder ``routers/`` it takes no plugin either: importing the package finds it."""
    monkeypatch.setattr(routers, "__path__", [*routers.__path__, str(folder)])
    import_parts("routers", [str(folder)])
    assert "nearby" in routers.available()
    assert routers.build("nearby", 4, 8)(routers.Items(torch.zeros(3, 4))).load.sum() == 6
    sys.modules.pop("routers.nearby_file")
