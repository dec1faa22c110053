"""Settings of where routers stand: latent experts, rounds, parts, shared routers and experts."""

import copy
from dataclasses import replace

import pytest
import torch

import experts
import routers
import tasks
from experts import (
    Adaptation,
    MixtureOfAttentionHeads,
    MoE,
    RoundsMoE,
    SubTokenMoE,
    SwitchHead,
)
from routers import ConfigError, Items

from ...oracles import recurrent as oracle
from ...oracles._case import Case
from ..cases import BRIEF, train_any

SMALL = ("task.model.dim=8", "task.model.heads=2", "moe.num_experts=4", *BRIEF)


def network(*settings, bank="expert.hidden=6", depth=4):
    own = [*SMALL, *([bank] if bank else []), f"task.model.depth={depth}"]
    config = tasks.compose(["task=digits", *own, *settings])
    return tasks.build_backbone(config, tasks.build_task(config))


def layers_of(*settings, **options):
    return tasks.routed_layers(network(*settings, **options))


def test_settings_build_layers():
    assert [layer.latent for layer in layers_of()] == [None] * 4
    latent = layers_of("moe.latent.width=3", "moe.latent.norm=false", "moe.shared=1")[0]
    assert (latent.bank.dim, latent.router.dim, latent.shared.dim) == (3, 8, 8)
    assert isinstance(latent.latent.norm, torch.nn.Identity)
    rounds = layers_of("moe.rounds=3", "layers.0.moe.rounds=1")
    assert [type(each) for each in rounds] == [MoE, *[RoundsMoE] * 3]
    assert len(rounds[1].router.rounds) == 3
    parts = layers_of("moe.sub_tokens=2", "moe.latent=3")[0]
    assert isinstance(parts, SubTokenMoE)
    assert (parts.heads, parts.router.dim, parts.bank.dim) == (2, 4, 3)
    heads = layers_of("task.model.attention=moa", "task.model.routed=[1]")
    assert [type(each) for each in heads] == [MixtureOfAttentionHeads, MoE]
    heads = layers_of("task.model.attention=switch_head", "task.model.routed=[1]")
    assert [type(each) for each in heads] == [SwitchHead, MoE]
    assert (heads[0].heads, heads[0].bank.width, heads[0].router.num_experts) == (2, 4, 16)


@pytest.mark.parametrize("attention", ["moa", "switch_head"])
def test_heads_leave_the_weights_of_dense_layers_alone(attention):
    one, other = (
        network(f"task.model.attention={attention}", f"moe.num_experts={number}", depth=2)
        for number in (4, 6)
    )
    dense = [
        name for name, _ in one.named_parameters() if not {"moe", "attention"} & {*name.split(".")}
    ]
    assert any(name.startswith("head") for name in dense)
    for name in dense:
        assert one.get_parameter(name).equal(other.get_parameter(name)), name


def test_layers_in_succession_share():
    pairs = layers_of("moe.share_router=2")
    routers_of = [layer.router for layer in pairs]
    assert [routers_of.index(each) for each in routers_of] == [0, 0, 2, 2]
    assert len({id(layer.bank) for layer in pairs}) == 4
    banks = [layer.bank for layer in layers_of("moe.share_bank=3")]
    assert [banks.index(each) for each in banks] == [0, 0, 0, 3]
    states = [layer.router for layer in layers_of("router=recurrent", "moe.share_router=4")]
    assert len({id(each) for each in states}) == 4
    assert len({id(each.gru) for each in states}) == 1


def test_a_shared_router_adapts_once_to_the_sum():
    router = routers.build("sigmoid", 8, 4, rate=0.5)
    adaptation = Adaptation([router, routers.build("topk", 8, 4), router])
    x, loads = torch.randn(6, 8), []
    for layer, own in enumerate(adaptation.routers):
        routing = own(Items(x + layer))
        adaptation.observe_layer(layer, routing)
        loads.append(routing.load)
    alone = copy.deepcopy(router)
    alone.adapt(loads[0] + loads[2])
    assert adaptation.finish_step().tolist() == torch.stack(loads).tolist()
    torch.testing.assert_close(router.bias.value, alone.bias.value, rtol=0, atol=0)
    assert router.bias.value.abs().max() == 0.5  # one step of the rate, not two


