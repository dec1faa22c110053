"""What a result says the model costs is what it costs, to the last unit."""

from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import experts
from experts.accounting.flops import _UNCOUNTED
from tasks import Run, compose
from tasks.assembly.dense_control import CONTROLS
from tasks.loading.batches import InOrder
from tasks.running.compute import active_parameters

from ...router_samples import layout, one_of_each, traits
from ..assembly.test_places import network
from ..cases import NARROW, ROUTERS, TINY

pytestmark = pytest.mark.usefixtures("unpadded")

DIM, HIDDEN, EXPERTS, DEPTH, TOKENS = 16, 16, 8, 2, 16
ROWS = 80  # of the test split, a whole batch and a smaller one
LIMITED = [
    ("topk", "moe.capacity=0.6"),
    ("topk", "moe.shared=2"),
    ("topk", "router.gate=attention"),
    ("topk", "router.k=1", "router.weighting=probability"),
]


def row_dims(bank):
    return len(experts.build(bank, DIM, EXPERTS).row_axes)


def options_for(bank):
    """Overrides that give a bank a task it can work on, small."""
    narrow = ["expert.hidden=16"] if "hidden" in experts.EXPERTS.options(bank) else []
    model = {1: [], 2: ["task.model=vit"], 3: ["task.model=convnet"]}[row_dims(bank)]
    return [f"expert={bank}", *narrow, *model]


def measured(run):
    """FLOPs of the model on every test sample, in the batches it was evaluated in."""
    module = run.module.eval()
    counter = FlopCounterMode(display=False, custom_mapping=_UNCOUNTED)
    with torch.no_grad(), counter:
        for batch in InOrder(run.data.test, run.config.trainer.batch_size):
            module.backbone(module.prepare_batch(batch))
    return counter.get_total_flops()


def assert_exact(run, result):
    flops = result["compute"]["flops_per_item"] * ROWS
    assert round(flops) == measured(run)
    assert flops == pytest.approx(round(flops), abs=1e-3)


@pytest.mark.parametrize("bank", experts.available())
def test_flops_of_every_bank(bank):
    assert_exact(*evaluate(bank))


@pytest.mark.parametrize(
    ("settings", "gates"),
    [
        (["router=topk"], 1),
        (["router=noisy_topk"], 2),
        (["router=soft_moe"], TOKENS / EXPERTS),  # so many slots; what fills them is the layer's
        (["router=hash"], 0),
    ],
    ids=str,
)
def test_flops_of_routers_are_those_of_their_gates(settings, gates):
    compute = evaluate("mlp", *settings)[1]["compute"]
    assert compute["router_flops_per_item"] == DEPTH * TOKENS * 2 * DIM * EXPERTS * gates


def evaluate(bank, *overrides):
    """A run of a small untrained model, and what its result would hold."""
    run = Run(compose([*TINY, *options_for(bank), *overrides]))
    few = {name: values[:ROWS] for name, values in run.data.test.items()}
    run.data = replace(run.data, test=few)
    return run, run.test()


@pytest.mark.parametrize(
    ("bank", "router"),
    [
        *(("mlp", router) for router in ROUTERS),
        *(("conv", router) for router in one_of_each(layout, lambda name: name in ROUTERS)),
    ],
)
def test_flops_of_every_router(bank, router):
    assert_exact(*evaluate(bank, f"router={router}"))


def test_flops_of_a_gate_that_looks_at_the_batch():
    assert_exact(*evaluate("conv", "router.gate=attention"))


@pytest.mark.parametrize("settings", LIMITED, ids=" ".join)
def test_flops_of_other_settings(settings):
    router, *rest = settings
    assert_exact(*evaluate("mlp", f"router={router}", *rest))


def test_parameters_by_hand():
    compute = evaluate("mlp")[1]["compute"]
    router = EXPERTS * DIM
    expert = 2 * DIM * HIDDEN
    norm = 2 * DIM
    attention = DIM * 3 * DIM + 3 * DIM + DIM * DIM + DIM
    block = 2 * norm + attention + router + EXPERTS * expert
    embedding = 16 * DIM + DIM + TOKENS * DIM  # patches of 16 pixels, and positions
    total = embedding + DEPTH * block + norm + DIM * 10 + 10
    assert compute["parameters"] == total
    assert compute["router_parameters"] == DEPTH * router
    assert compute["active_parameters"] == total - DEPTH * expert * 6  # 2 of 8 work


