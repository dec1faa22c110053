"""Routed layers in the places of modules: what they compute, keep, refuse and give back."""

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import experts
import routers
from experts import Routed, collect, mix_reference, route, unroute
from experts.models.module_bank import ModuleBank
from experts.models.shapes import rows_of
from experts.models.upcycle import copies_of
from routers import ConfigError, Items, Routing

D = 8
TOPK = {"name": "topk", "k": 2}


class Gated(nn.Module):
    """A gated feed-forward network without biases, as that of Llama."""

    def __init__(self):
        super().__init__()
        self.gate_proj = nn.Linear(D, 12, bias=False)
        self.up_proj = nn.Linear(D, 12, bias=False)
        self.down_proj = nn.Linear(12, D, bias=False)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Output(nn.Module):
    def __init__(self):
        super().__init__()
        self.dense, self.norm, self.dropout = nn.Linear(12, D), nn.LayerNorm(D), nn.Dropout(0.1)

    def forward(self, hidden, x):
        return self.norm(self.dropout(self.dense(hidden)) + x)


class BertLike(nn.Module):
    """A layer whose feed-forward network is in two modules, the second with the residual."""

    def __init__(self):
        super().__init__()
        self.intermediate = nn.Sequential(nn.Linear(D, 12), nn.GELU())
        self.output = Output()

    def forward(self, x):
        return self.output(self.intermediate(x), x)


class Pair(nn.Module):
    """A module with two inputs, and one that returns two tensors."""

    def __init__(self):
        super().__init__()
        self.two = nn.Bilinear(D, D, D)
        self.lstm = nn.LSTM(D, D)
        self.wide = nn.Linear(D, 2 * D)
        self.tied = nn.Linear(D, D)
        self.other = nn.Linear(D, D)
        self.other.weight = self.tied.weight
        self.unknown = nn.Softmax(-1)


def mlp(width=D):
    return nn.Sequential(nn.Linear(width, 12), nn.GELU(), nn.Linear(12, width))


def transformer(kind=nn.TransformerEncoderLayer, **options):
    return kind(D, 2, 12, dropout=0.0, **options)


def conv_block():
    return nn.Sequential(nn.Conv2d(D, 5, 3, padding=1), nn.BatchNorm2d(5), nn.ReLU(inplace=True),
                         nn.Conv2d(5, D, 1))  # fmt: skip


