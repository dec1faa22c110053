"""What each edit promises, next to a slow reference."""

import pytest
import torch

import experts
from experts import take_neurons
from routers import ConfigError
from tasks import read_edits, settings_of

from .toy import (
    DIM,
    EXPERTS,
    Toy,
    batch_of,
    config_of,
    edit,
    keep_copies,
    outputs,
    trained,
)


def same(one, other, tolerance=1e-10):
    torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


# ---- upcycle ----


@pytest.mark.parametrize(
    "bank", ["mlp", "glu", "conv", "gru", "transformer", "low_rank", "singleton"]
)
@pytest.mark.parametrize("router", ["topk", "noisy_topk", "sigmoid", "soft_mixture", "merged"])
def test_an_upcycled_network_equals_its_dense_parent(bank, router):
    config = config_of("uniform", bank, number=1, k=1)
    network = trained(config)
    batch = batch_of(network)
    before = outputs(network, batch)
    (record,) = edit(network, config, {"upcycle": {"num_experts": 8, "router": router}})
    assert record["keeps_outputs"]
    assert (config.moe.num_experts, config.router["name"]) == (8, router)
    same(outputs(network, batch), before, 1e-6)


@pytest.mark.parametrize("bank", ["mlp", "glu", "conv"])
@pytest.mark.parametrize(("split", "k"), [(2, 2), (2, 4), (4, 4)])
def test_fine_grained_experts_equal_their_dense_parent(bank, split, k):
    config = config_of("uniform", bank, number=1, k=1, hidden=12)
    network = trained(config)
    batch = batch_of(network)
    before = outputs(network, batch)
    router = {"name": "topk", "k": k}
    edit(network, config, {"upcycle": {"num_experts": 8, "router": router, "split": split}})
    assert config.expert["hidden"] == 12 // split
    assert network.layers[0].bank.hidden == 12 // split
    same(outputs(network, batch), before, 1e-6)


def test_dropped_neurons_are_drawn_again_and_others_kept():
    config = config_of("uniform", number=1, k=1, hidden=10)
    network = trained(config)
    parent = network.layers[0].bank.up[0].clone()
    edit(network, config, {"upcycle": {"num_experts": 4, "router": "topk", "drop": 0.3}})
    changed = (network.layers[0].bank.up != parent).all(1)  # of a neuron all weights or none
    assert (network.layers[0].bank.up != parent).any(1).equal(changed)
    assert changed.sum(1).tolist() == [3] * 4
    assert len({tuple(row) for row in changed.tolist()}) > 1


# ---- prune ----


def planted_hash(loads):
    """A network whose ids are spread over experts by the given numbers of ids."""
    config = config_of("hash")
    network = trained(config)
    for layer in network.layers:
        table = torch.repeat_interleave(torch.arange(EXPERTS), torch.tensor(loads))
        layer.router.table[: len(table)] = table
    return network, config


def test_pruning_by_load_keeps_the_busiest():
    network, config = planted_hash([2, 9, 1, 8])
    kept = network.layers[0].bank.down[[1, 3]].clone()
    (record,) = edit(network, config, {"prune": {"keep": 2, "by": "load"}})
    assert record["kept"] == [[1, 3], [1, 3]]
    assert network.layers[0].bank.down.equal(kept)
    assert config.moe.num_experts == 2


def test_growth_copies_the_busiest():
    network, config = planted_hash([2, 9, 1, 8])
    (record,) = edit(network, config, {"grow": {"add": 2}})
    assert record["copied"] == [[1, 3], [1, 3]]


