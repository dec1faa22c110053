"""Adaptation in plain PyTorch: one call after which no step is without it."""

import copy
import pickle
import warnings

import pytest
import torch
from torch.utils.checkpoint import checkpoint

import routers
from experts import MoE, MultiGateMoE, adapt_on_step, mmoe
from routers import ConfigError

from ..cases import DIM, EXPERTS, bank_of, router_of


def layer_of(router):
    return MoE(router_of(router), bank_of("mlp"), capacity=0.5).train()


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("router", ["sigmoid", "expert_threshold"])
def test_every_step_adapts_as_calls_by_hand_do(router, recompute):
    model, twin = layer_of(router), layer_of(router)
    optimizers = [torch.optim.SGD(each.parameters(), lr=0.1) for each in (model, twin)]
    adapt_on_step(optimizers[0], model)
    for _ in range(2):
        load, counts = 0, 0
        for _ in range(2):
            x = torch.randn(9, DIM, requires_grad=True)
            args = (model, x)
            y = checkpoint(*args, use_reentrant=False)[0] if recompute else model(x)[0]
            y.sum().backward()
            y, routing = twin(x)
            y.sum().backward()
            load = load + routing.requested_load
            counts = counts + routing.extras.get("counts", 0)
        model.eval()(x)  # evaluation does not count
        model.train()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        twin.router.adapt(load)
        if twin.router.num_counts:
            twin.router.adapt_from_counts(counts)
    before = layer_of(router).router.state_dict()
    state, wanted = model.router.state_dict(), twin.router.state_dict()
    assert any(not torch.equal(wanted[n], before[n]) for n, _ in twin.router.named_buffers())
    torch.testing.assert_close(state, wanted)


def test_a_model_without_layers_is_refused():
    model = torch.nn.Linear(2, 2)
    with pytest.raises(ConfigError, match="no MoE layer"):
        adapt_on_step(torch.optim.SGD(model.parameters(), lr=0.1), model)


def test_once_for_a_model_and_copies_count_for_themselves():
    model = layer_of("sigmoid")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    adaptation = adapt_on_step(optimizer, model)
    with pytest.raises(ConfigError, match="adapt already"):
        adapt_on_step(optimizer, model)
    twin = pickle.loads(pickle.dumps(copy.deepcopy(model)))
    twin(torch.randn(9, DIM))
    assert not adaptation.load.any()
    model(torch.randn(9, DIM))
    assert adaptation.load.any()


def gates_of(router):
    gates = [router_of(router) for _ in range(2)]
    return MultiGateMoE(gates, bank_of("mlp"), mmoe(EXPERTS, tasks=2)).train()


def frozen_of(router):
    return MoE(routers.build("frozen", DIM, EXPERTS, of=router), bank_of("mlp")).train()


@pytest.mark.parametrize(
    ("make", "router", "adapts"),
    [
        (layer_of, "sigmoid", True),
        (layer_of, "relu", True),
        (layer_of, "topk", False),
        (gates_of, "sigmoid", True),
        (gates_of, "hash", False),
        (frozen_of, "sigmoid", False),
    ],
)
def test_a_router_that_never_adapts_is_reported_once(monkeypatch, make, router, adapts):
    monkeypatch.setattr("experts.layers.never_adapted.MAX_PASSES", 3)
    for trains, adapted in [(True, False), (True, True), (False, False)]:
        model, x = make(router), torch.randn(9, DIM)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
        if adapted:
            adapt_on_step(optimizer, model)
        with warnings.catch_warnings(record=True) as reported:
            warnings.simplefilter("always")
            for _ in range(7):
                y, _ = model(x if model.num_gates == 1 else x[None], ids=torch.arange(9))
                y.sum().backward()
                if trains:
                    optimizer.step()
        assert len(reported) == (adapts and trains and not adapted)
        for report in reported:
            assert "call experts.adapt_on_step(optimizer, model) once" in str(report.message)