#: Models, what to route in them, the shape of their input, and the bank that results.
MODELS = {
    "mlp": (lambda: nn.Sequential(nn.LayerNorm(D), mlp()), "1", (2, 5, D), ModuleBank),
    "gated": (lambda: nn.Sequential(Gated(), mlp()), "0", (2, 5, D), experts.EXPERTS["glu"]),
    "two tokens": (lambda: nn.Sequential(mlp(), nn.ReLU(inplace=True)), "0", (7, D), ModuleBank),
    "convolutions": (lambda: nn.Sequential(conv_block()), "0", (6, D, 4, 4), ModuleBank),
    "bert": (lambda: nn.Sequential(BertLike(), BertLike()), BertLike, (2, 5, D), ModuleBank),
    "encoder": (
        lambda: nn.TransformerEncoder(
            transformer(batch_first=True), 2, norm=nn.LayerNorm(D), enable_nested_tensor=False
        ),
        nn.TransformerEncoderLayer,
        (2, 5, D),
        ModuleBank,
    ),
    "encoder of (L, N, D)": (
        lambda: transformer(activation=nn.ReLU(), norm_first=True),
        nn.TransformerEncoderLayer,
        (5, 2, D),
        ModuleBank,
    ),
    "whole sequences": (
        lambda: nn.Sequential(transformer(batch_first=True), mlp()),
        lambda name, module: isinstance(module, nn.TransformerEncoderLayer),
        (4, 5, D),
        ModuleBank,
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_copies_compute_what_the_module_did(name, double):
    """Outputs, gradients of inputs and of all else; copies' gradients sum up to the module's."""
    torch.manual_seed(0)
    build, where, shape, bank = MODELS[name]
    dense = build().eval()
    x = torch.randn(shape, requires_grad=True)
    with torch.no_grad():
        fast = dense(x)
    y = dense(x)
    (y * y.detach().roll(1, -1)).sum().backward()
    model, x2 = dense, x.detach().clone().requires_grad_()
    handle = route(model, where, router=TOPK, num_experts=3)
    with collect(model) as routings:
        y2 = model(x2)
    assert [len(found) for found in routings.values()] == [1] * len(handle) != []
    assert torch.allclose(y2, y, rtol=0, atol=1e-12)
    (y2 * y.detach().roll(1, -1)).sum().backward()
    assert torch.allclose(x2.grad, x.grad, rtol=0, atol=1e-11)
    for key, original in handle.originals.items():
        layer = handle.layers[key]
        assert type(layer.bank) is bank
        if bank is ModuleBank:
            for place, parameter in original.named_parameters():
                copies = [expert.get_parameter(place).grad for expert in layer.bank.experts]
                assert torch.allclose(sum(copies), parameter.grad, rtol=0, atol=1e-11)
        else:
            down = original.down_proj.weight.grad
            assert torch.allclose(layer.bank.down.grad.sum(0).T, down, rtol=0, atol=1e-11)
    with torch.no_grad(), collect(model) as routings:
        assert torch.allclose(model(x), fast, rtol=0, atol=1e-12)
    assert all(routings.values())  # nothing bypasses the layers without gradients either


@pytest.mark.parametrize("name", ["dropout", "bias", "relu", "frozen in part"])
def test_what_is_not_the_plain_gated_network_is_copied(name):
    """Also if it computes the same in evaluation."""
    module = Gated().eval()
    if name == "dropout":
        module.register_module("drop", nn.Dropout(0.1))
        plain = module.forward
        module.forward = lambda x: module.drop(plain(x))
    if name == "bias":
        module.up_proj = nn.Linear(D, 12)
    if name == "relu":
        module.forward = lambda x: module.down_proj(module.gate_proj(x).relu() * module.up_proj(x))
    if name == "frozen in part":
        module.up_proj.requires_grad_(False)
    assert type(copies_of(module, 2, rows_of(module, None, None))) is ModuleBank
    assert not module.training


def test_rows_are_samples_where_positions_are_mixed():
    attention = transformer(batch_first=True)
    assert rows_of(attention, None, None).axes == ("L", "D")
    assert rows_of(nn.Sequential(nn.Conv1d(3, 3, 1)), None, None) == (3, ("D", "L"))
    assert rows_of(nn.Softmax(-1), 5, None) == (5, ("D",))
    assert rows_of(mlp(), None, torch.zeros(2, 3, D)).dim == D


def test_a_bank_of_modules_is_the_reference_and_reaches_idle_experts(double):
    torch.manual_seed(0)
    module = mlp()
    bank = copies_of(module, 4, rows_of(module, None, None))
    for expert in bank.experts:
        nn.init.normal_(expert[0].bias)
    x = torch.randn(6, D, requires_grad=True)
    chosen = torch.tensor([[0, 2], [2, 0], [0, 2], [0, 2], [2, 0], [0, 2]])
    routing = Routing.by_item(Items(x), chosen, torch.rand(6, 2), 4)
    found = []
    for run in (experts.mix, mix_reference):
        y = run(x, routing, bank)
        given = [x, *bank.experts[0].parameters(), *bank.experts[2].parameters()]
        found.append([y, *torch.autograd.grad(y.square().sum(), given)])
    for ours, wanted in zip(*found, strict=True):
        assert torch.allclose(ours, wanted, rtol=0, atol=1e-12)
    experts.mix(x, routing, bank).sum().backward()
    assert all(not p.grad.any() for p in bank.experts[1].parameters())
    row = experts.count_flops(lambda: module(torch.zeros(1, D)))
    assert bank.flops((D,)) == (row,) * 4 == (2 * 2 * D * 12,) * 4
    assert bank.parameters_per_expert()[0] == sum(p.numel() for p in module.parameters())
    assert bank(x[:0], torch.zeros(4, dtype=torch.int64)).shape == (0, D)
    with pytest.raises(ConfigError, match="take no mask inside"):
        bank(x, torch.tensor([6, 0, 0, 0]), torch.ones(6, D, dtype=torch.bool))


def test_where_and_settings_of_single_layers():
    model = nn.Sequential(mlp(), nn.Sequential(mlp(), mlp()), mlp())
    names = lambda where: [*route(copy.deepcopy(model), where).layers]  # noqa: E731
    assert names(["0", "1.*"]) == ["0", "1.0", "1.1"]
    assert names((nn.GELU, nn.Sequential)) == ["0", "1", "2"]
    assert names(lambda name, module: name in ("1", "1.0")) == ["1"]
    handle = route(
        model,
        {
            "*.[01]": {"num_experts": 3, "router": {"k": 3}, "capacity": 1.5},
            "0": {"upcycle": False, "expert": {"name": "glu", "hidden": 6}, "shared": 1},
            "1.1": {"router": "hash"},
            "2": {"router": lambda dim, num_experts: routers.build("uniform", dim, num_experts)},
        },
        router=TOPK,
        num_experts=5,
    )
    found = {
        name: (type(layer.router).__name__, layer.router.num_experts, layer.capacity)
        for name, layer in handle.layers.items()
    }
    assert found == {
        "0": ("TopK", 5, None),
        "1.0": ("TopK", 3, 1.5),
        "1.1": ("Hash", 3, 1.5),
        "2": ("Uniform", 5, None),
    }
    assert (handle.layers["1.0"].router.k, handle.layers["0"].router.k) == (3, 2)
    assert handle.layers["0"].bank.hidden == 6
    assert handle.layers["0"].shared.num_experts == 1
    assert "4 routed layers" in repr(handle)


def test_a_module_in_several_places_stays_one():
    shared = mlp()
    model = nn.ModuleDict({"first": shared, "second": shared})
    handle = route(model, "first")
    assert model["first"] is model["second"]
    assert isinstance(model["first"], Routed)
    handle.unroute()
    assert model["first"] is model["second"] is shared


def test_types_modes_frozen_parameters_and_state(tmp_path):
    torch.manual_seed(0)
    model = nn.Sequential(mlp(), Gated()).double().eval()
    model[0][0].weight.requires_grad_(False)
    model[1].requires_grad_(False)
    model[0][1].train()
    handle = route(model, ["0", "1"], router=TOPK)
    assert {p.dtype for p in model.parameters()} == {torch.float64}
    assert [m.training for m in model.modules()].count(True) == 4  # the activation of each copy
    frozen = [name for name, p in model.named_parameters() if not p.requires_grad]
    assert frozen == [
        *(f"0.moe.bank.experts.{e}.0.weight" for e in range(4)),
        "1.moe.bank.gate_and_up",
        "1.moe.bank.down",
    ]
    x = torch.randn(3, D, dtype=torch.float64)
    other = pickle.loads(pickle.dumps(copy.deepcopy(model)))
    for parameter in other.parameters():
        nn.init.zeros_(parameter)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(x), model(x))
    meta = nn.Sequential(mlp()).to("meta")
    route(meta, "0")
    assert {p.device.type for p in meta.parameters()} == {"meta"}
    assert len(handle) == 2


def test_unroute():
    torch.manual_seed(0)
    model = nn.Sequential(transformer(), mlp())
    before = copy.deepcopy(model)
    x = torch.randn(3, 2, D)
    handle = route(model, ["0", "1"])
    assert not any(p is q for p in model[1].parameters() for q in before[1].parameters())
    with torch.no_grad():
        model(x)
    model.double().eval()
    unroute(handle)
    expected = before.double().eval()
    assert [*model.state_dict()] == [*expected.state_dict()]
    assert all(map(torch.equal, model.state_dict().values(), expected.state_dict().values()))
    assert torch.equal(model(x.double()), expected(x.double()))
    assert str(model) == str(expected)
    assert not any(module.training for module in model.modules())
    assert model[0].activation_relu_or_gelu == 1
    with pytest.raises(ConfigError, match="no longer in the model"):
        unroute(handle)
    handle = route(model, "1")
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.shape == (4, D)], lr=0.1)
    model(x.double()).sum().backward()
    optimizer.step()
    with pytest.raises(ConfigError, match=r"'1' has changed .* handle\.originals"):
        handle.unroute()
    with pytest.raises(ConfigError, match="Sequential is no handle"):
        unroute(model)


