"""How targets share a network: every router as a gate, equal parameters, stacked levels."""

import math

import pytest
import torch

from routers import ConfigError
from tasks import build_backbone, build_task, compose, prepare_routers, routed_layers
from tasks.assembly.dense_control import num_parameters
from tasks.multi_target.sharings import SHARINGS
from tasks.multi_target.weightings import WEIGHTINGS
from tasks.two_digits import TwoDigits

from ...router_samples import SELECTING, joins, traits
from ..cases import train

#: All that can be one of several gates, but those that read a task, which pairs of digits lack.
ROUTERS = [name for name in SELECTING if joins(name) and not traits(name).needs_task]

SMALL = ("task=two_digits", "task.dim=16", "task.depth=1", "expert.hidden=16", "moe.num_experts=8")


@pytest.fixture(scope="module")
def data():
    return TwoDigits().data()


@pytest.fixture(autouse=True)
def few_pairs(monkeypatch):
    """Enough for six steps."""
    monkeypatch.setattr("tasks.two_digits.PAIRS", (500, 200, 200))


def built(*overrides):
    config = compose([*SMALL, *overrides])
    task = build_task(config)
    return task, build_backbone(config, task)


def batch_of(data, task, rows=6):
    batch = task.collate({name: values[:rows] for name, values in data.train.items()})
    return task.describe(batch)


@pytest.mark.parametrize("router", ROUTERS)
def test_every_router_is_a_gate(data, router):
    """Two steps: gates of one layer learn, each for its own target."""
    task, net = built(f"router={router}")
    prepare_routers(net, task, {name: values[:64] for name, values in data.train.items()})
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    batch = batch_of(data, task, rows=32)
    for _ in range(2):
        output, _ = net(batch)
        optimizer.zero_grad()
        task.loss(output, batch).backward()
        optimizer.step()
    [layer] = routed_layers(net)
    assert layer.num_gates == 4
    assert [x.shape for x in output.logits] == [(32, 10), (32, 10), (32, 19), (32, 1)]
    assert all(x.isfinite().all() for x in output.logits)
    if layer.router.traits.learned:
        for gate in layer.router.gates:
            assert any(p.grad is not None and p.grad.any() for p in gate.parameters())


#: Every sharing, and every weighting, once.
PAIRS = [
    *((sharing, "uncertainty") for sharing in SHARINGS if sharing not in ("views", "mmoe")),
    *(("mmoe", weighting) for weighting in WEIGHTINGS),
]


@pytest.mark.parametrize(("sharing", "weighting"), PAIRS)
def test_trains(tmp_path, sharing, weighting):
    settings = (*SMALL, f"task.sharing={sharing}", f"task.weighting={weighting}")
    result = train(tmp_path / "run", *settings, "trainer.max_steps=2")
    assert len(result["layers"]) == (sharing in ("mmoe", "ple"))
    scores = result["scores"]
    main = [scores[f"accuracy/{name}"] for name in ("left", "right", "sum")]
    assert result["score"]["value"] == pytest.approx((sum(main) + scores["auc/parity"]) / 4)
    assert all(math.isfinite(value) for value in scores.values())


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("hidden", [16, 100])
def test_without_routing_parameters_are_as_many(depth, hidden):
    """Shared or not, trunks are as large as the mixture, to the nearest width."""
    settings = ("router=soft_mixture", f"task.depth={depth}", f"expert.hidden={hidden}")
    _, mixture = built(*settings)
    for sharing in ("shared_bottom", "single"):
        _, plain = built(*settings, f"task.sharing={sharing}")
        assert not routed_layers(plain)
        unit = 2 * 16 * depth * {"shared_bottom": 1, "single": 4}[sharing]  # of width
        assert abs(num_parameters(plain.trunk) - num_parameters(mixture.trunk)) <= unit / 2


def test_single_targets_share_nothing(data):
    task, net = built("task.sharing=single")
    batch = batch_of(data, task)
    output, _ = net(batch)
    output.logits[1].sum().backward()
    touched = {name for name, p in net.named_parameters() if p.grad is not None and p.grad.any()}
    assert {name.split(".")[2] for name in touched if name.startswith("encoder.")} == {"1"}
    assert {name.split(".")[2] for name in touched if name.startswith("trunk.")} == {"1"}


def test_own_experts_of_ple(data):
    """A target's loss reaches its own experts and shared ones, and no other target's."""
    task, net = built("task.sharing=ple", "task.sharing.own=1", "router=soft_mixture")
    output, _ = net(batch_of(data, task))
    output.logits[2].sum().backward()
    [layer] = routed_layers(net)
    reached = layer.bank.up.grad.flatten(1).any(1).tolist()
    assert reached == [False, False, True, False, True, True, True, True]


@pytest.mark.parametrize("sharing", ["mmoe", "ple"])
def test_levels_are_stacked(data, sharing):
    task, net = built(f"task.sharing={sharing}", "task.depth=3")
    _, routings = net(batch_of(data, task))
    assert len(routings) == len(routed_layers(net)) == 3
    gates = [layer.num_gates for layer in routed_layers(net)]
    assert gates == {"mmoe": [1, 1, 4], "ple": [5, 5, 4]}[sharing]


@pytest.mark.parametrize("sharing", ["mmoe", "ple", "shared_bottom", "single"])
def test_first_layers_learn_from_every_target(data, sharing):
    """Each target's gradient reaches an encoder, through all levels."""
    task, net = built(f"task.sharing={sharing}", "task.depth=2")
    for target in range(4):
        net.zero_grad()
        output, _ = net(batch_of(data, task))
        output.logits[target].sum().backward()
        assert any(p.grad is not None and p.grad.any() for p in net.encoder.parameters())


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("task.sharing=ple", "task.sharing.own=2"), "task.sharing.own=2 is invalid: expected"),
        (("task.sharing=views",), "task.sharing=views: this task has no views"),
        (("task.overlap=9",), "task.overlap=9 is invalid: expected an integer in [0, 8]"),
        (("task.weights={lefty: 1.0}",), "task.weights.lefty: unknown; did you mean 'left'"),
    ],
)
def test_bad_settings(overrides, message):
    with pytest.raises(ConfigError) as error:
        built(*overrides)
    assert message in str(error.value)
