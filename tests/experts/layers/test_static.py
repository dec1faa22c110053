"""Layers with static shapes: traced as one graph, equal to the engine."""

import re
from pathlib import Path

import pytest
import torch

import experts
import routers
from experts import MoE, static_copy
from routers import ConfigError

from ..cases import DIM, IDS, bank_of, router_of

ROUTERS = ["topk", "noisy_topk", "expert_choice", "hash", "hierarchical", "soft_mixture"]
ROUTERS += ["agreement"]
DOCS = Path(__file__).parents[3] / "docs" / "engine.md"


class Banks(torch.nn.Module):
    """Layers of one router with each of several banks, and experts shared by all items."""

    def __init__(self, router, *banks):
        super().__init__()
        layers = [MoE(router_of(router), bank_of(bank), shared=bank_of(bank, 2)) for bank in banks]
        self.layers = torch.nn.ModuleList(layers).eval()

    def forward(self, x, mask, ids, task):
        return torch.stack([layer(x, mask=mask, ids=ids, task=task)[0] for layer in self.layers])


def batch(groups):
    """Arguments of a layer: groups of 6 items, some of them padding."""
    ids = torch.randint(IDS, (groups, 6))
    return torch.randn(groups, 6, DIM), torch.rand(groups, 6) < 0.8, ids, ids % 2


def same_as_the_engine(traced, model, groups):
    given = batch(groups)
    with torch.no_grad():
        y, wanted = traced(*given), model(*given)
    assert wanted.abs().max() > 1e-3
    torch.testing.assert_close(y, wanted, rtol=1e-5, atol=1e-5)


def exported(model, groups=None):
    """The exported model for so many groups, or for any number."""
    dims = None if groups else ({0: torch.export.Dim.DYNAMIC},) * 4
    return torch.export.export(static_copy(model), batch(groups or 3), dynamic_shapes=dims).module()


@pytest.fixture
def _compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.usefixtures("_compiler")
@pytest.mark.parametrize("router", ROUTERS)
def test_compiled_as_one_graph(router):
    model = Banks(router, "mlp", "glu")
    compiled = torch.compile(static_copy(model), backend="eager", fullgraph=True)
    for _ in range(2):
        same_as_the_engine(compiled, model, 3)


@pytest.mark.parametrize("router", ROUTERS)
def test_exported_for_any_number_of_groups(router):
    model = Banks(router, "mlp", "glu")
    same_as_the_engine(exported(model), model, 5)


@pytest.mark.parametrize("router", sorted({*routers.available()} - {*ROUTERS}))
def test_every_router_is_exported_or_says_why_not(router):
    model, reason = Banks(router, "mlp"), routers.ROUTERS[router].not_static
    if reason:
        with pytest.raises(ConfigError, match=f"no static form: {reason}"):
            static_copy(model)
    else:
        same_as_the_engine(exported(model, 3), model, 3)


def test_the_table_lists_the_routers_without_a_static_form():
    listed = dict(re.findall(r"^\| `(\w+)` \| (.+?) \|$", DOCS.read_text("utf-8"), re.MULTILINE))
    reasons = {name: routers.ROUTERS[name].not_static for name in routers.available()}
    assert listed == {name: why for name, why in reasons.items() if why}


def test_the_copy_shares_parameters_and_leaves_the_model_in_training():
    model = Banks("topk", "mlp").train()
    twin = static_copy(model)
    assert all(module.training for module in model.modules())
    assert not any(module.training for module in twin.modules())
    assert {*twin.parameters()} == {*model.parameters()}


@pytest.mark.parametrize(
    ("bank", "settings", "message"),
    [
        ("low_rank", {}, "LowRank has no static form: use experts that implement run_even"),
        ("mlp", {"capacity": 1.0}, "capacity=1.0 has no static form"),
    ],
)
def test_layers_without_a_static_form_are_refused(bank, settings, message):
    with pytest.raises(ConfigError, match=message):
        static_copy(MoE(router_of("topk"), bank_of(bank), **settings))


def test_a_new_forward_has_no_static_form():
    class Doubled(experts.EXPERTS["mlp"]):
        def forward(self, rows, load, mask=None):
            return 2 * super().forward(rows, load, mask)

    with pytest.raises(ConfigError, match="Doubled has no static form"):
        static_copy(MoE(router_of("topk"), Doubled(DIM, 4)))


def test_the_engine_names_the_copy_when_it_is_exported():
    with pytest.raises(RuntimeError, match=r"export experts\.static_copy\(model\)"):
        torch.export.export(Banks("topk", "mlp"), batch(2))


def test_a_static_layer_does_not_train():
    with pytest.raises(RuntimeError, match="for evaluation"):
        static_copy(Banks("topk", "mlp")).train()(*batch(2))
