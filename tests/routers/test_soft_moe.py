"""Soft MoE compared with a slow computation of the paper's equations."""

import numpy as np
import pytest
import torch

import experts
import routers
from experts import mix
from routers import ConfigError, Items

COPY = experts.build("null", 4, 3, kinds=["copy"])


def softmax(values: np.ndarray) -> np.ndarray:
    powers = np.exp(values - values.max())
    return powers / powers.sum()


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.sqrt((vector**2).sum())


def slow(x: np.ndarray, phi: np.ndarray, scale: float, experts: np.ndarray, slots: int):
    """Equations 1 to 3 for one group: ``(L, D)`` out."""
    scores = np.array([[unit(row) @ (scale * unit(col)) for col in phi] for row in x])
    dispatch = np.stack([softmax(scores[:, s]) for s in range(len(phi))], 1)
    combine = np.stack([softmax(row) for row in scores])
    inputs = dispatch.T @ x
    outputs = np.stack([inputs[s] @ experts[s // slots] for s in range(len(phi))])
    return combine @ outputs


@pytest.mark.parametrize("groups", [1, 3])
def test_against_a_slow_computation(groups):
    torch.manual_seed(0)
    d, e, slots, length = 5, 3, 2, 4
    router = routers.build("soft_moe", d, e, slots=slots).double()
    with torch.no_grad():
        router.gate.log_temperature.fill_(-0.7)
    x = torch.randn(groups * length, d, dtype=torch.float64)
    experts = torch.randn(e, d, d, dtype=torch.float64)
    routing = router(Items(x, groups=groups))

    form = routing.execution
    rows = torch.einsum("gls,gld->gsd", form.dispatch, x.view(groups, length, d)).flatten(0, 1)
    out = torch.empty_like(rows)
    for slot, expert in zip(routing.item, routing.expert, strict=True):
        out[slot] = rows[slot] @ experts[expert]
    out = torch.einsum("gls,gsd->gld", form.combine, out.view(groups, -1, d))
    found = out.flatten(0, 1).detach().numpy()

    phi = router.gate.centroid.detach().numpy()
    for g in range(groups):
        part = slice(g * length, (g + 1) * length)
        expected = slow(x[part].numpy(), phi, np.exp(0.7), experts.numpy(), slots)
        np.testing.assert_allclose(found[part], expected, rtol=1e-9)


def test_slots_average_real_items_only():
    torch.manual_seed(0)
    router = routers.build("soft_moe", 4, 2)
    x, mask = torch.randn(5, 4), torch.tensor([True, False, True, True, False])
    padded, plain = router(Items(x, mask=mask)).execution, router(Items(x[mask])).execution
    torch.testing.assert_close(padded.dispatch[:, mask], plain.dispatch)
    assert not padded.dispatch[0, ~mask].any()
    torch.testing.assert_close(padded.dispatch.sum(1), torch.ones(1, 4))
    assert not padded.combine[0, ~mask].any()


def test_every_expert_computes_its_slots_whatever_the_length():
    router = routers.build("soft_moe", 4, 3, slots=2)
    for length in (1, 7):
        routing = router(Items(torch.randn(length * 2, 4), groups=2))
        assert routing.load.tolist() == [4, 4, 4]  # two groups of two slots
        assert routing.fan_in == 4


def test_an_empty_batch_passes_through():
    routing = routers.build("soft_moe", 4, 3)(Items(torch.zeros(0, 4)))
    assert routing.load.tolist() == [2, 2, 2]
    assert mix(torch.zeros(0, 4), routing, COPY).shape == (0, 4)


def test_whole_samples_keep_their_shape():
    routing = routers.build("soft_moe", 4, 3)(Items(torch.randn(2, 4)))
    x = torch.randn(2, 3, 8, 8)
    weight = routing.execution.combine[0] @ routing.execution.dispatch[0].t()
    expected = torch.einsum("nm,m...->n...", weight, x)
    torch.testing.assert_close(mix(x, routing, COPY), expected)


def test_slots_out_of_range():
    with pytest.raises(ConfigError, match=r"router\.slots=0"):
        routers.build("soft_moe", 4, 3, slots=0)
