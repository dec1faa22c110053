"""A frozen module with experts added: its values, its gradients, what is trained and saved."""

import copy

import pytest
import torch
from torch import nn

import experts
import routers
from experts import Adapted, MoE, adapt_linears
from routers import ConfigError


def molora(linear, **options):
    d, outputs = linear.in_features, linear.out_features
    bank = experts.build("lora", d, 3, outputs=outputs, rank=2, **options)
    return MoE(routers.build("topk", d, 3), bank)


def model_of(seed=0):
    torch.manual_seed(seed)
    inner = nn.Sequential(nn.Linear(5, 7), nn.BatchNorm1d(7), nn.Tanh())
    return nn.Sequential(inner, nn.Linear(7, 4)).double()


@pytest.mark.parametrize("shared_down", [False, True])
def test_linears_of_a_model(shared_down):
    """A slow loop, a training that leaves the base as it was, and a checkpoint without it."""
    model = model_of()
    before, base = copy.deepcopy(model.state_dict()), model[1]
    found = adapt_linears(model, ["*.0", "1"], lambda each: molora(each, shared_down=shared_down))
    model.double()
    assert list(found) == ["0.0", "1"]
    x = torch.randn(6, 5, dtype=torch.float64)
    torch.manual_seed(1)
    for layer in found.values():
        nn.init.normal_(layer.moe.bank.up)
    layer, inputs = found["1"], torch.randn(6, 7, dtype=torch.float64, requires_grad=True)
    bank = layer.moe.bank
    with experts.record(model) as routes:
        y = layer(inputs)
        weights = routes["1.moe"][0].mean_weights
    p = (inputs @ layer.moe.router.gate.weight.t()).softmax(-1)
    chosen = p * (weights > 0)
    chosen = chosen / chosen.sum(1, keepdim=True)
    wanted = inputs @ base.weight.t() + base.bias
    for e in range(3):
        down = bank.down[0 if shared_down else e]
        wanted = wanted + chosen[:, e : e + 1] * (inputs @ down @ bank.up[e]) * (16 / 2)
    torch.testing.assert_close(y, wanted)
    own = [inputs, *layer.moe.parameters()]
    pairs = (torch.autograd.grad(z.square().sum(), own) for z in (y, wanted))
    for one, other in zip(*pairs, strict=True):
        torch.testing.assert_close(one, other)

    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    assert all(".moe." in name for name in trained)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    kept = copy.deepcopy(model.state_dict())
    for _ in range(3):
        model.train()[0].get_submodule("1").eval()  # running means are outside of the bases
        optimizer.zero_grad()
        model(x).square().sum().backward()
        optimizer.step()
    after = model.state_dict()
    assert {n for n in trained if after[n].equal(kept[n])} == set()
    assert not any("base." in name for name in after)
    for name in ("0.0", "1"):
        assert model.get_submodule(name).base.weight.equal(before[f"{name}.weight"])

    other = model_of()
    adapt_linears(other, ["*.0", "1"], lambda each: molora(each, shared_down=shared_down))
    other.double().load_state_dict(after)
    torch.testing.assert_close(other.eval()(x), model.eval()(x), rtol=0, atol=0)
    stranger = model_of(seed=3)
    adapt_linears(stranger, ["*.0", "1"], lambda each: molora(each, shared_down=shared_down))
    with pytest.raises(ConfigError, match=r"0\.0\.base: has other values than the one"):
        stranger.double().load_state_dict(after)


def test_any_module_is_a_base_and_stays_in_evaluation():
    base = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5), nn.BatchNorm1d(4))
    layer = Adapted(base, molora(nn.Linear(4, 4))).train()
    assert not any(p.requires_grad for p in layer.base.parameters())
    before, x = copy.deepcopy(base.state_dict()), torch.randn(8, 4)
    torch.testing.assert_close(layer(x), base.eval()(x))  # the maps begin at 0
    assert all(values.equal(before[name]) for name, values in base.state_dict().items())
    with experts.skip_experts([layer.moe]):  # FLOPs outside of the experts: base and router
        assert experts.count_flops(lambda: layer(x)) == 2 * 8 * 4 * (4 + 3)


def test_what_cannot_be_adapted_is_refused():
    with pytest.raises(ConfigError, match=r"select no linear layer; the model has 0\.0, 1"):
        adapt_linears(model_of(), "2", molora)
    gates = [routers.build("topk", 4, 3) for _ in range(2)]
    bank = experts.build("lora", 4, 3)
    layer = experts.MultiGateMoE(gates, bank, experts.mmoe(3, tasks=2))
    with pytest.raises(ConfigError, match="has several gates"):
        Adapted(nn.Linear(4, 4), layer)


def test_bases_are_not_adapted_again():
    def lora(linear):
        bank = experts.build("lora", linear.in_features, 2, outputs=linear.out_features, rank=1)
        return experts.MoE(routers.build("topk", linear.in_features, 2), bank)

    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU())
    experts.adapt_linears(model, "*", lora)
    with pytest.raises(ConfigError, match="select no linear layer"):
        experts.adapt_linears(model, "*", lora)
