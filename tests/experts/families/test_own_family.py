"""A family of one's own: its block read as a layer, written back, and replaced in a model."""

import pickle
from copy import deepcopy

import pytest
import torch
from torch import nn

import experts
from experts.families import Plan, Weights
from experts.families._base import HALVES, INTERLEAVED, PER_EXPERT, SAME, TRANSPOSED
from routers import ConfigError

DIM, HIDDEN, EXPERTS = 6, 5, 3


class ToyBlock(nn.Module):
    """``sum_e p_e gelu(x V_e) W_e`` of all experts, with weights by expert."""

    def __init__(self):
        super().__init__()
        self.score = nn.Linear(DIM, EXPERTS)
        self.enter = nn.ModuleList(nn.Linear(DIM, HIDDEN, bias=False) for _ in range(EXPERTS))
        self.leave = nn.Parameter(torch.randn(EXPERTS, DIM, HIDDEN))

    def forward(self, x):
        weight = self.score(x).softmax(-1)
        outs = [
            weight[..., [e]] * (nn.functional.gelu(self.enter[e](x)) @ self.leave[e].t())
            for e in range(EXPERTS)
        ]
        return sum(outs), weight


class Derived(ToyBlock):
    """A block whose family is that of the class it inherits from."""


class Toy(experts.Family):
    """All experts of every item."""

    def plan(self):
        return Plan(
            dim=DIM,
            num_experts=EXPERTS,
            router={"name": "soft_mixture", "gate": {"bias": True}},
            bank={"name": "mlp", "hidden": self.value("leave").shape[-1]},
            weights={
                "router.gate.weight": Weights(SAME, ["score.weight"]),
                "router.gate.bias": Weights(SAME, ["score.bias"]),
                "bank.up": Weights(PER_EXPERT, [f"enter.{e}.weight" for e in range(EXPERTS)]),
                "bank.down": Weights(TRANSPOSED, ["leave"]),
            },
        )

    @staticmethod
    def returned(y):
        return y, None


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    monkeypatch.setattr(experts.FAMILIES, "_parts", {**experts.FAMILIES._parts, "ToyBlock": Toy})


def model_of(kind=ToyBlock):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(DIM, DIM), kind())


@pytest.mark.parametrize("kind", [ToyBlock, Derived])
def test_a_block_becomes_a_layer_and_a_block_again(kind):
    block = model_of(kind)[1].double()
    block.leave.requires_grad_(False)
    layer = experts.from_transformers(block)
    assert (layer.training, layer.bank.down.requires_grad) == (True, False)
    x = torch.randn(2, 4, DIM, dtype=torch.float64)
    torch.testing.assert_close(layer(x)[0], block(x)[0])
    with torch.no_grad():
        layer.bank.up.mul_(2)
    again = experts.to_transformers(layer.eval(), block)
    assert type(again) is kind
    assert (again.training, again.leave.requires_grad) == (False, False)
    torch.testing.assert_close(again(x)[0], layer(x)[0])
    assert not block.enter[0].weight.equal(again.enter[0].weight)


def test_a_model_is_converted_copied_pickled_and_restored():
    model, x = model_of(), torch.randn(4, DIM)
    y, _ = model(x)
    state = deepcopy(model.state_dict())
    assert list(experts.model_from_transformers(model)) == ["1"]
    model = pickle.loads(pickle.dumps(deepcopy(model)))
    torch.testing.assert_close(model(x)[0], y, rtol=1e-4, atol=1e-5)
    assert set(model.state_dict()) == {
        *("0.weight", "0.bias", "1.moe.router.gate.weight", "1.moe.router.gate.bias"),
        *("1.moe.bank.up", "1.moe.bank.down"),
    }
    experts.model_to_transformers(model)
    assert model.state_dict().keys() == state.keys()
    assert all(values.equal(state[name]) for name, values in model.state_dict().items())


def test_a_wrong_plan_is_refused(monkeypatch):
    plan = Toy.plan

    def without_bias(family):
        whole = plan(family)
        weights = {k: v for k, v in whole.weights.items() if k != "router.gate.bias"}
        return Plan(DIM, EXPERTS, whole.router, whole.bank, weights)

    block = model_of()[1]
    monkeypatch.setattr(Toy, "plan", without_bias)
    with pytest.raises(ConfigError, match=r"weights of other tensors: router\.gate\.bias"):
        experts.from_transformers(block)
    monkeypatch.undo()
    with pytest.raises(ConfigError, match="family=ToyBlok: unknown"):
        experts.from_transformers(type("ToyBlok", (nn.Module,), {})())
    with pytest.raises(ConfigError, match="ToyBlock is not a subclass of"):
        experts.FAMILIES.register("ToyBlock2")(ToyBlock)


def test_an_intervention_is_not_written_back():
    block = model_of()[1]
    layer = experts.from_transformers(block)
    with (
        experts.intervene(layer, lambda items, routing: routing),
        pytest.raises(ConfigError, match="an intervention or a replay"),
    ):
        experts.to_transformers(layer, block)


def test_layouts_are_undone():
    """One as another library names it: gate and up in turn, and matrices with outputs first."""
    own = torch.arange(24.0).view(1, 4, 6)
    for layout in (SAME, TRANSPOSED, PER_EXPERT, HALVES, INTERLEAVED):
        assert layout.read(list(layout.write(own))).equal(own)
    assert INTERLEAVED.write(torch.tensor([[0, 1, 2, 3]]))[0].tolist() == [[0, 2, 1, 3]]
    gate, up = HALVES.write(own)
    assert (gate.shape, up[0].tolist()) == ((3, 4), own[0, :, 3].tolist())
