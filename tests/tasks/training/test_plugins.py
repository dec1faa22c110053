"""A loss and a metric from outside: one file each, used in a training and listed."""

import importlib
import sys

import pytest

import routers
from sweeps.config.objectives import known_metrics
from tasks import Run, compose, main

from ..cases import NARROW, TINY, result_of, train

LOSS = '''\
from routers import LOSSES


@LOSSES.register("peak")
def peak(routing, *, power: float = 2.0):
    """Largest mean probability of an expert, to a power."""
    return (routing.prob_sums / routing.num_real).max() ** power
'''
METRIC = '''\
from routers import METRICS, RoutingMetric


@METRICS.register("assignments_per_item")
class AssignmentsPerItem(RoutingMetric):
    """Assignments per item, before drops."""

    def __init__(self, num_experts):
        super().__init__(num_experts)
        self.add_counts("items", "assignments")

    def update(self, routing):
        self.items += routing.num_real
        self.assignments += routing.requested_load.sum()

    def compute(self):
        return int(self.assignments) / max(int(self.items), 1)
'''
PLUGINS = "plugins=[peak_loss, per_item_metric]"


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A folder on the path with a file for each; all is forgotten afterwards."""
    for registry in (routers.LOSSES, routers.METRICS):
        monkeypatch.setattr(registry, "_parts", dict(registry._parts))
    (tmp_path / "peak_loss.py").write_text(LOSS)
    (tmp_path / "per_item_metric.py").write_text(METRIC)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    yield
    for module in ("peak_loss", "per_item_metric"):
        sys.modules.pop(module, None)


def test_in_a_training(files, tmp_path):
    result = train(
        tmp_path / "run",
        PLUGINS,
        "router=topk",
        "losses={peak: {weight: 0.5, power: 1.0}}",
        "trainer.max_steps=2",
    )
    assert result["load"]["assignments_per_item"] == 2
    assert [layer["assignments_per_item"] for layer in result["layers"]] == [2, 2]
    assert "power: 1.0" in (tmp_path / "run" / "config.yaml").read_text()
    assert result_of(tmp_path / "run") == result


def test_in_the_list_and_in_the_objectives_of_sweeps(files, capsys):
    assert main(["--list", PLUGINS]) == 0
    shown = capsys.readouterr().out
    assert "peak                 Largest mean probability" in shown
    assert "assignments_per_item Assignments per item" in shown
    assert "load.assignments_per_item" in known_metrics(Run(compose([*TINY, NARROW])).task)