@pytest.mark.parametrize(
    ("by", "router"), [("norm", "topk"), ("norm", "soft_mixture"), ("mass", "topk")]
)
def test_criteria_equal_a_loop_over_assignments(by, router):
    """Mean of weight times norm of the output of an expert over its items; sum of weights."""
    config = config_of(router)
    network = trained(config)
    layer = network.layers[0]
    (record,) = edit(network, config, {"prune": {"keep": 2, "by": by}})
    sums, counts = [0.0] * EXPERTS, [0] * EXPERTS
    for seed in (3, 4):
        x = batch_of(network, seed=seed)["x"]
        with torch.no_grad():
            _, routing = layer(x)
        rows = x.flatten(0, 1)
        for item, expert, weight in zip(routing.item, routing.expert, routing.weight, strict=True):
            row, bank = rows[item], layer.bank
            out = torch.nn.functional.gelu(row @ bank.up[expert]) @ bank.down[expert].detach()
            sums[expert] += float(weight * out.detach().norm()) if by == "norm" else float(weight)
            counts[expert] += 1
    value = [s / max(c, 1) if by == "norm" else s for s, c in zip(sums, counts, strict=True)]
    wanted = sorted(sorted(range(EXPERTS), key=lambda e: -value[e])[:2])
    assert record["kept"][0] == wanted


def test_random_pruning_depends_on_the_seed_alone():
    kept = []
    for seed in (0, 0, 1, 2, 3):
        config = config_of("soft_mixture")
        written = {"prune": {"keep": 2, "by": "random", "seed": seed}}
        kept.append(edit(trained(config, seed), config, written)[0]["kept"])
    assert kept[0] == kept[1]
    assert len({str(each) for each in kept}) > 1


def test_global_pruning_leaves_layers_their_shares():
    network, config = planted_hash([2, 9, 1, 8])
    network.layers[1].router.table[:20] = torch.arange(20) // 5
    (record,) = edit(network, config, {"prune": {"keep": 3, "by": "load", "scope": "global"}})
    assert record["kept"] == [[1, 3], [0, 1, 2, 3]]
    numbers = [settings_of(config, number).moe.num_experts for number in range(2)]
    assert numbers == [layer.bank.num_experts for layer in network.layers] == [2, 4]
    assert config.layers
    Toy(config).double().load_state_dict(network.state_dict())
    edit(network, config, {"prune": {"keep": 1, "by": "load"}})  # and to one number again
    assert [settings_of(config, number).moe.num_experts for number in range(2)] == [1, 1]
    Toy(config).double().load_state_dict(network.state_dict())


# ---- merge ----


def permuted_copy(network, one, other):
    """Make an expert of each layer another one with its neurons in another order."""
    for layer in network.layers:
        for values in layer.bank.parameters():
            values.data[other] = values.data[one]
        neurons = experts.find_neurons(layer.bank)
        orders = [torch.arange(neurons.number) for _ in range(EXPERTS)]
        orders[other] = torch.randperm(neurons.number, generator=torch.Generator().manual_seed(1))
        layer.bank.load_state_dict(take_neurons(layer.bank, neurons, orders).state_dict())


@pytest.mark.parametrize("bank", ["mlp", "glu"])
@pytest.mark.parametrize("seed", [0, 1])
def test_merging_two_equal_experts_changes_nothing(bank, seed):
    config = config_of("hash", bank)
    network = trained(config, seed)
    permuted_copy(network, 1, 3)
    batch = batch_of(network)
    before = outputs(network, batch)
    (record,) = edit(network, config, {"merge": {"to": 3, "by": "weights"}})
    groups = {tuple(sorted(group)) for group in record["groups"][0]}
    if groups == {(0,), (1, 3), (2,)}:  # leaders are the busiest, so both may lead
        same(outputs(network, batch), before)
    else:
        assert {1, 3} <= {group[0] for group in record["groups"][0]}
    # with both in one group, whatever their loads
    for layer in network.layers:
        assert layer.bank.num_experts == 3


