"""Routings with gradients, masks in every layer, and what checkpoints and threads may not mix."""

import copy
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from threading import Barrier

import pytest
import torch
from torch import nn
from torch.nn.parallel import DataParallel
from torch.utils.checkpoint import CheckpointError, checkpoint

from experts import collect, route
from routers import ConfigError, Router, Routing
from routers.losses import LOSSES

D, E, L = 8, 4, 6
MASK = torch.arange(L) < torch.tensor([[4], [6]])
IDS = torch.arange(2 * L).view(2, L) % 5


class Again(Router):
    """Items go to the expert after that of the layer before: it reads earlier routings."""

    def __init__(self, dim, num_experts):
        super().__init__(dim, num_experts)
        self.scale = nn.Parameter(torch.ones(num_experts))

    def forward(self, items):
        before = items.earlier[-1].assigned_mask.to(items.x.dtype) if items.earlier else 0.0
        logits = self.scale * (items.x[:, : self.num_experts] + 9.0 * before).roll(1, -1)
        weight, expert = logits.softmax(-1).topk(1)
        return Routing.by_item(items, expert, weight, self.num_experts, logits=logits)


class Model(nn.Module):
    """Three residual blocks, each with a feed-forward network, that may be recomputed."""

    def __init__(self, reentrant=None):
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(D), nn.Sequential(nn.Linear(D, 12), nn.Linear(12, D)))
            for _ in range(3)
        )
        self.reentrant = reentrant

    def forward(self, x):
        for block in self.blocks:
            x = x + (
                block(x)
                if self.reentrant is None
                else checkpoint(block, x, use_reentrant=self.reentrant)
            )
        return x


def routed(router, reentrant=None, **settings):
    torch.manual_seed(0)
    model = Model(reentrant)
    route(model, "blocks.?.1", router=router, num_experts=E, **settings)
    torch.manual_seed(1)
    for parameter in model.parameters():
        parameter.data.add_(0.5 * torch.randn_like(parameter))  # experts differ
    return model


def random_input(**options):
    return torch.randn(2, L, D, generator=torch.Generator().manual_seed(2), **options)


def step(model, x, mask=MASK, ids=IDS):
    """Outputs, loss and gradients of a pass whose backward pass is inside of the context."""
    model.zero_grad()
    torch.manual_seed(3)
    with collect(model, mask=mask, ids=ids) as routings:
        y = model(x)
        loss = routings.loss({"switch": 0.1, "squared_deviation": {"weight": 0.2}})
        (y.square().sum() + loss).backward()
    grads = [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in model.parameters()]
    return y, loss, grads, routings


def same(one, other):
    return all(torch.allclose(a, b, rtol=0, atol=1e-11) for a, b in zip(one, other, strict=True))


def test_losses_are_those_of_the_routings_and_reach_the_routers(double):
    model, x = routed("noisy_topk"), random_input()
    _, loss, _, routings = step(model, x)
    assert [*routings] == [f"blocks.{n}.1" for n in range(3)]
    found = [each for [each] in routings.values()]
    wanted = sum(0.1 * LOSSES["switch"](r) + 0.2 * LOSSES["squared_deviation"](r) for r in found)
    assert torch.allclose(loss, wanted, rtol=0, atol=1e-12)
    assert all(each.mask.tolist() == MASK.flatten().tolist() for each in found)
    default = {"importance": 0.1, "load": 0.1}
    with collect(model, mask=MASK) as routings:
        assert not torch._C._is_multithreading_enabled()  # other threads do not see the context
        model(x)
        model(x)
        assert len(routings["blocks.0.1"]) == 2
        assert torch.equal(routings.loss(), routings.loss(default))
        routings.clear()
        with pytest.raises(ConfigError, match="no routed layer ran"):
            routings.loss()
        model(x)
        with pytest.raises(ConfigError, match=r"losses\.swich: unknown; did you mean 'switch'"):
            routings.loss({"swich": 1})
        with pytest.raises(ConfigError, match=r"losses=0\.1 is invalid: expected weights by name"):
            routings.loss(0.1)


