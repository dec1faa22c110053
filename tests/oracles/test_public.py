"""Routers and losses compared with public implementations: ``pip install -e '.[oracles]'``.

Numbers that other people's code gives for the same parameters and the same items; where a library
counts otherwise than we do, the factor between is stated.
"""

from types import ModuleType
from typing import Any

import pytest
import torch

import routers
from routers import LOSSES, Items, Router, Routing

pytestmark = pytest.mark.filterwarnings("default")  # what those libraries warn of is theirs

N, D = 24, 5
CURE = "not installed; the extra [oracles] has it"


def needs(module: str) -> ModuleType:
    return pytest.importorskip(module, reason=f"{module.partition('.')[0]}: {CURE}")


def built(name: str, experts: int, **options: Any) -> Router:
    torch.manual_seed(1)
    router = routers.build(name, D, experts, **options)
    with torch.no_grad():
        router.gate.weight.normal_()
    return router


def batch() -> torch.Tensor:
    torch.manual_seed(0)
    return torch.randn(N, D)


def dense(routing: Routing) -> torch.Tensor:
    grid = torch.zeros(routing.num_items, routing.num_experts, dtype=routing.weight.dtype)
    return grid.index_put((routing.item, routing.expert), routing.weight, accumulate=True)


def spread(chosen: torch.Tensor, weight: torch.Tensor, experts: int) -> torch.Tensor:
    """``(N, K)`` choices and weights as ``(N, E)``."""
    return torch.zeros(len(chosen), experts, dtype=weight.dtype).scatter(1, chosen, weight)


class TestEntmax:
    """The authors' own: deep-spin/entmax."""

    @pytest.mark.parametrize(
        ("name", "options", "theirs"),
        [
            ("sparsemax", {}, lambda lib, h: lib.sparsemax(h, dim=-1)),
            ("entmax", {}, lambda lib, h: lib.entmax15(h, dim=-1)),
            ("entmax", {"alpha": 1.5}, lambda lib, h: lib.entmax_bisect(h, alpha=1.5, n_iter=80)),
            ("entmax", {"alpha": 1.25}, lambda lib, h: lib.entmax_bisect(h, alpha=1.25, n_iter=80)),
            ("entmax", {"alpha": 2.0}, lambda lib, h: lib.sparsemax(h, dim=-1)),
        ],
    )
    def test_weights_and_gradients(self, name, options, theirs):
        lib = needs("entmax")
        router, x = built(name, 7, **options).double(), batch().double()
        h = (x @ router.gate.weight.detach().t()).requires_grad_()
        expected = theirs(lib, h)
        found = dense(router(Items(x)))
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)
        assert (found > 0).equal(expected > 0)
        probe = torch.randn_like(expected)
        (of_logits,) = torch.autograd.grad((expected * probe).sum(), h)
        (ours,) = torch.autograd.grad((found * probe).sum(), router.gate.weight)
        torch.testing.assert_close(ours, of_logits.t() @ x, rtol=1e-7, atol=1e-9)