def test_means_are_weighted_by_load_and_aligned():
    network, config = planted_hash([9, 8, 2, 1])
    permuted_copy(network, 1, 3)
    old = network.layers[0].bank
    batch = batch_of(network)
    before = outputs(network, batch)
    (record,) = edit(network, config, {"merge": {"to": 3, "by": "weights"}})
    assert record["groups"] == [[[0], [1, 3], [2]]] * 2
    same(outputs(network, batch), before)
    network, config = planted_hash([9, 8, 2, 1])
    old = network.layers[0].bank
    batches = [batch_of(network, seed=seed) for seed in (3, 4)]
    load = sum(network(batch)[1][0].load for batch in batches).double()
    (record,) = edit(network, config, {"merge": {"to": 2, "by": "routes", "align": "none"}})
    for place, group in enumerate(record["groups"][0]):
        share = load[group] / load[group].sum()
        mean = torch.einsum("e,edh->dh", share, old.up[group])
        same(network.layers[0].bank.up[place].detach(), mean.detach(), 1e-6)


def test_routes_find_the_expert_with_the_same_scores():
    config = config_of("topk", k=1, weighting="probability")
    network = trained(config)
    for layer in network.layers:
        layer.router.gate.weight.data[3] = 0.999 * layer.router.gate.weight.data[1]
    (record,) = edit(network, config, {"merge": {"to": 3, "by": "routes"}})
    for groups in record["groups"]:
        (pair,) = [sorted(group) for group in groups if len(group) > 1]
        assert pair == [1, 3] or {1, 3} <= {group[0] for group in groups}


# ---- grow ----


@pytest.mark.parametrize(("router", "noise"), [("sigmoid", 0.01), ("hash", 0.0)])
@pytest.mark.parametrize("bank", ["mlp", "conv", "null"])
def test_clones_keep_outputs_where_the_router_can(router, noise, bank):
    config = config_of(router, bank)
    network = trained(config)
    for layer in network.layers:
        if router == "sigmoid":
            layer.router.bias.value.copy_(torch.randn(EXPERTS))
    batch = batch_of(network)
    before = outputs(network, batch)
    (record,) = edit(network, config, {"grow": {"add": 2, "noise": noise}})
    assert config.moe.num_experts == EXPERTS + 2
    same(outputs(network, batch), before)
    copied = record["copied"][0]
    if bank == "mlp" and not noise:
        up = network.layers[0].bank.up
        assert up[EXPERTS:].equal(up[copied])


def test_split_experts_divide_their_items():
    config = config_of("topk", k=1, weighting="probability")
    network = trained(config)
    batch = batch_of(network, 40)
    before = network(batch)[1][0].load
    (record,) = edit(network, config, {"grow": {"add": 1, "how": "split", "noise": 0.3}})
    (busiest,) = record["copied"][0]
    after = network(batch)[1][0].load
    assert min(after[busiest], after[EXPERTS]) > 0.1 * before[busiest]


# ---- revive ----


@pytest.mark.parametrize("router", ["topk", "sigmoid"])
def test_dead_experts_are_revived_and_living_ones_stay(router):
    config = config_of(router)
    network = trained(config)
    for layer in network.layers:
        layer.router.gate.weight.data[1] = 0
        layer.router.gate.weight.data[1, 0] = -100.0  # of either sign for an item: two rows
        layer.bank.up.data[1] = 7.0
    batch = {**batch_of(network)}
    batch["x"] = batch["x"].clone()
    batch["x"][..., 0] = batch["x"][..., 0].abs() + 0.1
    old = {name: values.clone() for name, values in network.state_dict().items()}
    from tasks import Context, apply_edits

    context = Context(config, lambda: [batch], lambda place: network, lambda: [batch])
    (record,) = apply_edits(read_edits("edits", ["revive"]), network, context)
    assert record["revived"][0].keys() == {1}
    living = [0, 2, 3]
    bank, gate = "layers.0.bank.up", "layers.0.router.gate.weight"
    now = network.state_dict()
    for name in (bank, gate):
        assert now[name][living].equal(old[name][living])
        assert not now[name][1].equal(old[name][1])
    busy = record["revived"][0][1]
    gap = (now[bank][1] - old[bank][busy]).std() / old[bank][busy].std()
    assert 0.03 < gap < 0.07
    assert network(batch)[1][0].load[1] > 0


