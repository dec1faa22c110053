"""Layer-wise distillation, next to functions that are known."""

import pytest
import torch

import experts
from experts import find_neurons, join_experts
from routers import ConfigError
from tasks import settings_of

from .toy import EXPERTS, Toy, batch_of, config_of, edit, outputs, trained


def distilled(config, network, **options):
    (record,) = edit(network, config, {"distil": options})
    Toy(config, depth=len(network.layers)).double().load_state_dict(network.state_dict())
    return record


@pytest.mark.parametrize("bank", ["mlp", "glu", "conv"])
def test_equal_experts_are_gathered_to_the_function_they_share(bank):
    """Without a fit: two of them with half the weight each, side by side."""
    config = config_of("topk", bank, hidden=6)
    network = trained(config)
    for layer in network.layers:
        for values in layer.bank.parameters():
            values.data[:] = values.data[:1]
    batch = batch_of(network)
    before = outputs(network, batch)
    record = distilled(config, network, steps=0)
    assert record["hidden"] == [12, 12]
    assert max(record["error"]["before"]) < 1e-20
    torch.testing.assert_close(outputs(network, batch), before, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("bank", ["mlp", "gru", "transformer", "low_rank"])
def test_an_expert_that_has_all_items_is_copied(bank):
    config = config_of("hash", bank, hidden=6)
    network = trained(config)
    for layer in network.layers:
        layer.router.table[:] = 2
    batch = batch_of(network)
    before = outputs(network, batch)
    record = distilled(config, network, steps=0)
    assert record["hidden"] == [6, 6]
    torch.testing.assert_close(outputs(network, batch), before, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("hidden", "width"), [("active", 12), ("all", 24), (5, 5)])
def test_the_fit_lowers_the_error_on_other_data(hidden, width):
    """Also from random weights, and in a width that experts do not fill."""
    config = config_of("topk", hidden=6)
    network = trained(config)
    batch = batch_of(network, 200, seed=1000)  # neither measured nor fitted
    layers = list(network.layers)
    with torch.no_grad():
        wanted = [layer(batch["x"])[0] for layer in layers]
    record = distilled(config, network, hidden=hidden, steps=150, lr=0.01)
    assert record["hidden"] == [width] * 2
    before, after = record["error"]["before"], record["error"]["after"]
    with torch.no_grad():
        for place, layer in enumerate(network.layers):
            error = (layer(batch["x"])[0] - wanted[place]).square().sum()
            share = float(error / wanted[place].square().sum())
            assert share < 0.9 * before[place]
            assert 0.5 < share / after[place] < 2


def test_shared_experts_are_part_of_the_dense_one():
    config = config_of("topk", hidden=6)
    config.moe.shared = 1
    network = trained(config)
    for layer in network.layers:
        for values in layer.bank.parameters():
            values.data[:] = values.data[:1]
    batch = batch_of(network)
    before = outputs(network, batch)
    record = distilled(config, network, steps=0)
    assert (record["hidden"], config.moe.shared) == ([18, 18], 0)
    torch.testing.assert_close(outputs(network, batch), before, rtol=1e-9, atol=1e-9)


def test_the_configuration_is_that_of_a_dense_run():
    """Which ``upcycle`` accepts; settings of single layers are gone but for their experts."""
    config = config_of("topk", hidden=6)
    config.losses, config.moe.capacity = {"switch": 0.01}, 2.0
    config.layers = {"1": {"router": {"k": 3}, "expert": {"hidden": 10}, "losses.z": 0.1}}
    network = trained(config)
    record = distilled(config, network, steps=0)
    assert record["hidden"] == [12, 30]
    assert (config.router["name"], config.moe.num_experts, config.moe.capacity) == (
        "uniform",
        1,
        None,
    )
    found = [settings_of(config, number) for number in range(2)]
    assert [each.expert["hidden"] for each in found] == [12, 30]
    assert [each.losses for each in found] == [{}, {}]
    batch = batch_of(network)
    before = outputs(network, batch)
    edit(network, config, {"upcycle": {"num_experts": 4, "router": {"name": "topk", "k": 2}}})
    torch.testing.assert_close(outputs(network, batch), before, rtol=1e-9, atol=1e-9)


def test_the_seed_decides():
    found = []
    for seed in (0, 0, 1):
        config = config_of("topk", hidden=6)
        network = trained(config)
        distilled(config, network, hidden=5, steps=3, seed=seed)
        found.append(network.layers[0].bank.up)
    assert found[0].equal(found[1])
    assert not found[0].equal(found[2])


@pytest.mark.parametrize(
    ("parts", "options", "message"),
    [
        ({}, {"hidden": "al"}, "edits.distil.hidden=al: unknown; did you mean 'all'"),
        ({}, {"hidden": 0}, "edits.distil.hidden=0 is invalid: expected an integer >= 1, or one"),
        ({}, {"steps": -1}, "edits.distil.steps=-1 is invalid: expected an integer >= 0"),
        ({}, {"lr": 0}, r"edits.distil.lr=0 is invalid: expected a number in \(0, 1\)"),
        ({"bank": "singleton"}, {}, "Singleton has no width `hidden`.*such as mlp"),
        ({"router": "uniform", "number": 1, "k": 1}, {}, "a layer with a single expert"),
    ],
)
def test_what_cannot_work_is_refused(parts, options, message):
    config = config_of(**parts)
    with pytest.raises(ConfigError, match=message):
        edit(trained(config), config, {"distil": options})


@pytest.mark.parametrize("bank", ["mlp", "glu", "conv"])
def test_joined_experts_are_a_weighted_sum(bank):
    built = experts.build(bank, 8, EXPERTS, hidden=5).double()
    rows = torch.randn(6, *((8, 3, 4) if bank == "conv" else (8,)), dtype=torch.float64)

    def run(expert):
        load = torch.zeros(EXPERTS, dtype=torch.int64)
        load[expert] = len(rows)
        return built(rows, load)

    parts = [(built, 2, 0.25), (built, 0, -2.0), (built, 2, 1.0)]
    joined = join_experts(find_neurons(built), parts)
    wanted = sum(weight * run(expert) for _, expert, weight in parts)
    torch.testing.assert_close(joined(rows, torch.tensor([len(rows)])), wanted)


def test_an_expert_is_never_narrower_than_one_of_the_mixture():
    """Routers may give items less than half an expert, and negative weights."""
    config = config_of("depth", hidden=6)
    config.freeze = ["router", "experts"]
    network = trained(config)
    for layer in network.layers:
        layer.capacity = 0.1
    record = distilled(config, network, steps=0)
    assert record["hidden"] == [6, 6]
    assert config.freeze == ["experts"]
