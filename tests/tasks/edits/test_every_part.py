"""Every edit with every router and every bank that supports it, and training after it."""

import math

import pytest
import torch

import experts
from routers import ConfigError

from ...router_samples import SELECTING, layout
from .toy import EXPERTS, Toy, batch_of, config_of, edit, keep_copies, outputs, trained

#: Routers whose experts are not interchangeable, so that none can be taken out or copied.
NO_SELECTION = {"dselect_k", "hierarchical", "mapped", "product_key", "soft_mapped"}
#: Banks without parameters that have a mean.
NO_MEAN = {"mixed", "null", "recursion"}
#: Banks without a width, by which a dense expert of their kind has its size.
NO_WIDTH = {"lora", "mixed", "null", "recursion", "singleton"}
#: Edits that select experts; each leaves numbers that a router may refuse.
EXPERT_EDITS = {
    "prune": {"keep": 3, "by": "mass"},
    "merge": {"to": 3, "align": "none"},
    "grow": {"add": 1},
    "revive": {"below": 0.999},
}
PARTS = [
    *((router, "mlp") for router in SELECTING),
    *(("soft_mixture", bank) for bank in experts.available() if bank != "mlp"),
]


def refusal(name, router, bank):
    """Part of the message if an edit refuses a router or a bank."""
    if name == "revive" and router in ("dselect_k", "soft_mapped"):  # every expert has every item
        return None
    if name in EXPERT_EDITS and router in NO_SELECTION:
        return "unclear"
    if name == "skip" and layout(router) & {"Slots", "Merge"}:
        return "no single weight"
    if name == "backup" and bank in NO_MEAN:
        return "several forms"
    if name in ("prune", "merge", "grow") and router == "grouped_topk":
        return "expert_groups"
    if bank == "mixed" and name == "grow":
        return "changes their order"
    if bank in NO_MEAN and name == "merge":
        return "no mean"
    if bank in NO_WIDTH and name == "distil":
        return "has no width `hidden`"
    return None


def options_of(name, router):
    given = {"upcycle": {"num_experts": EXPERTS, "router": router}, "freeze": {"parameters": ["x"]}}
    given |= {"skip": {"mass": 0.6}, "backup": {"experts": [1]}}
    given["distil"] = {"steps": 2}
    return {**EXPERT_EDITS, **given, "swap": {"of": "there"}}[name]


@pytest.mark.parametrize(("router", "bank"), PARTS, ids=lambda part: part)
@pytest.mark.parametrize(
    "name", [*EXPERT_EDITS, "upcycle", "distil", "swap", "freeze", "skip", "backup"]
)
def test_edit_then_train(name, router, bank, tmp_path):
    config = config_of(router, bank)
    if name == "upcycle":
        if bank == "mixed":
            pytest.skip("needs an expert of each part")
        config = config_of("uniform", bank, number=1, k=1)
    network = trained(config, depth=1)
    message = refusal(name, router, bank)
    other = trained(config, seed=9, depth=1)
    written = {name: options_of(name, router)}
    if message is not None:
        with pytest.raises(ConfigError, match=message):
            edit(network, config, written, lambda place: other)
        return
    if name == "backup":
        keep_copies(network, tmp_path)
    edit(network, config, written, lambda place: other, tmp_path)
    # the configuration describes the network: it can be built and loaded as any run
    built = Toy(config, depth=1).double()
    for layer in built.layers:
        layer.router.prepare(torch.arange(20), torch.randn(20, 3))
    built.load_state_dict(network.state_dict())
    batch = batch_of(network)
    if name == "upcycle":
        for layer in (*network.layers, *built.layers):
            layer.router.prepare(torch.arange(20), torch.randn(20, 3))
        built.load_state_dict(network.state_dict())
    torch.testing.assert_close(outputs(built, batch), outputs(network, batch), rtol=0, atol=0)
    train(built, batch)


def train(network, batch, steps=3):
    """A plain loop, with the adaptation of routers."""
    learned = [p for p in network.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(learned, lr=0.01)
    experts.adapt_on_step(optimizer, network)
    before = [p.clone() for p in learned]
    for _ in range(steps):
        loss = network.train()(batch)[0].square().mean()
        assert math.isfinite(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert any(not p.equal(old) for p, old in zip(learned, before, strict=True))
