"""Backbones, sharings, weightings and augmentations from outside the project, one file each."""

import importlib
import sys

import pytest

from tasks import AUGMENTATIONS, BACKBONES, SHARINGS, WEIGHTINGS, compose, main

from ..cases import BRIEF, NARROW, result_of

BACKBONE = '''
from torch import nn

from routers import OptionError
from tasks import BACKBONES, Backbone


@BACKBONES.register("my_net")
class MyNet(Backbone):
    """One routed layer over the pixels of an image."""

    reads = "images"

    def __init__(self, layer, samples, *, width: int = 16):
        super().__init__()
        if width < 1:
            raise OptionError("width", width, "an integer >= 1")
        self.enter = nn.Linear(samples.shape[1] * samples.shape[2], width)
        self.layer = layer((width,))
        self.head = nn.Linear(width, samples.outputs)

    def forward(self, batch):
        update, routing = self.layer(self.enter(batch["x"].flatten(1)), ids=batch.get("ids"))
        return self.head(update), [routing]
'''

AUGMENTATION = '''
from tasks import AUGMENTATIONS, Augmentation


@AUGMENTATIONS.register("my_shade")
class MyShade(Augmentation):
    """Darkens images."""

    def __init__(self, *, factor: float = 0.5):
        self.factor = factor

    def __call__(self, x):
        return x * self.factor
'''

SHARING = '''
from torch import nn

from tasks import SHARINGS, Trunk


@SHARINGS.register("my_sharing")
class MySharing(Trunk):
    """A linear layer that all targets share."""

    def __init__(self, parts, *, layers: int = 1):
        super().__init__()
        self.layers = nn.Sequential(*(nn.Linear(parts.dim, parts.dim) for _ in range(layers)))

    def forward(self, shared, ids):
        return self.layers(shared).unsqueeze(0), []
'''

WEIGHTING = '''
from tasks import WEIGHTINGS, Weighting


@WEIGHTINGS.register("my_sum")
class MySum(Weighting):
    """A multiple of the sum of the losses."""

    def __init__(self, targets, *, factor: float = 1.0):
        super().__init__(targets)
        self.factor = factor

    def forward(self, losses, shared):
        return self.factor * losses.sum()
'''

FILES = {"my_net": BACKBONE, "my_shade": AUGMENTATION, "my_share": SHARING, "my_sum": WEIGHTING}


@pytest.fixture
def plugins(tmp_path, monkeypatch):
    """The setting that imports a file for each part; registries forget them afterwards."""
    for registry in (AUGMENTATIONS, BACKBONES, SHARINGS, WEIGHTINGS):
        monkeypatch.setattr(registry, "_parts", dict(registry._parts))
    for name, text in FILES.items():
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    yield f"plugins=[{','.join(FILES)}]"
    for name in FILES:
        sys.modules.pop(name, None)


def test_a_backbone_and_an_augmentation_train(plugins, tmp_path):
    parts = ("task.model={name: my_net, width: 8}", "task.augmentation=my_shade", "router=hash")
    out = f"out={tmp_path / 'run'}"
    assert main([*BRIEF, NARROW, plugins, *parts, out]) == 0
    assert len(result_of(tmp_path / "run")["layers"]) == 1
    text = (tmp_path / "run" / "config.yaml").read_text()
    assert "factor: 0.5" in text
    assert "width: 8" in text


def test_a_sharing_and_a_weighting_train(plugins, tmp_path, monkeypatch):
    monkeypatch.setattr("tasks.two_digits.PAIRS", (500, 200, 200))
    parts = ("task=two_digits", "task.sharing={name: my_sharing, layers: 2}")
    parts = (*parts, "task.weighting.factor=2.0", "task.weighting=my_sum", "task.dim=16")
    assert main([*BRIEF, NARROW, plugins, *parts, f"out={tmp_path / 'run'}"]) == 0
    assert result_of(tmp_path / "run")["layers"] == []


def test_they_are_listed(plugins, capsys):
    assert main(["--list", plugins]) == 0
    listed = capsys.readouterr().out
    for line in (
        "my_net               One routed layer over the pixels of an image.",
        "my_shade             Darkens images.",
        "my_sharing           A linear layer that all targets share.",
        "my_sum               A multiple of the sum of the losses.",
    ):
        assert line in listed


def test_a_part_by_module_and_name(plugins):
    task = compose(["task.model=my_net:MyNet"]).task
    assert task["model"] == {"name": "my_net:MyNet", "width": 16}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["task.model=my_nte"], "task.model=my_nte: unknown; did you mean 'my_net'"),
        (["task.model={name: my_net, wdth: 3}"], "task.model.wdth: unknown; did you mean 'width'"),
        (["task.model={name: my_net, width: 0}"], "task.model.width=0 is invalid: expected an"),
        (["task.model=my_net", "task.model.width=x"], "task.model.width=x: expected int"),
        (["task.model=encoder"], "task.model=encoder is invalid: expected a backbone for images"),
        (["task.depth=3"], "task.depth: unknown; did you mean 'task.model.depth'"),
    ],
)
def test_wrong_settings(plugins, tmp_path, capsys, settings, message):
    assert main([*BRIEF, plugins, *settings, f"out={tmp_path / 'run'}"]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