def test_states_over_layers():
    """The second layer reads the state of the first, through drops and rounds."""
    torch.manual_seed(0)
    built = [routers.build("recurrent", 8, 4, width=3).double() for _ in range(3)]
    banks = [experts.build("mlp", 8, 4) for _ in range(2)]
    first, second = MoE(built[0], banks[0], capacity=0.5), RoundsMoE(built[1:], banks[1]).double()
    x = torch.randn(2, 3, 8, dtype=torch.float64)
    one = first.double()(x)[1]
    inner, both = second(x, earlier=[one])
    case = Case(x.view(6, 8).numpy(), 1, torch.ones(6).bool().numpy(), *[None] * 3, 4, {"k": 2}, {})

    def state(router, before=None, inputs=x):
        numbers = {k: v.detach().numpy() for k, v in router.state_dict().items()}
        rows = inputs.detach().reshape(6, 8).numpy()
        return oracle.states(replace(case, x=rows, state=numbers), before)

    wanted = state(built[0])
    torch.testing.assert_close(one.extras["state"], torch.from_numpy(wanted))
    wanted = state(built[1], wanted)
    torch.testing.assert_close(both.gates[0].extras["state"], torch.from_numpy(wanted))
    between = MoE(built[1], banks[1])(x, earlier=[one])[0]
    wanted = state(built[2], wanted, x + between)
    torch.testing.assert_close(both.extras["state"], torch.from_numpy(wanted))
    inner.square().sum().backward()
    assert built[0].gru.weight_ih.grad.any()  # through the state alone
    narrow = routers.build("recurrent", 8, 4, width=2).double()
    with pytest.raises(ConfigError, match="an earlier layer has states of width 3, this one of"):
        narrow(Items(x.view(6, 8), earlier=(one,)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["moe.sub_tokens=3"], "moe.sub_tokens=3 is invalid: expected a divisor of the width 8"),
        (["moe.latent=8"], r"moe.latent.width=8 is invalid: expected an integer in \[1, 7\]"),
        (["moe.rounds=2", "moe.sub_tokens=2"], "moe.rounds=2 and moe.sub_tokens=2 have no layer"),
        (["moe.share_router=2", "layers.1.router.k=3"], "layers 0 and 1 differ in router, width"),
        (
            ["task.model.attention=moa", "moe.rounds=2"],
            "no form of RoundsMoE; set moe.rounds=1",
        ),
        (["moe.share_bank=2", "layers.1.moe.num_experts=6"], "moe.share_bank=2 is invalid"),
        (["task.model.attention=switch_head", "moe.share_router=2"], "share_router=2 is invalid"),
        (["task.model.attention=switch_head", "moe.rounds=2"], "has no form of RoundsMoE"),
    ],
)
def test_settings_that_do_not_fit(settings, message):
    with pytest.raises(ConfigError, match=message):
        network(*settings)


def test_hooks_on_a_shared_router_are_of_one_layer():
    """Rerouting changes one of the layers, and a replay is refused."""
    built = network("moe.share_router=2", depth=2).eval()
    layers, batch = tasks.routed_layers(built), {"x": torch.randn(3, 1, 8, 8)}
    with experts.record(built) as before:
        built(batch)
    reroute = experts.INTERVENTIONS.build("reroute", layers[1])
    with reroute.apply(2), experts.record(built) as after:
        built(batch)
    loads = [[each[0].load.tolist() for each in found.values()] for found in (before, after)]
    assert loads[0][0] == loads[1][0]
    assert loads[0][1][2] > 0 == loads[1][1][2]
    with pytest.raises(ConfigError, match="shares its router with another"):
        experts.replay(built, before).__enter__()
    rounds = network("moe.rounds=2", depth=1)
    with pytest.raises(ConfigError, match="reroute: the layer has a router for each round"):
        experts.INTERVENTIONS.build("reroute", *tasks.routed_layers(rounds))
    with pytest.raises(ConfigError, match="layers that replay routes have a router each"):
        network("router=replay", "router.of=x", "moe.share_router=2")


def test_edits_of_shared_parts_are_refused():
    config = tasks.compose(["task=digits", *SMALL, "expert.hidden=6", "moe.share_bank=2"])
    built = tasks.build_backbone(config, tasks.build_task(config))
    edits = tasks.read_edits("edits", [{"prune": {"keep": 2, "by": "norm"}}])
    context = tasks.Context(config, list, None, None)
    with pytest.raises(ConfigError, match="they share routers or experts; give a run with"):
        tasks.apply_edits(edits, built, context)


def test_a_training_with_all_of_it(tmp_path):
    """Rounds, a latent space, a shared router that adapts, and routed heads."""
    settings = ("moe.rounds=2", "moe.latent=4", "moe.share_router=2", "router=sigmoid")
    result = train_any(tmp_path / "run", *settings, "expert.hidden=6", "trainer.max_steps=5")
    assert all(sum(each["load"]) == 2 * 2 * each["items"] for each in result["layers"])


def test_a_training_of_values_and_outputs(tmp_path):
    """Each of four routers fills its own four experts; an item reads half of their parameters."""
    form = "task.model.attention=switch_head"
    settings = (form, "router=sigmoid", "router.weighting=probability")
    sizes = ("task.model.dim=8", "task.model.heads=2", "moe.num_experts=4", "expert.hidden=6")
    out = tmp_path / "run"
    result = train_any(out, *settings, *sizes, "task.model.depth=1", "trainer.max_steps=5")
    heads = result["layers"][0]
    by_router = torch.tensor(heads["load"]).view(4, 4).sum(1)
    assert by_router.tolist() == [2 * heads["items"]] * 4
    unused = result["compute"]["parameters"] - result["compute"]["active_parameters"]
    assert unused == pytest.approx(16 * 8 * 4 / 2 + 4 * 2 * 8 * 6 / 2)
    run = tasks.load(out)
    edits = tasks.read_edits("edits", [{"prune": {"keep": 2, "by": "load"}}])
    with pytest.raises(ConfigError, match=f"each router of {form} has its own"):
        tasks.apply_edits(edits, run.module.backbone, tasks.Context(run.config, list, None, None))