class TestSwitch:
    """transformers, Switch Transformers: the best expert, weighed by its probability."""

    module = "transformers.models.switch_transformers.modeling_switch_transformers"
    experts = 6

    def routed(self, capacity: int) -> tuple[Routing, tuple[torch.Tensor, ...]]:
        theirs = needs(self.module)
        config = needs("transformers").SwitchTransformersConfig(
            d_model=D, num_experts=self.experts, expert_capacity=capacity, router_bias=False
        )
        router = built("topk", self.experts, k=1, weighting="probability")
        gate = theirs.SwitchTransformersTop1Router(config).eval()
        gate.classifier.weight.data.copy_(router.gate.weight)
        x = batch()
        return router(Items(x, groups=2)), gate(x.view(2, N // 2, D))

    def test_choice_and_weight(self):
        routing, (index, prob, logits) = self.routed(capacity=N)
        expected = index.view(N, -1) * prob.view(N, 1)
        torch.testing.assert_close(dense(routing), expected)
        torch.testing.assert_close(routing.logits, logits.view(N, -1))

    @pytest.mark.parametrize("capacity", [1, 2, 3])
    def test_who_is_dropped(self, capacity):
        """The first come in each sequence stay."""
        routing, (index, _, _) = self.routed(capacity)
        # 12 items a group: capacity = ceil(factor * 12 / 6)
        assert routing.limit(capacity / 2).assigned_mask.equal(index.view(N, -1).bool())

    def test_losses(self):
        theirs = needs(self.module)
        routing, (index, _, logits) = self.routed(capacity=N)
        # theirs is of each sequence, averaged
        balance = theirs.load_balancing_loss_func(logits.softmax(-1), index.argmax(-1))
        torch.testing.assert_close(LOSSES["switch"](routing, level="sequence"), balance)
        torch.testing.assert_close(LOSSES["z"](routing), theirs.router_z_loss_func(logits))


class TestMixtral:
    """transformers, Mixtral: the K best, renormalised."""

    module = "transformers.models.mixtral.modeling_mixtral"

    @pytest.mark.parametrize("k", [2, 3])
    def test_choice_weight_and_loss(self, k):
        theirs = needs(self.module)
        config = needs("transformers").MixtralConfig(
            hidden_size=D, num_local_experts=6, num_experts_per_tok=k
        )
        router = built("topk", 6, k=k)
        gate = theirs.MixtralTopKRouter(config)
        gate.weight.data.copy_(router.gate.weight)
        x, mask = batch(), torch.arange(N) % 5 != 2
        logits, weight, chosen = gate(x)
        torch.testing.assert_close(dense(router(Items(x))), spread(chosen, weight, 6))
        loss = theirs.load_balancing_loss_func((logits,), 6, k, mask.view(2, -1))
        # theirs counts each choice as one over items, and is K at balance
        torch.testing.assert_close(LOSSES["switch"](router(Items(x, mask=mask))), loss / k)


class TestDeepSeekV3:
    """transformers, DeepSeek-V3: groups of experts, a bias that selects, sigmoid weights."""

    module = "transformers.models.deepseek_v3.modeling_deepseek_v3"

    @pytest.mark.parametrize(("groups", "kept"), [(4, 2), (2, 1), (1, 1)])
    @pytest.mark.parametrize("normalised", [True, False])
    def test_choice_and_weight(self, groups, kept, normalised):
        theirs = needs(self.module)
        config = needs("transformers").DeepseekV3Config(
            hidden_size=D,
            n_routed_experts=12,
            num_local_experts=12,
            num_experts_per_tok=3,
            n_group=groups,
            topk_group=kept,
            norm_topk_prob=normalised,
            routed_scaling_factor=2.5,
        )
        router = built(
            "grouped_topk",
            12,
            k=3,
            expert_groups=groups,
            kept_groups=kept,
            weighting=weighting(normalised),
            scale=2.5,
        )
        bias = 0.3 * torch.randn(12)
        router.bias.value.copy_(bias)
        gate = theirs.DeepseekV3TopkRouter(config)
        gate.weight.data.copy_(router.gate.weight)
        gate.e_score_correction_bias.copy_(bias)
        _, weight, chosen = gate(batch())
        routing = router(Items(batch()))
        torch.testing.assert_close(dense(routing), spread(chosen, weight, 12))
        if groups == 1:  # which is all that ``sigmoid`` is
            options = {"k": 3, "scale": 2.5, "weighting": weighting(normalised)}
            plain = routers.build("sigmoid", D, 12, **options)
            plain.load_state_dict(router.state_dict())
            torch.testing.assert_close(dense(plain(Items(batch()))), dense(routing))


def weighting(normalised: bool) -> str:
    return "renormalized" if normalised else "probability"


class TestSoftMoE:
    """lucidrains' soft-moe-pytorch, experts that do nothing between dispatch and combine."""

    @pytest.mark.parametrize("slots", [1, 3])
    def test_dispatch_and_combine(self, slots):
        lib = needs("soft_moe_pytorch")
        experts, length, scale = 5, 8, 3.0
        theirs = lib.SoftMoE(dim=D, num_experts=experts, num_slots=slots)
        theirs.experts = torch.nn.Identity()
        torch.manual_seed(2)
        theirs.slot_embeds.data.normal_()
        # it scales unit vectors by sqrt(D) gamma: items to length 1, slots to the scale
        theirs.norm.gamma.data.fill_(D**-0.5)
        theirs.slot_norm.gamma.data.fill_(scale * D**-0.5)
        router = routers.build("soft_moe", D, experts, slots=slots)
        router.gate.centroid.data.copy_(theirs.slot_embeds.flatten(0, 1))
        router.gate.log_temperature.data.fill_(-torch.tensor(scale).log())
        # its slots are means of normalised items, ours of items as they are
        x = torch.nn.functional.normalize(torch.randn(3 * length, D), dim=-1)
        mask = torch.arange(3 * length) % 5 != 1
        blend = router(Items(x, groups=3, mask=mask)).execution
        found = blend.scatter(blend.gather(x))
        expected = theirs(x.view(3, length, D), mask.view(3, length)).flatten(0, 1)
        torch.testing.assert_close(found[mask], expected[mask])
