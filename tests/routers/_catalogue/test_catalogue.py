"""``python -m routers``: every router with source, promises, cost and options; docs/routers.md."""

from pathlib import Path

import pytest
import torch

import routers
from routers import ConfigError, Items, Router, Routing
from routers.__main__ import main
from routers._catalogue.cost import cost_of
from routers._catalogue.render import counts, options, promises, source, summary

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "routers.md").read_text(encoding="utf-8")
#: FLOPs per item and parameters by hand, at ``D=256, E=64, K=2`` and ``L=64`` items per group.
D, E, K, L = 256, 64, 2, 64
BY_HAND = {
    "topk": (2 * D * E, D * E),
    "noisy_topk": (4 * D * E, 2 * D * E),  # scores, and the spread of their noise
    "hierarchical": (4 * D * 8 + 4 * D * E, 2 * D * 8 + 2 * D * E),  # 8 branches, each with noise
    "dselect_k": (2 * K * D * 6 + 2 * K * D, K * D * 6 + K * D),  # 6 bits of an expert's number
    "soft_mixture": (2 * D * E, D * E),
    "soft_moe": (4 * D * E, 2 * D * E + 1),  # one slot per expert and item of a group
    "uniform": (0, 0),
    "hash": (0, 0),
}


class Picky(Router):
    """Rejects every size but one of 10 experts."""

    def __init__(self, dim: int, num_experts: int) -> None:
        super().__init__(dim, num_experts)
        if num_experts != 10:
            raise ConfigError("router.num_experts: expected 10")

    def forward(self, items: Items) -> Routing:
        return Routing.by_mask(items, torch.ones(len(items), self.num_experts))


def test_there_are_many():
    assert len(routers.available()) >= 28


@pytest.mark.parametrize("name", BY_HAND)
def test_cost_by_hand(name):
    cost = cost_of(routers.ROUTERS[name])
    assert (cost.flops, cost.parameters) == BY_HAND[name]


def test_every_router_here_has_a_cost():
    assert not [name for name in routers.available() if cost_of(routers.ROUTERS[name]) is None]


def test_counting_a_cost_draws_nothing():
    before = torch.get_rng_state()
    cost_of.__wrapped__(routers.ROUTERS["gumbel"])
    assert torch.equal(torch.get_rng_state(), before)


def test_a_router_that_rejects_the_size_is_not_counted():
    assert cost_of(Picky) is None
    assert counts(Picky) == ("not counted", "not counted")


def test_every_row_says_all(capsys):
    assert main([]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    for name in routers.available():
        kind = routers.ROUTERS[name]
        for said in (
            summary(kind),
            f"source {source(kind)}",
            f"promises {promises(kind)}",
            "cost {} FLOPs per item, {} parameters".format(*counts(kind)),
            f"options {options(routers.ROUTERS.options(name).items())}",
        ):
            assert " ".join(said.split()) in shown
        assert source(kind) != "none"


def test_the_page_of_routers_is_up_to_date(capsys):
    """Every line of the page; a router that is new need not be there before a release."""
    assert main(["--markdown"]) == 0
    table = PAGE.partition("<!-- routers:start -->\n")[2].partition("<!-- routers:end -->")[0]
    made = capsys.readouterr().out.splitlines()
    outdated = [line for line in table.splitlines() if line not in made]
    assert len(table.splitlines()) > 20
    assert not outdated, "run python -m routers --markdown"