# ---- swap, freeze ----


def test_swapped_parts_are_those_of_the_other_run():
    config = config_of()
    network, other = trained(config), trained(config, seed=1)
    router = network.layers[0].router.gate.weight.clone()
    edit(network, config, {"swap": {"of": "there", "layers": [0]}}, lambda place: other)
    assert network.layers[0].bank.up.equal(other.layers[0].bank.up)
    assert network.layers[0].router.gate.weight.equal(router)
    assert not network.layers[1].bank.up.equal(other.layers[1].bank.up)
    written = {"swap": {"of": "there", "part": "router"}}
    edit(network, config, written, lambda place: other)
    assert network.layers[1].router.gate.weight.equal(other.layers[1].router.gate.weight)


def test_frozen_parameters_are_added():
    config = config_of()
    config.freeze = ["router"]
    edit(trained(config), config, {"freeze": {"parameters": ["router", "experts"]}})
    assert config.freeze == ["router", "experts"]


# ---- skip ----


def test_skipped_experts_are_those_of_the_rule():
    config = config_of("soft_mixture")
    config.layers = {"1": {"moe": {"skip": {"weight": 1.0}}}}
    network = trained(config)
    batches = [batch_of(network, seed=seed) for seed in (3, 4)]
    with torch.no_grad():
        full = [network(batch)[1][0] for batch in batches]
    (record,) = edit(network, config, {"skip": {"weight": 0.5, "mass": 0.9}})
    rules = {"weight": 0.5, "mass": 0.9}
    assert (config.moe.skip, network.layers[1].skip) == (rules, rules)
    assert settings_of(config, 1).moe.skip == rules
    rows = sum(routing.skip(rules).load for routing in full).double()
    share = rows / sum(routing.load for routing in full)
    assert record["computed"][0] == pytest.approx(share.tolist(), abs=1e-4)
    assert max(record["computed"][0]) < 1


# ---- backup ----


@pytest.mark.parametrize(
    ("options", "restored"),
    [
        ({}, {0: [1, 3], 1: [0]}),
        ({"layer": 0}, {0: [1, 3]}),
        ({"layer": 1, "experts": [2]}, {1: [2]}),
    ],
)
def test_lost_experts_come_back_from_their_copies(tmp_path, options, restored):
    config = config_of()
    network = trained(config)
    keep_copies(network, tmp_path)
    kept = {name: values.clone() for name, values in network.state_dict().items()}
    for values in network.parameters():
        values.data += 1
    for layer, expert, value in ((0, 1, 0), (0, 3, torch.nan), (1, 0, 0)):
        for values in network.layers[layer].bank.parameters_of(expert):
            values.data.fill_(value)
    now = {name: values.clone() for name, values in network.state_dict().items()}
    (record,) = edit(network, config, {"backup": options}, folder=tmp_path)
    assert (record["of_step"], record["restored"]) == (5, restored)
    for name, values in network.state_dict().items():
        own = restored.get(int(name.split(".")[1]), []) if ".bank." in name else []
        wanted = now[name].clone()
        wanted[own] = kept[name][own]
        assert values.equal(wanted) or (values.isnan().any() and "layer" in options), name


def test_without_copies_or_losses_nothing_is_restored(tmp_path):
    config = config_of()
    with pytest.raises(ConfigError, match=r"edits.backup.experts: no expert is lost; name those"):
        edit(trained(config), config, "backup", folder=tmp_path)
    written = {"backup": {"experts": [0]}}
    with pytest.raises(ConfigError, match=r"backups/experts.ckpt is missing; only a run that is"):
        edit(trained(config), config, written, folder=tmp_path)
    keep_copies(trained(config, depth=1), tmp_path)
    with pytest.raises(ConfigError, match=r"is of 1 routed layers, and the network has 2"):
        edit(trained(config), config, written, folder=tmp_path)
    (tmp_path / "backups" / "experts.ckpt").write_bytes(b"PK")
    with pytest.raises(ConfigError, match=r"experts.ckpt cannot be read \(.*corrupt: remove it"):
        edit(trained(config), config, written, folder=tmp_path)