def test_padding_has_no_influence(double):
    """Gradients and losses are those of other contents of the padding, and of no padding."""
    model, x = routed("expert_choice"), random_input()
    other = torch.where(MASK.unsqueeze(-1), x, torch.full_like(x, 7.0))
    y, loss, _, _ = step(model, x)
    y2, loss2, _, _ = step(model, other)
    assert torch.equal(y[MASK], y2[MASK])
    assert torch.equal(loss, loss2)
    with collect(model):
        short = model(x[:1, :4])
    assert torch.allclose(y[:1, :4], short, rtol=0, atol=1e-12)
    assert not torch.allclose(model(x)[MASK], y[MASK])


def test_earlier_routings_are_those_of_the_same_items(double):
    """A layer behind a pooling of tokens routes as it does without the layers before."""
    torch.manual_seed(0)
    pool = nn.AdaptiveAvgPool2d((1, D))
    model = nn.Sequential(nn.Linear(D, D), pool, nn.Linear(D, D), nn.Linear(D, D))
    route(model, ["0", "2", "3"], router=Again, num_experts=E)
    with collect(model):
        y = model(random_input())
        x = model[:2](random_input())
    with collect(model[2:]):
        assert torch.equal(model[2:](x), y)


def test_samples_may_be_the_second_axis():
    layer = nn.TransformerEncoderLayer(D, 2, 12)
    route(layer, nn.TransformerEncoderLayer, router="expert_choice")
    with collect(layer, mask=MASK) as routings:
        layer(random_input().transpose(0, 1))
    [routing] = routings["linear1"]
    assert (routing.groups, routing.mask.view(2, L).tolist()) == (2, MASK.tolist())


@pytest.mark.parametrize("router", ["noisy_topk", "expert_choice", "hash", Again])
def test_recomputed_activations_read_the_same(router, double):
    """Gradients under checkpointing are those without it, and each routing is collected once."""
    x = random_input(requires_grad=True)
    wanted = step(routed(router), x)
    model = routed(router, reentrant=False)
    found = step(model, x)
    assert torch.equal(found[0], wanted[0])
    assert same(found[2], wanted[2])
    assert any(each.any() for each in found[2])
    assert [len(each) for each in found[3].values()] == [1, 1, 1]
    compiled = torch.compile(routed(router), backend="eager")
    assert same(step(compiled, x)[2], wanted[2])


@pytest.mark.parametrize(
    ("router", "given"),
    [("soft_mixture", {"mask": MASK}), ("hash", {"ids": IDS}), (Again, {})],
)
def test_a_recomputation_that_reads_something_else_raises(router, given):
    model, x = routed(router, reentrant=False), random_input()
    others = {key: value.roll(1, 0).clone() for key, value in given.items()}
    message = "same experts.collect|needs the ids|metadata|number of tensors"
    for context in (collect(model, **others), nullcontext()):
        with collect(model, **given):
            y = model(x)
        with context, pytest.raises((ConfigError, CheckpointError), match=message):
            y.sum().backward()
    with collect(model, **given):  # in a later pass of the same context it may be too late
        first = model(x)
        model(x.flip(1))
        if router is Again:
            with pytest.raises(ConfigError, match="before the next pass"):
                first.sum().backward()
    if router is not Again:
        return
    topk = routed("topk", reentrant=False)  # reads nothing, so it does not matter
    with collect(topk) as routings:
        y = topk(x)
    (y.sum() + routings.loss()).backward()


def test_reentrant_checkpoints_are_refused_where_they_lose_gradients():
    model, x = routed("topk", reentrant=True), random_input(requires_grad=True)
    with collect(model) as routings:
        y = model(x)
        with pytest.raises(
            ConfigError, match=r"'blocks.2.1' ran without gradients.*use_reentrant=False"
        ):
            routings.loss()
        with torch.no_grad():
            assert routings.loss() > 0
        y.sum().backward()
    assert [len(each) for each in routings.values()] == [1, 1, 1]
    with collect(model, mask=MASK), pytest.raises(ConfigError, match="use_reentrant=False"):
        model(x)
    model.reentrant = None
    with torch.no_grad(), collect(model, mask=MASK) as routings:
        model(x)
        assert routings.loss() > 0


