"""Histograms and the quantiles estimated from them."""

import math

import pytest
import torch

from routers.blocks.histogram import BINS, MAX_MAGNITUDE, MIN_MAGNITUDE, STEP, histogram, quantile


def test_counts_lie_in_the_bins_of_their_values():
    half, edges = BINS // 2, [MIN_MAGNITUDE * math.expm1(j * STEP) for j in (1, 200)]
    inside = [edges[0] * 0.99, edges[0] * 1.01, edges[1] * 0.99, edges[1] * 1.01]
    values = torch.tensor(
        [[*inside, 0.0, 2 * MAX_MAGNITUDE], [-v for v in (*inside, 1e-12, math.inf)]]
    )
    counts = histogram(values.t()).view(2, BINS)
    places = [0, 1, 199, 200, 0, half - 1]
    assert torch.equal(counts[0], torch.bincount(half + torch.tensor(places), minlength=BINS))
    assert torch.equal(counts[1], counts[0].flip(0))


def test_histograms_of_parts_add_up():
    torch.manual_seed(0)
    values = torch.randn(101, 3)
    parts = sum(histogram(part) for part in values.split(40))
    assert torch.equal(parts, histogram(values))


def test_no_values_no_counts():
    assert histogram(torch.zeros(0, 3)).tolist() == [0] * 3 * BINS


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.25, 0.5, 0.9, 1.0])
def test_quantiles_are_those_of_the_values_on_any_scale(fraction):
    torch.manual_seed(0)
    scale = torch.tensor([1e-5, 1e-2, 1.0, 1e3])
    values = torch.randn(5000, 4, dtype=torch.float64) * scale
    found = quantile(histogram(values), fraction)
    if 0 < fraction < 1:
        exact = values.quantile(fraction, 0)
        torch.testing.assert_close(found / scale, exact / scale, atol=0.01, rtol=0)
    share = (values <= found).double().mean(0)
    torch.testing.assert_close(share, torch.full_like(share, fraction), atol=0.005, rtol=0)


def test_within_a_bin_values_count_as_spread_evenly():
    counts = histogram(torch.tensor([[1.0], [1.0], [1.0], [9.0]]))
    first, second, third = (quantile(counts, f).item() for f in (0.25, 0.5, 0.75))
    width = third + MIN_MAGNITUDE - (third + MIN_MAGNITUDE) * math.exp(-STEP)
    assert third - width < 1.0 < third
    assert [third - first, third - second] == pytest.approx([width * 2 / 3, width / 3])
