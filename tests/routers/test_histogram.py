"""Histograms: what they count, and the quantiles read from them."""

import pytest
import torch

from routers._histogram import BINS, histogram, quantile


def test_counts_lie_in_the_bins_of_their_values():
    width = 1 / BINS
    values = torch.tensor([[0.0, 0.5], [1.5 * width, 0.99999], [-3.0, 9.0]])
    counts = histogram(values, 0.0, 1.0).view(2, BINS)
    assert counts[0].nonzero().flatten().tolist() == [0, 1]  # what lies below is in the first
    assert counts[0, :2].tolist() == [2, 1]
    assert counts[1].nonzero().flatten().tolist() == [BINS // 2, BINS - 1]
    assert counts.sum(1).tolist() == [3, 3]


def test_histograms_of_parts_add_up():
    torch.manual_seed(0)
    values = torch.randn(101, 3)
    parts = sum(histogram(part, -4.0, 4.0) for part in values.split(40))
    assert torch.equal(parts, histogram(values, -4.0, 4.0))


def test_no_values_no_counts():
    assert histogram(torch.zeros(0, 3), 0.0, 1.0).tolist() == [0] * 3 * BINS


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.25, 0.5, 0.9, 1.0])
def test_quantiles_are_those_of_the_values_within_a_bin(fraction):
    torch.manual_seed(0)
    values = torch.randn(5000, 4, dtype=torch.float64) * torch.tensor([0.3, 0.5, 0.7, 1.0])
    found = quantile(histogram(values, -5.0, 5.0), fraction, -5.0, 5.0)
    if 0 < fraction < 1:
        exact = values.quantile(fraction, 0)
        torch.testing.assert_close(found, exact, atol=1.1 * 10 / BINS, rtol=0)
    share = (values <= found).double().mean(0)
    torch.testing.assert_close(share, torch.full_like(share, fraction), atol=0.005, rtol=0)


def test_within_a_bin_values_count_as_spread_evenly():
    counts = torch.zeros(BINS, dtype=torch.int64)
    counts[[0, 10]] = torch.tensor([3, 1])
    at = [quantile(counts, f, 0.0, float(BINS)).item() for f in (0.25, 0.5, 0.75, 0.875, 1.0)]
    assert at == pytest.approx([1 / 3, 2 / 3, 1.0, 10.5, 11.0])