def test_threads_do_not_mix(double):
    """Threads train one model, each with a mask, and another one runs it outside of a context."""
    model, x = routed("expert_choice", reentrant=False), random_input()
    masks = [torch.arange(L) < torch.tensor([[n], [6 - n]]) for n in (1, 2)]
    places = [*model.parameters()]

    def run(mask, passes):
        found = []
        with collect(model, mask=mask) as routings:
            for _ in range(passes):
                y = model(x)
                barrier.wait()
                loss = y.square().sum() + routings.loss({"z": 0.1})
                found.append([y, *torch.autograd.grad(loss, places)])
                routings.clear()
        return found

    barrier = Barrier(1)
    alone = [run(mask, 1)[0] for mask in masks]
    barrier = Barrier(2)
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(run, masks, (3, 3)))
    for wanted, passes in zip(alone, found, strict=True):
        assert all(same(each, wanted) for each in passes)
    with collect(model, mask=MASK) as routings, ThreadPoolExecutor(1) as pool:
        pool.submit(model, x).result()
    assert not any(routings.values())


def test_the_inner_of_nested_contexts_has_the_passes():
    model, other, x = routed("topk"), routed("topk"), random_input()
    with collect(model, mask=MASK) as outer:
        with collect(model.blocks[1]) as inner:
            model(x)
            other(x)
        with pytest.raises(ValueError, match="x has shape"), collect(model.blocks[1]):
            model.blocks[1][1](x[..., :3])
        model(x)
        with collect(other):
            model(x)
        copy.deepcopy(model)(x)
    assert [len(each) for each in outer.values()] == [3, 2, 3]
    assert [*inner] == ["1"]
    assert [each.mask is None for each in outer["blocks.0.1"]] == [False] * 3
    assert inner["1"][0].mask is None
    model(x)
    assert len(outer["blocks.0.1"]) == 3


def test_layers_get_the_routings_of_the_same_items_before_them():
    model, x = routed(Again), random_input()
    seen = []
    for name, layer in model.named_modules():
        if name.endswith("moe.router"):
            layer.register_forward_pre_hook(lambda _, given: seen.append(given[0].earlier))
    with collect(model) as routings:
        model(x)
        model(x)
    found = [routings[f"blocks.{n}.1"][1] for n in range(3)]
    assert [len(each) for each in seen] == [0, 1, 2] * 2
    assert all(a is b for a, b in zip(seen[-1], found[:2], strict=True))


def test_shapes_and_needs_are_checked_by_name():
    model, x = routed("topk"), random_input()
    with collect(model, mask=MASK[:, :5]), pytest.raises(
        ConfigError, match=r"mask has shape \(2, 5\), and layer 'blocks.0.1' .* shape \(2, 6\)"
    ):  # fmt: skip
        model(x)
    with pytest.raises(ConfigError, match=r"expected torch.bool; give mask.bool\(\)"), collect(
        model, mask=MASK.long()
    ):  # fmt: skip
        pass
    with pytest.raises(ConfigError, match="DataParallel copies"), collect(DataParallel(model)):
        pass
    hashed = routed("hash")
    with pytest.raises(ConfigError, match=r"Hash needs the ids .* experts.collect\(model, ids="):
        hashed(x)
    with collect(hashed, ids=IDS), pytest.raises(ConfigError, match="ids has shape"):
        hashed(x[:, :3])


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_nested_tensors_are_refused():
    """An encoder makes them if its first layer, alone, is not routed."""
    x = random_input()
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(D, 2, 12, batch_first=True), 2)
    route(encoder, "layers.1", router="topk")
    with torch.no_grad(), pytest.raises(ConfigError, match="enable_nested_tensor=False"):
        encoder.eval()(x, src_key_padding_mask=~MASK)


def test_whole_samples_take_masks_of_samples():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, D, 1), nn.Sequential(nn.Conv2d(D, D, 3, padding=1)))
    route(model, "1", upcycle=False, expert="conv", router="topk", num_experts=2)
    real = torch.tensor([True, False, True])
    with collect(model, mask=real) as routings:
        y = model(torch.randn(3, 3, 4, 4))
        routings.loss().backward()
    assert not y[1].any()
    assert routings["1"][0].num_real == 2


def test_the_first_example_of_the_page_runs(capsys):
    page = Path(__file__).parents[3] / "docs" / "any_model.md"
    example = page.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    exec(example, {})
    found = capsys.readouterr().out
    assert found.startswith("2 routed layers\n  layers.0.linear1: TopK to 4 experts ModuleBank")
    assert "'layers.1.linear1': [" in found