def test_dropped_and_shared_experts_count_as_active_for_what_they_do():
    compute = evaluate("mlp", "router=soft_moe", "moe.shared=1")[1]["compute"]
    assert compute["active_parameters"] == compute["parameters"]


@pytest.mark.parametrize("bank", ["mlp", "glu"])
def test_dense_control_of_equal_flops(bank):
    routed = evaluate(bank)[1]
    run, dense = evaluate(bank, "moe.control=iso_flop")
    gap = dense["compute"]["flops_per_item"] - routed["compute"]["flops_per_item"]
    matrices = {"mlp": 2, "glu": 3}[bank]
    unit = 2 * matrices * DIM * TOKENS  # FLOPs of one hidden unit on one image
    assert abs(gap) <= DEPTH * unit
    assert dense["router"] == "dense_iso_flop"
    assert dense["matched_to"] == "topk"
    assert routed["matched_to"] is None
    assert all(len(layer["load"]) == 1 for layer in dense["layers"])
    assert_exact(run, dense)


def test_dense_control_of_equal_parameters():
    routed, dense = (
        evaluate("mlp", *control)[1] for control in ([], ["moe.control=iso_parameter"])
    )
    gap = dense["compute"]["parameters"] - routed["compute"]["parameters"]
    assert abs(gap) <= DEPTH * 2 * DIM
    assert dense["router"] == "dense_iso_parameter"
    assert dense["compute"]["active_parameters"] == dense["compute"]["parameters"]


@pytest.mark.parametrize("router", one_of_each(layout, lambda name: name in ROUTERS))
def test_every_kind_of_router_has_its_dense_controls(router):
    costs = {"iso_flop": flops_of, "iso_parameter": parameters_of}
    assert costs.keys() == set(CONTROLS)
    settings = [*(text for text in TINY if "max_steps" not in text), NARROW, f"router={router}"]
    routed = Run(compose(settings))
    batch = next(iter(InOrder(routed.data.test, 64)))
    for control, cost in costs.items():
        dense = Run(compose([*settings, f"moe.control={control}"]))
        assert not any(dense.module.auxiliary_loss.losses)
        found, expected = (cost(run.module.eval(), batch) for run in (dense, routed))
        assert found == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize(
    "router",
    one_of_each(
        lambda name: (traits(name).needs_ids, traits(name).causal),
        lambda name: not traits(name).needs_task,
    ),
)
def test_controls_match_what_real_data_costs(router):
    settings = [*TINY, NARROW, f"router={router}", "moe.capacity=1.0"]
    routed, dense = (
        Run(compose([*settings, *more])).module.eval() for more in ([], ["moe.control=iso_flop"])
    )
    batch = next(iter(InOrder(Run(compose(settings)).data.train, 64)))
    assert flops_of(dense, batch) == pytest.approx(flops_of(routed, batch), rel=0.05)


def flops_of(module, batch):
    with torch.no_grad():
        return experts.count_flops(lambda: module.backbone(module.prepare_batch(batch)))


def parameters_of(module, batch):
    return sum(p.numel() for p in module.backbone.parameters())


def test_shared_parts_count_and_are_saved_once():
    """Parameters, those that work on an item, and a training that adapts the router once."""
    own, shared = network(), network("moe.share_bank=4", "moe.share_router=4")
    parts = sum(p.numel() for p in own.parameters()), sum(p.numel() for p in shared.parameters())
    router, bank = 8 * 4, 4 * 2 * 8 * 6
    assert parts[0] - parts[1] == 3 * (router + bank)
    other = network("moe.share_bank=4", "moe.share_router=4", "seed=3")
    other.load_state_dict(shared.state_dict())
    batch = {"x": torch.randn(3, 1, 8, 8)}
    one, routings = shared.eval()(batch)
    torch.testing.assert_close(other.eval()(batch)[0], one, rtol=0, atol=0)
    rows = sum(each.load for each in routings) / routings[0].num_items
    idle = (bank // 4 * (1 - rows).clamp_min(0)).sum().item()
    assert active_parameters(shared, routings) == pytest.approx(parts[1] - idle)