# ---- errors ----


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ({"prun": {"keep": 2}}, "edits=prun: unknown; did you mean 'prune'"),
        ({"prune": {"kep": 2}}, "edits.prune.kep: unknown; did you mean 'keep'"),
        ("prune", "edits.prune.keep: required"),
        ({"prune": {"keep": 0}}, "edits.prune.keep=0 is invalid: expected an integer >= 1"),
        (
            {"prune": {"keep": 2, "by": "norms"}},
            "edits.prune.by=norms: unknown; did you mean 'norm'",
        ),
        ({"prune": {"keep": 4}}, r"edits.prune.keep=4 is invalid: expected an integer in \[1, 3\]"),
        ({"prune": {"keep": 1}}, r"router.k=2 is invalid: .*\[1, num_experts=1\].*router.k=1"),
        ({"merge": {"to": 9}}, r"edits.merge.to=9 is invalid: expected an integer in \[1, 3\]"),
        ({"grow": {"add": 5}}, r"edits.grow.add=5 is invalid: expected an integer in \[1, 4\]"),
        ({"revive": {"below": 1}}, "edits.revive.below=1 is invalid"),
        ("upcycle", "upcycle: the network has layers with 4 experts; give a dense run"),
        ({"upcycle": {"router": {"name": "topk", "kk": 1}}}, "router.kk: unknown"),
        ({"swap": {"of": "x", "layers": [2]}}, r"edits.swap.layers=\[2\] is invalid"),
        ("skip", "edits.skip.weight: required, or mass"),
        ({"skip": {"mass": 0}}, r"edits.skip.mass=0 is invalid: expected a number in \(0, 1\]"),
        ({"backup": {"layer": 2}}, r"edits.backup.layer=2 is invalid: expected an index in \[0, 1"),
        ({"backup": {"experts": [4]}}, r"edits.backup.experts=4 is invalid: expected indices in"),
        ({"prune": 3}, "expected edits as NAME or"),
        (3, "expected edits as NAME or"),
    ],
)
def test_what_cannot_work_is_refused(written, message):
    config = config_of()
    network = trained(config)
    before = {name: values.clone() for name, values in network.state_dict().items()}
    with pytest.raises(ConfigError, match=message):
        edit(network, config, written)
    assert all(values.equal(before[name]) for name, values in network.state_dict().items())


def test_a_dense_run_and_other_shapes_are_refused():
    config = config_of("uniform", number=1, k=1)
    with pytest.raises(ConfigError, match=r"a layer with a single expert.*by the edit upcycle"):
        edit(trained(config), config, {"prune": {"keep": 1}})
    config, wider = config_of(), config_of(hidden=16)
    with pytest.raises(
        ConfigError, match=r"swap.of=there: its experts of layer 0 are .*\(4, 8, 16\)"
    ):
        edit(trained(config), config, {"swap": {"of": "there"}}, lambda place: trained(wider))
    for options, message in (
        (
            {"split": 3, "num_experts": 9, "router": {"name": "topk", "k": 3}},
            "divisor of the 32 neur",
        ),
        ({"split": 2, "router": {"name": "topk", "k": 3}}, "router.k=3 is invalid: expected a mul"),
        ({"split": 2, "router": "topk"}, "output of an expert of GRU is no sum over neurons"),
    ):
        bank = "gru" if "GRU" in message else "mlp"
        config = config_of("uniform", bank, number=1, k=1)
        with pytest.raises(ConfigError, match=message):
            edit(trained(config), config, {"upcycle": options})
    assert Toy(config_of()).layers[0].bank.dim == DIM


def test_what_is_frozen_already_stays_so():
    network, config = planted_hash([1, 1, 1, 1])
    config.freeze = ["router"]
    edit(network, config, {"freeze": {"parameters": ["experts", "router"]}})
    assert config.freeze == ["router", "experts"]
