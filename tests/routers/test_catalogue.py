"""``python -m routers``: every router with source, promises, cost and options; and the README."""

import math
import re
from pathlib import Path

import pytest
import torch

import routers
from experts import count_flops
from routers import ConfigError, Items, Router, Routing
from routers.__main__ import main
from routers._catalogue.cost import SIZES, cost_of, fit
from routers._catalogue.render import options, promises, source, summary
from routers.plugins.signature import defaults

README = (Path(__file__).resolve().parents[2] / "README.md").read_text()
FORMULA = re.compile(r"^([-+\d., DEKLB²/]|⌈log₂E⌉)+$")

#: By hand: a linear gate is D x E, and as many multiply-adds.
BY_HAND = {
    "topk": ("2DE", "DE"),
    "noisy_topk": ("4DE", "2DE"),  # scores, and the spread of their noise
    "hierarchical": ("4DB + 4DE", "2DB + 2DE"),  # B branches, with noise as well
    "soft_mixture": ("2DE", "DE"),
    "uniform": ("0", "0"),
    "hash": ("0", "0"),
}


#: Powers of four, of two, squares, and none of these; formulas are not made from them.
EXPERTS = [4, 6, 8, 12, 32, 36, 90, 128]


def value(formula: str, dim: int, num_experts: int, k: int, length: int) -> float:
    """What a formula says, read by other means than it was made."""
    divisors = [b for b in range(1, num_experts + 1) if num_experts % b == 0]
    side = min(b for b in divisors if b * b >= num_experts)
    words = {"⌈log₂E⌉": math.ceil(math.log2(num_experts)), "E/B": num_experts / side}
    axes = {"D": dim, "E": num_experts, "K": k, "L": length, "B": side}
    total = 0.0
    for sign, term in re.findall(r"(^|[-+]) ?([^-+ ]+)", formula):
        product = -1.0 if sign == "-" else 1.0
        for word, number in words.items():
            term = term.replace(word, f"*{number}*")
        term = re.sub(r"([DEKLB])²", lambda m: f"*{axes[m[1]] ** 2}*", term)
        term = re.sub(r"/([DEKLB])", lambda m: f"*{1 / axes[m[1]]}*", term)
        term = re.sub(r"[DEKLB]", lambda m: f"*{axes[m[0]]}*", term).replace(",", "")
        for factor in filter(None, term.split("*")):
            product *= float(factor)
        total += product
    return total


def test_there_are_many():
    assert len(routers.available()) >= 28


@pytest.mark.parametrize("name", routers.available())
def test_formulas_hold_at_sizes_they_were_not_made_from(name):
    cost = cost_of(routers.ROUTERS[name])
    assert FORMULA.match(cost.flops), cost
    assert FORMULA.match(cost.parameters), cost
    assert {e for _, e, *_ in SIZES}.isdisjoint(EXPERTS)
    dim, k, length = 16, 3, 10
    given = {"k": k} if "k" in defaults(routers.ROUTERS[name], skip=2) else {}
    index = torch.arange(3 * length)
    items = Items(torch.randn(len(index), dim), groups=3, ids=index, task=index % 2)
    tried = []
    for num_experts in EXPERTS:
        try:
            router = routers.build(name, dim, num_experts, **given).eval()
        except ConfigError:
            continue
        router.prepare(index, items.x)
        with torch.no_grad():
            counted = count_flops(lambda router=router: router(items)) / len(items)
        at = (dim, num_experts, k, length)
        assert value(cost.flops, *at) == pytest.approx(counted), num_experts
        assert value(cost.parameters, *at) == sum(p.numel() for p in router.parameters())
        tried.append(num_experts)
    assert len([e for e in tried if math.log(e, 4) % 1]) >= 3, "few but powers of four were tried"


@pytest.mark.parametrize("name", BY_HAND)
def test_formulas_by_hand(name):
    cost = cost_of(routers.ROUTERS[name])
    assert (cost.flops, cost.parameters) == BY_HAND[name]


@pytest.mark.parametrize(
    ("count", "formula"),
    [
        (lambda d, e, k, length: 0, "0"),
        (lambda d, e, k, length: 1234, "1,234"),
        (lambda d, e, k, length: d * e + 7, "DE + 7"),
        (lambda d, e, k, length: 2 * d * d + 3 * e * k, "3KE + 2D²"),
        (lambda d, e, k, length: d * e - d, "DE - D"),
        (lambda d, e, k, length: 6 * d * math.ceil(math.log2(e)) + e / 2, "6D⌈log₂E⌉ + 0.5E"),
        (lambda d, e, k, length: 6 * d * math.log2(e), None),  # not whole where E is no power of 2
        (lambda d, e, k, length: 2 * length * e + 4 * d * e / length, "4DE/L + 2EL"),
        (lambda d, e, k, length: d**3, None),
        (lambda d, e, k, length: (d * 7919) % 101, None),
    ],
)
def test_fit(count, formula):
    assert fit(SIZES, [count(*size) for size in SIZES]) == formula


def test_no_formula_no_claim():
    class Cubic(Router):
        def __init__(self, dim: int, num_experts: int) -> None:
            super().__init__(dim, num_experts)
            self.w = torch.nn.Parameter(torch.zeros(dim, dim, dim))

        def forward(self, items: Items) -> Routing:
            return Routing.by_mask(items, torch.ones(len(items), self.num_experts))

    cost = cost_of(Cubic)
    assert (cost.flops, cost.parameters) == ("0", "512 at D=8, E=16, L=12")


def test_every_row_says_all(capsys):
    assert main([]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    for name in routers.available():
        kind = routers.ROUTERS[name]
        cost = cost_of(kind)
        for said in (
            summary(kind),
            f"source {source(kind)}",
            f"promises {promises(kind)}",
            f"cost {cost.flops} FLOPs per item, {cost.parameters} parameters",
            f"options {options(routers.ROUTERS.options(name).items())}",
        ):
            assert " ".join(said.split()) in shown
        assert source(kind) != "none"


def test_the_readme_holds_the_catalogue(capsys):
    assert main(["--markdown"]) == 0
    table = README.partition("<!-- routers:start -->\n")[2].partition("<!-- routers:end -->")[0]
    assert table == capsys.readouterr().out, "run python -m routers --markdown"
