"""Who looks at whom, and where: against attention written out."""

import math
from functools import partial

import pytest
import torch
from torch import nn

import experts
import routers
from experts import MoE, attend_to_all, attend_to_past, rotary
from routers import ConfigError
from tasks.backbones._blocks import (
    Block,
    Blocks,
    FeedForward,
    check_blocks,
    residual,
)

REAL = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0], [1, 0, 0, 0, 0, 0]]).bool()


def draw(seed=0, length=6):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(3, 3, 2, length, 4, generator=generator, dtype=torch.float64)


def written_out(query, key, value, seen):
    scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
    return scores.masked_fill(~seen, -math.inf).softmax(-1) @ value


@pytest.mark.parametrize("mask", [None, REAL])
@pytest.mark.parametrize("attend", [attend_to_all, attend_to_past])
def test_attention(attend, mask):
    past = {attend_to_all: torch.ones(6, 6), attend_to_past: torch.ones(6, 6).tril()}[attend].bool()
    seen = past if mask is None else past & mask[:, None, None, :]
    q, k, v = draw()
    torch.testing.assert_close(attend(q, k, v, mask), written_out(q, k, v, seen))


def test_nothing_to_see_is_zero():
    q, k, v = draw()
    mask = torch.zeros(3, 6, dtype=torch.bool)
    assert not attend_to_all(q, k, v, mask).any()


def test_rotary_sees_distances():
    """The same text further on gives the same result: positions play no part, distances do."""
    q, k, v = draw(length=9)
    q[..., 5:, :], k[..., 5:, :] = q[..., 1:5, :], k[..., 1:5, :]
    seen = []

    def spy(query, key, value, mask):
        seen.append(query @ key.transpose(-1, -2))
        return value

    rotary(spy, q, k, v, None)
    (scores,) = seen
    atol = 64 * torch.finfo(torch.float32).eps  # angles are float32 whatever q and k are
    torch.testing.assert_close(scores[..., 1:5, 1:5], scores[..., 5:9, 5:9], rtol=0, atol=atol)
    assert not torch.allclose(scores[..., 1:5, 1:5], (q @ k.mT)[..., 1:5, 1:5])


def test_rotary_by_hand():
    """The first pair turns by one radian per position, so a quarter turn takes pi / 2 of them."""
    x = torch.zeros(1, 1, 3, 4, dtype=torch.float64)
    x[..., 0] = 1.0
    turned = []
    rotary(lambda q, k, v, m: turned.append(q) or v, x, x, x, None)
    expected = [[math.cos(i), 0, math.sin(i), 0] for i in range(3)]
    torch.testing.assert_close(turned[0][0, 0], torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize(
    "attend", [attend_to_all, partial(rotary, attend_to_all), partial(rotary, attend_to_past)]
)
def test_padding_reaches_no_position(attend):
    torch.manual_seed(0)
    block = Block(8, 2, FeedForward(8, 16), attend).double()
    x = torch.randn(3, 6, 8, dtype=torch.float64)
    other = x.clone()
    other[~REAL] = torch.randn(int((~REAL).sum()), 8, dtype=torch.float64)
    one, two = block(x, mask=REAL)[0], block(other, mask=REAL)[0]
    torch.testing.assert_close(one[REAL], two[REAL], rtol=0, atol=1e-12)
    alone = block(x[1:2, :4])[0]
    torch.testing.assert_close(one[1:2, :4], alone, rtol=0, atol=1e-12)


def test_chosen_blocks_are_routed():
    asked = []

    class Routed(torch.nn.Module):
        def forward(self, x, **about):
            return x, "a routing"

    def layer(shape):
        asked.append(shape)
        return Routed()

    blocks = Blocks(layer, (5, 8), depth=4, heads=2, routed=[1, 3])
    x, routings = blocks(torch.zeros(2, 5, 8), mask=None)
    assert asked == [(5, 8)] * 2
    assert routings == ["a routing"] * 2
    assert [isinstance(block.moe, FeedForward) for block in blocks] == [True, False] * 2
    assert x.shape == (2, 5, 8)


@pytest.mark.parametrize("routed", [[], [2], [-1], [0, 5]])
def test_blocks_that_are_not_there(routed):
    with pytest.raises(ConfigError, match=r"routed=.*\[0, depth=2\)"):
        check_blocks(16, 2, 4, routed)


@pytest.mark.parametrize(
    ("sizes", "match"),
    [((15, 2, 4), "^dim=15"), ((16, 0, 4), "^depth=0"), ((16, 2, 0), "^heads=0")],
)
def test_sizes_that_cannot_be(sizes, match):
    with pytest.raises(ConfigError, match=match):
        check_blocks(*sizes)


def test_a_layer_receives_the_routings_of_the_layers_before():
    seen = []

    def layer(shape):
        made = MoE(routers.build("topk", 8, 2), experts.build("mlp", 8, 2))
        made.router.register_forward_pre_hook(lambda _, args: seen.append(args[0].earlier))
        return made

    _, routings = Blocks(layer, (4, 8), depth=3, heads=2, routed=[0, 2])(torch.randn(2, 4, 8))
    assert seen == [(), (routings[0],)]
    seen.clear()
    layers, norms = [layer(()), layer(())], [nn.Identity(), nn.Identity()]
    _, routings = residual(torch.randn(2, 4, 8), layers, norms)
    assert seen == [(), (routings[0],)]


def test_heads_are_routed_too():
    """Heads and experts of a block route one after the other, and padding reaches no position."""
    torch.manual_seed(0)

    def layer(shape):
        return MoE(routers.build("topk", 8, 4), experts.build("mlp", 8, 4), capacity=2.0)

    blocks = Blocks(layer, (6, 8), 2, 4, attend_to_all, routed=[1], attention="moa").double()
    heads = blocks[1].attention
    assert (heads.bank.width, heads.capacity) == (2, 2.0)
    seen = []
    blocks[1].moe.register_forward_pre_hook(
        lambda _, args, given: seen.append(given["earlier"]), with_kwargs=True
    )
    x = torch.randn(3, 6, 8, dtype=torch.float64)
    y, routings = blocks(x, mask=REAL)
    assert [each.num_experts for each in routings] == [4, 4]
    assert seen[0] == routings[:1]
    other = torch.where(REAL.unsqueeze(-1), x, torch.randn_like(x))
    torch.testing.assert_close(blocks(other, mask=REAL)[0][REAL], y[REAL], rtol=0, atol=1e-12)
    with pytest.raises(ConfigError, match="attention=mo: unknown; did you mean 'moa'"):
        check_blocks(8, 2, 4, attention="mo")
