"""A part costs one file: commands find it by ``plugins=``, and nothing else is edited."""

import json
import os
import runpy
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from .sweeps.cases import process_context

FILES = {
    "nearby": '''\
"""Routing to the nearest centroids."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import nn

from routers import Items, OptionError, Router, Routing, register


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
            raise OptionError("k", k, f"an integer in [2, num_experts={num_experts}]")
        self.k = k
        self.heat = heat
        self.centroid = nn.Parameter(torch.randn(num_experts, dim))

    def forward(self, items: Items) -> Routing:
        distance = (items.x.unsqueeze(1) - self.centroid).square().mean(-1)
        logits = -distance / self.heat
        best = logits.topk(self.k)
        weight = best.values.softmax(-1)
        return Routing.by_item(items, best.indices, weight, self.num_experts, logits=logits)
''',
    "halved_gate": '''\
"""A linear gate at half scale."""

from torch import Tensor, nn

from routers import GATES, Gate, Items


@GATES.register("halved")
class Halved(Gate):
    """Half of a linear map."""

    def __init__(self, dim: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, outputs, bias=False)

    def forward(self, items: Items) -> Tensor:
        return 0.5 * self.linear(items.x)
''',
    "peak_loss": '''\
"""The largest share of an expert."""

from torch import Tensor

from routers import LOSSES, Routing
from routers.losses import Level, expert_statistics


@LOSSES.register("peak")
def peak(routing: Routing, level: Level = "batch") -> Tensor:
    """The largest mean probability of an expert, times the number of experts."""
    probs = expert_statistics(routing, level).probs
    return routing.num_experts * probs.amax(-1).mean()
''',
    "busy_metric": '''\
"""The number of busy experts."""

import torch

from routers import METRICS, Routing, RoutingMetric


@METRICS.register("busy_experts")
class BusyExperts(RoutingMetric):
    """How many experts got at least one row."""

    def __init__(self, num_experts: int) -> None:
        super().__init__(num_experts)
        self.add_counts("rows", size=[num_experts])

    def update(self, routing: Routing) -> None:
        self.rows += routing.load

    def compute(self) -> int:
        return int(torch.count_nonzero(self.rows))
''',
    "flat_backbone": '''\
"""One routed layer over whole images."""

from torch import nn

from tasks import BACKBONES, Backbone, Batch, Layer, Samples


@BACKBONES.register("flat")
class Flat(Backbone):
    """Pixels as one vector, one routed layer, one linear head."""

    reads = "images"

    def __init__(self, layer: Layer, samples: Samples, *, width: int = 16) -> None:
        super().__init__()
        self.embed = nn.LazyLinear(width)
        self.embed(nn.Flatten()(samples_of(samples)))
        self.layer = layer((width,))
        self.head = nn.Linear(width, samples.outputs)

    def forward(self, batch: Batch):
        x, routing = self.layer(self.embed(batch["x"].flatten(1)))
        return self.head(x), [routing]


def samples_of(samples: Samples):
    import torch

    return torch.zeros(1, *samples.shape)
''',
}
PLUGINS = f"plugins=[{','.join(FILES)}]"

#: A program that shows what a sweep searches.
SPACE = """\
from sweeps.search.space import read_space
from tasks import compose

for each in read_space({}, compose(["plugins=[nearby]", "router=nearby"])):
    print(each.key, each.default)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder outside of the project that holds the files and nothing else."""
    folder = tmp_path_factory.mktemp("parts")
    for name, text in {**FILES, "show_space": SPACE}.items():
        (folder / f"{name}.py").write_text(text)
    return folder


def run(folder: Path, *arguments: str) -> str:
    """The output of ``python -m ARGUMENTS`` in a folder; fails if the command does.

    Its process is forked from one that has done the imports and knows none of the files.
    """
    output = folder / "output.txt"
    process = process_context().Process(target=run_module, args=(folder, output, arguments))
    process.start()
    process.join()
    shown = output.read_text()
    assert process.exitcode == 0, shown
    return shown


def run_module(folder: Path, output: Path, arguments: Sequence[str]) -> None:
    os.chdir(folder)
    os.environ["COLUMNS"] = "200"
    sys.path.insert(0, str(folder))
    sys.argv = list(arguments)
    with output.open("w") as file, redirect_stdout(file), redirect_stderr(file):
        runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_short(name):
    assert len(FILES[name].splitlines()) <= 40


def test_lists_name_the_parts(folder):
    shown = run(folder, "tasks", "--list", PLUGINS)
    for line in (
        "nearby               Every item takes the experts whose centroids",
        "halved               Half of a linear map.",
        "peak                 The largest mean probability",
        "busy_experts         How many experts got",
        "flat                 Pixels as one vector",
    ):
        assert line in shown


def test_help_shows_options_source_and_losses(folder):
    shown = run(folder, "tasks", "--help", PLUGINS, "router=nearby")
    assert "heat=1.0" in shown
    assert "after Roy et al." in shown
    assert "switch: 0.02" in shown


def test_the_catalogue_and_the_conformance_kit_take_the_router(folder):
    shown = " ".join(run(folder, "routers", "--plugins", "nearby").split())
    assert "nearby what Every item takes the experts whose centroids are nearest." in shown
    assert "source after Roy et al. 2020, 2003.05997" in shown
    assert "options k=2 heat=1.0" in shown
    shown = run(folder, "routers", "--plugins", "nearby", "check", "nearby")
    passed, _, total = shown.partition("nearby: ")[2].split()[:3]
    assert passed == total
    assert int(total) >= 52


def test_a_training_uses_all_parts(folder):
    command = [
        *("router=topk", "router.gate=halved", "losses.peak=0.01", "task=digits"),
        *("task.model=flat", "task.model.width=8", "expert.hidden=16", "moe.num_experts=4"),
        *("trainer.max_steps=2", "trainer.max_epochs=1", "trainer.progress=false", "out=run"),
    ]
    run(folder, "tasks", PLUGINS, *command)
    result = json.loads((folder / "run" / "result.json").read_text())
    assert 1 <= result["load"]["busy_experts"] <= 4
    config = (folder / "run" / "config.yaml").read_text()
    assert all(text in config for text in ("halved", "peak: 0.01", "name: flat", "width: 8"))


def test_a_sweep_reads_the_search_space(folder):
    assert run(folder, "show_space").split() == ["router.k", "2", "router.heat", "1.0"]
