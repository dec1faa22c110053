"""StableMoE: what the second stage keeps, and what it no longer trains."""

import pytest
import torch

import routers
from routers import LOSSES, ConfigError, Items


def test_the_second_stage_keeps_its_experts_and_trains_weights_alone():
    torch.manual_seed(0)
    router = routers.build("stable", 4, 6, learn_steps=3, buckets=32).train()
    items = Items(torch.randn(64, 4), ids=torch.arange(64))
    for step in range(4):
        router.eval().adapt(torch.zeros(6))  # evaluation does not advance the stages
        routing = router.train()(items)
        learned = routing.expert.equal(routing.logits.argmax(1))
        assert learned == (step < 3)
        router.adapt(routing.load)
    table = router.eval()(items).expert
    assert table.equal(router.distilled(items.ids % 32).argmax(1))
    with torch.no_grad():
        router.words.neg_()  # such as weight decay and momentum may do
    router.train().adapt(routing.load)
    routing = router.train()(items)
    assert routing.expert.equal(table)
    loss = sum(LOSSES[name](routing) for name in router.default_losses)
    found = torch.autograd.grad(loss, list(router.parameters()), materialize_grads=True)
    assert not any(slope.any() for slope in found)
    router(items).weight.sum().backward()
    assert router.gate.weight.grad.any()


def test_the_first_stage_teaches_ids_the_choices_of_the_gate():
    torch.manual_seed(0)
    router = routers.build("stable", 4, 6, buckets=32).train()
    ids = torch.arange(32).repeat(4)
    items = Items(torch.randn(32, 4)[ids], ids=ids)
    optimizer = torch.optim.Adam([router.words, router.centroids], lr=0.1)
    for _ in range(60):
        optimizer.zero_grad()
        LOSSES["imitation"](router(items)).backward()
        optimizer.step()
    assert router.train()(items).expert.equal(router.eval()(items).expert)


def test_selected_experts_keep_their_table():
    router = routers.build("stable", 4, 6, learn_steps=1, buckets=32)
    router.adapt(torch.zeros(6))
    items = Items(torch.randn(32, 4), ids=torch.arange(32))
    order = [5, 0, 3, 1, 2, 4]
    before, after = router(items), router.take_experts(order)(items)
    assert torch.tensor(order)[after.expert].tolist() == before.expert.tolist()
    torch.testing.assert_close(after.weight, before.weight)
    heirs = torch.tensor([0, 0, 0, 1, 0, 0])
    fewer = router.take_experts([0, 3], heirs=heirs.tolist())(items)
    assert fewer.expert.equal(heirs[before.expert])


def test_selected_experts_are_learned_about_as_before():
    torch.manual_seed(0)
    router = routers.build("stable", 4, 6, learn_steps=9, buckets=32)
    router.adapt(torch.zeros(6))
    items = Items(torch.randn(32, 4), ids=torch.arange(32))
    twin = router.take_experts([5, 0, 3, 1, 2, 4])
    assert (twin.steps, twin.learn_steps) == (1, 9)
    taught = [found(items).extras["imitator"] for found in (router, twin)]
    torch.testing.assert_close(taught[1], taught[0][:, [5, 0, 3, 1, 2, 4]])


def test_bad_options():
    with pytest.raises(ConfigError, match=r"router\.learn_steps=0 is invalid"):
        routers.build("stable", 4, 4, learn_steps=0)