REFUSED = {
    "no match": ({"where": "*.mpl"}, r"'\*\.mpl': no module matches; did you mean '\*\.mlp'"),
    "a form of where": ({"where": 3}, "where=3 is invalid: expected a pattern"),
    "two inputs": ({"where": "pair.two"}, "Bilinear.forward takes input1, input2: expected one"),
    "two outputs": ({"where": "pair.lstm"}, "LSTM .*dim=|LSTM returns tuple"),
    "another shape": ({"where": "pair.wide"}, r"maps shape \(2, 3, 8\) to \(2, 3, 16\)"),
    "tied": ({"where": "pair.tied"}, "parameter weight is tied to another module"),
    "no width": ({"where": "pair.unknown"}, "Softmax has no linear .* give dim="),
    "router": ({"router": "topkk"}, "router=topkk: unknown; did you mean 'topk'"),
    "option": ({"router": {"name": "topk", "k": 9}}, r"'x.mlp': router.k=9 is invalid"),
    "part": ({"router": {"k": 2}}, "router={'k': 2} is invalid: expected a name, a mapping"),
    "setting": ({"capacty": 2}, "route.capacty: unknown; did you mean 'capacity'"),
    "setting of a layer": (
        {"where": {"*.mlp": {"rooter": "hash"}}},
        r"where\['x.mlp'\].rooter: unknown; did you mean 'router'",
    ),
    "settings": ({"where": {"*.mlp": "hash"}}, r"where\['\*.mlp'\]='hash' is invalid"),
    "copies and experts": ({"expert": "glu"}, "expert=glu: with upcycle .* give upcycle=False"),
    "rows": ({"upcycle": False, "expert": "conv"}, "rows of Conv are .* choose .* such as mlp"),
    "causal": ({"router": "expert_choice", "causal": True}, "ExpertChoice depend on later items"),
    "causal drops": ({"capacity": 1.0, "drop": "random", "causal": True}, "drop=random: looks at"),
    "number": ({"num_experts": 0}, "num_experts=0 is invalid"),
    "type of number": ({"num_experts": "4"}, "num_experts=4 is invalid: expected an integer"),
    "tied to each other": ({"where": ["pair.tied", "pair.other"]}, "weight is tied to another"),
    "nothing": ({"where": {}}, r"where=\{\}: is empty; give one pattern or more"),
    "input": ({"dim": 5}, r"Sequential does not run on shape \(2, 3, 5\) .* example="),
    "no router": ({"router": None}, "router=None is invalid: expected a name, a mapping"),
    "option of a router": ({"k": 1}, r"route.k: unknown.* router=\{'name': 'topk', 'k': 1\}"),
    "no layer": ({"layer": lambda module, rows: module}, "layer= returns Sequential: expected an"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refused_before_anything_is_replaced(case):
    options, message = REFUSED[case]
    model = nn.ModuleDict({"x": nn.ModuleDict({"mlp": mlp()}), "pair": Pair()})
    before = str(model)
    with pytest.raises(ConfigError, match=message):
        route(model, **{"where": "*.mlp", **options})
    assert str(model) == before


def test_refused_models():
    with pytest.raises(ConfigError, match="Modules: none"):
        route(nn.ReLU(), "*.mlp")
    with pytest.raises(ConfigError, match="where='Sequential': no module matches"):
        route(mlp(), nn.Sequential)  # it could not be replaced in place
    model = nn.Sequential(mlp(), mlp())
    route(model, "0")
    for where in ("0", nn.Sequential, "*.experts.0"):
        with pytest.raises(ConfigError, match="already routed, in '0"):
            route(model if where != nn.Sequential else nn.Sequential(model), where)
    assert len(route(model, "1")) == 1
    with pytest.raises(ConfigError, match="no routed layer"), collect(nn.Linear(2, 2)):
        pass


def test_an_example_shows_widths_and_calls():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.mlp, self.two, self.idle = nn.Softmax(-1), Gated(), mlp()

        def forward(self, x, scale=1):
            return self.mlp(x * scale)

    model = Model()
    handle = route(model, "mlp", example={"x": torch.zeros(2, 3, D), "scale": 2})
    assert handle.layers["mlp"].bank.dim == D

    with pytest.raises(ConfigError, match="'two' does not run in a pass"):
        route(model, "two", example=(torch.zeros(2, D), 3))


def test_the_nearest_attention_says_whether_a_model_is_causal():
    class Attention(nn.Module):
        def __init__(self, is_causal):
            super().__init__()
            self.is_causal = is_causal

    block = lambda causal: nn.ModuleDict({"a": Attention(causal), "mlp": mlp()})  # noqa: E731
    model = nn.ModuleDict({"encoder": block(False), "decoder": block(True)})
    route(model, "encoder.mlp", router="expert_choice")
    with pytest.raises(ConfigError, match=r"'decoder.mlp': routes of ExpertChoice"):
        route(model, "decoder.mlp", router="expert_choice")


def test_what_works_on_layers_works_on_routed_models():
    torch.manual_seed(0)
    model = nn.Sequential(mlp(), nn.LayerNorm(D), mlp()).eval()
    x = torch.randn(2, 5, D)
    dense = experts.count_flops(lambda: model(x))
    handle = route(
        model, ["0", "2"], router={"name": "sigmoid", "k": 2, "rate": 0.5}, num_experts=4
    )
    layer = handle.layers["0"]
    gates = 2 * 2 * 10 * D * 4
    assert experts.count_flops(lambda: model(x)) == 2 * dense + gates
    with experts.record(model) as routes:
        y = model(x)
    assert [*routes] == ["0.moe", "2.moe"]
    for parameter in layer.router.parameters():
        nn.init.normal_(parameter)
    with experts.replay(model, routes):
        assert torch.equal(model(x), y)
    with experts.intervene(layer, experts.drop_experts([0])), collect(model) as routings:
        model(x)
    assert not routings["0"][0].load[0]
    smaller = experts.take_experts(layer, [2, 0])
    assert smaller.bank.experts[0][0].weight.equal(layer.bank.experts[2][0].weight)
    assert smaller.bank.experts[0].training is False
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    experts.adapt_on_step(optimizer, model)
    model.train()(x).sum().backward()
    optimizer.step()
    assert layer.router.bias.value.any()
    gated = nn.Sequential(Gated(), nn.LayerNorm(D)).eval()
    route(gated, "0", router=TOPK)
    assert torch.allclose(experts.static_copy(gated)(x), gated(x), rtol=0, atol=1e-6)
