"""Layers with static shapes: traced as one graph, equal to the engine."""

import re
from pathlib import Path

import pytest
import torch

import experts
import routers
from experts import MoE, adapt_on_step, static_copy
from routers import ConfigError

from ...router_samples import layout, one_of_each
from ..cases import DIM, IDS, bank_of, router_of

DOCS = Path(__file__).parents[3] / "docs" / "engine.md"
NAMES = routers.available()
STATIC = [name for name in NAMES if not routers.ROUTERS[name].not_static]
KINDS = one_of_each(layout, STATIC.__contains__)
#: Layouts that the layer executes in ways that they own.
FORMS = {"fan_in", "is_dense", "Slots", "Merge"}


class Layers(torch.nn.Module):
    """Layers of several routers with each of several banks, and experts shared by all items."""

    def __init__(self, names, *banks, shared=True):
        super().__init__()
        self.layers = torch.nn.ModuleDict()
        for router in names:
            for bank in banks:
                both = bank_of(bank, 2) if shared else None
                layer = MoE(router_of(router), bank_of(bank), shared=both)
                self.layers[f"{router} {bank}"] = layer
        self.eval()

    def forward(self, x, mask, ids, task):
        given = {"mask": mask, "ids": ids, "task": task}
        return {name: layer(x, **given)[0] for name, layer in self.layers.items()}


def batch(groups):
    """Arguments of a layer: groups of 6 items, some of them padding."""
    ids = torch.randint(IDS, (groups, 6))
    return torch.randn(groups, 6, DIM), torch.rand(groups, 6) < 0.8, ids, ids % 2


def same_as_the_engine(traced, model, groups):
    given = batch(groups)
    with torch.no_grad():
        found, wanted = traced(*given), model(*given)
    assert found.keys() == wanted.keys() == {*model.layers}
    for name, y in wanted.items():
        assert y.abs().max() > 1e-3, name
        torch.testing.assert_close(found[name], y, rtol=1e-5, atol=1e-5, msg=name)


@pytest.fixture
def _compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.usefixtures("_compiler")
def test_one_router_of_each_form_of_execution_is_compiled_as_one_graph():
    forms = one_of_each(lambda name: layout(name) & FORMS, STATIC.__contains__)
    model = Layers(forms, "mlp")
    compiled = torch.compile(static_copy(model), backend="eager", fullgraph=True)
    for _ in range(2):
        same_as_the_engine(compiled, model, 3)


def test_one_router_of_each_kind_is_exported_for_any_number_of_groups():
    model, dims = Layers(KINDS, "glu"), ({0: torch.export.Dim.DYNAMIC},) * 4
    exported = torch.export.export(static_copy(model), batch(3), dynamic_shapes=dims).module()
    for groups in (3, 5):
        same_as_the_engine(exported, model, groups)


def test_every_other_router_is_exported():
    model = Layers([name for name in STATIC if name not in KINDS], "mlp", shared=False)
    same_as_the_engine(torch.export.export(static_copy(model), batch(3)).module(), model, 3)


@pytest.mark.parametrize("router", sorted({*NAMES} - {*STATIC}))
def test_a_router_without_a_static_form_says_why(router):
    with pytest.raises(ConfigError, match=f"no static form: {routers.ROUTERS[router].not_static}"):
        static_copy(Layers([router], "mlp"))


def test_the_table_lists_the_routers_without_a_static_form():
    listed = dict(re.findall(r"^\| `(\w+)` \| (.+?) \|$", DOCS.read_text("utf-8"), re.MULTILINE))
    reasons = {name: routers.ROUTERS[name].not_static for name in NAMES}
    assert listed == {name: why for name, why in reasons.items() if why}


def test_the_copy_shares_parameters_and_leaves_the_model_in_training():
    model = Layers(["topk"], "mlp").train()
    twin = static_copy(model)
    assert all(module.training for module in model.modules())
    assert not any(module.training for module in twin.modules())
    assert {*twin.parameters()} == {*model.parameters()}


@pytest.mark.parametrize(
    ("bank", "settings", "message"),
    [
        ("low_rank", {}, "LowRank has no static form: use experts that implement run_even"),
        ("mlp", {"capacity": 1.0}, "capacity=1.0 has no static form"),
        ("mlp", {"skip": {"mass": 0.9}}, "skip={'mass': 0.9} has no static form"),
    ],
)
def test_layers_without_a_static_form_are_refused(bank, settings, message):
    with pytest.raises(ConfigError, match=message):
        static_copy(MoE(router_of("topk"), bank_of(bank), **settings))


def test_a_layer_under_an_intervention_is_refused():
    layer = MoE(routers.build("topk", 8, 4), experts.build("mlp", 8, 4))
    changed = experts.intervene(layer, experts.drop_experts([0]))
    with pytest.raises(ConfigError, match="make the copy outside of it"), changed:
        static_copy(layer)
    assert static_copy(layer)


def test_a_new_forward_has_no_static_form():
    class Doubled(experts.EXPERTS["mlp"]):
        def forward(self, rows, load, mask=None):
            return 2 * super().forward(rows, load, mask)

    with pytest.raises(ConfigError, match="Doubled has no static form"):
        static_copy(MoE(router_of("topk"), Doubled(DIM, 4)))


def test_the_engine_names_the_copy_when_it_is_exported():
    with pytest.raises(RuntimeError, match=r"export experts\.static_copy\(model\)"):
        torch.export.export(Layers(["topk"], "mlp"), batch(2))


def test_a_static_layer_does_not_train():
    with pytest.raises(RuntimeError, match="for evaluation"):
        static_copy(Layers(["topk"], "mlp")).train()(*batch(2))


class Held(torch.nn.Module):
    """One layer in two places, and layers that no submodule holds."""

    def __init__(self):
        super().__init__()
        self.first = self.again = MoE(router_of("topk"), bank_of("mlp"))
        self.plain = {"list": [self.first, MoE(router_of("hash"), bank_of("glu"))], "width": DIM}

    def forward(self, x, ids):
        layers = self.first, self.again, *self.plain["list"]
        return sum(layer(x, ids=ids)[0] for layer in layers)


def test_a_layer_in_several_places_is_one_and_lists_are_searched():
    model = Held().eval()
    first, other = model.plain["list"]
    twin = static_copy(model)
    assert twin.first is twin.again is twin.plain["list"][0]
    assert twin.first.bank.up is first.bank.up
    assert model.plain["list"] == [first, other]
    x, ids = torch.randn(3, 6, DIM), torch.randint(IDS, (3, 6))
    exported = torch.export.export(twin, (x, ids)).module()
    torch.testing.assert_close(exported(x, ids), model(x, ids), rtol=1e-5, atol=1e-5)


def test_hooks_on_a_layer_are_refused_but_not_that_of_adaptation():
    layer = MoE(router_of("sigmoid"), bank_of("mlp")).eval()
    adapt_on_step(torch.optim.SGD(layer.parameters(), lr=0.1), layer)
    x, mask = torch.randn(3, 6, DIM), torch.rand(3, 6) < 0.8
    exported = torch.export.export(static_copy(layer), (x,), {"mask": mask}).module()
    y, _ = layer(x, mask=mask)
    torch.testing.assert_close(exported(x, mask=mask)[0], y, rtol=1e-5, atol=1e-5)
    removable = layer.register_forward_hook(lambda *_: None)
    with pytest.raises(ConfigError, match=r"MoE has no static form: hooks .* expect a routing"):
        static_copy(layer)
    removable.remove()
    layer.forward = layer.forward
    with pytest.raises(ConfigError, match="a replaced forward expect a routing"):
        static_copy(layer)
