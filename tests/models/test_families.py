"""MoE blocks of transformers as layers, and back: each family against its own library.

transformers computes scores of routers in float32 whatever the type of the block (only GPT-OSS in
that of the block). Where outputs are compared in float64, ``wide_scores`` lifts that.
"""

import importlib
from contextlib import contextmanager
from copy import deepcopy
from unittest import mock

import pytest
import torch
from torch import nn

import experts
import routers
from routers import ConfigError

pytest.importorskip("transformers")

DIM, HIDDEN = 16, 24

#: By name: module, block, configuration, its options, and the router and bank that it becomes.
FAMILIES = {
    "mixtral": (
        ("mixtral", "MixtralSparseMoeBlock", "MixtralConfig"),
        {"intermediate_size": HIDDEN, "num_local_experts": 8, "num_experts_per_tok": 2},
        {"name": "topk", "k": 2, "weighting": "renormalized"},
        {"name": "glu", "hidden": HIDDEN},
    ),
    "olmoe": (
        ("olmoe", "OlmoeSparseMoeBlock", "OlmoeConfig"),
        {"intermediate_size": HIDDEN, "num_experts": 6, "num_experts_per_tok": 3},
        {"name": "topk", "k": 3, "weighting": "probability"},
        {"name": "glu", "hidden": HIDDEN},
    ),
    "qwen2_moe": (
        ("qwen2_moe", "Qwen2MoeSparseMoeBlock", "Qwen2MoeConfig"),
        {
            "moe_intermediate_size": HIDDEN,
            "shared_expert_intermediate_size": 20,
            "num_experts": 6,
            "num_experts_per_tok": 1,
            "norm_topk_prob": False,
        },
        {"name": "topk", "k": 1, "weighting": "probability"},
        {"name": "glu", "hidden": HIDDEN},
    ),
    "qwen3_moe": (
        ("qwen3_moe", "Qwen3MoeSparseMoeBlock", "Qwen3MoeConfig"),
        {
            "moe_intermediate_size": HIDDEN,
            "num_experts": 6,
            "num_experts_per_tok": 3,
            "norm_topk_prob": True,
        },
        {"name": "topk", "k": 3, "weighting": "renormalized"},
        {"name": "glu", "hidden": HIDDEN},
    ),
    "deepseek_v3": (
        ("deepseek_v3", "DeepseekV3MoE", "DeepseekV3Config"),
        {
            "moe_intermediate_size": HIDDEN,
            "n_routed_experts": 8,
            "num_experts_per_tok": 3,
            "n_group": 4,
            "topk_group": 2,
            "n_shared_experts": 2,
        },
        {"name": "grouped_topk", "k": 3, "expert_groups": 4, "kept_groups": 2, "scale": 2.5},
        {"name": "glu", "hidden": HIDDEN},
    ),
    "deepseek_v3 of one group": (
        ("deepseek_v3", "DeepseekV3MoE", "DeepseekV3Config"),
        {
            "moe_intermediate_size": HIDDEN,
            "n_routed_experts": 6,
            "num_experts_per_tok": 2,
            "n_group": 1,
            "topk_group": 1,
            "norm_topk_prob": False,
            "routed_scaling_factor": 1.5,
        },
        {"name": "sigmoid", "k": 2, "weighting": "probability", "scale": 1.5},
        {"name": "glu", "hidden": HIDDEN},
    ),
    "switch_transformers": (
        ("switch_transformers", "SwitchTransformersSparseMLP", "SwitchTransformersConfig"),
        {"d_ff": HIDDEN, "num_experts": 4, "expert_capacity": 2, "router_bias": True},
        {"name": "topk", "k": 1, "weighting": "probability", "jitter": 0.01},
        {"name": "mlp", "activation": "relu", "hidden": HIDDEN, "dropout": 0.1},
    ),
    "gpt_oss": (
        ("gpt_oss", "GptOssMLP", "GptOssConfig"),
        {"intermediate_size": HIDDEN, "num_local_experts": 6, "num_experts_per_tok": 2},
        {"name": "topk", "k": 2, "weighting": "renormalized"},
        {"name": "clamped_glu", "hidden": HIDDEN, "alpha": 1.702, "limit": 7.0},
    ),
}


def modeling(name):
    return importlib.import_module(f"transformers.models.{name}.modeling_{name}")


def configuration(name, **changes):
    (module, _, kind), options, *_ = FAMILIES[name]
    config = getattr(modeling(module), kind)(hidden_size=DIM, **{**options, **changes})
    config._experts_implementation = "eager"
    return config


@torch.no_grad()
def randomized(module, std=0.5):
    torch.manual_seed(0)
    for values in (*module.parameters(), *module.buffers()):
        values.normal_(std=std)
    return module.eval()


def block_of(name, dtype=torch.float32, **changes):
    (module, kind, _), *_ = FAMILIES[name]
    block = getattr(modeling(module), kind)(configuration(name, **changes))
    block = randomized(block).to(dtype)
    if name == "switch_transformers":
        block.router.dtype = dtype
    return block


@contextmanager
def wide_scores():
    """float64 wherever transformers would compute in float32."""
    double = torch.float64
    with (
        mock.patch.object(torch, "float32", double),
        mock.patch.object(torch, "float", double),
        mock.patch.object(torch.Tensor, "float", torch.Tensor.double),
    ):
        yield


def output(block, x):
    """Of a block, which may return router scores too."""
    y = block(x.clone(memory_format=torch.contiguous_format))
    return y[0] if isinstance(y, tuple) else y


def tokens(dtype=torch.float32):
    torch.manual_seed(1)
    return torch.randn(3, 7, DIM, dtype=dtype)


@pytest.mark.parametrize("name", FAMILIES)
def test_outputs_and_gradients_are_those_of_transformers(name):
    router, bank = FAMILIES[name][2:]
    block = block_of(name)
    layer = experts.from_transformers(block)
    for part, expected in ((layer.router, router), (layer.bank, bank)):
        registry = routers.ROUTERS if part is layer.router else experts.EXPERTS
        assert type(part) is registry.get_part(expected["name"])
        arguments = routers.plugins.arguments_of(part)
        assert arguments.items() >= {k: v for k, v in expected.items() if k != "name"}.items()
    x = tokens()
    y, routing = layer(x)
    assert (y - output(block, x)).abs().max() <= 1e-5 * y.abs().max()
    assert routing.load.sum() <= 21 * router["k"]

    block = block_of(name, torch.float64)
    layer = experts.from_transformers(block)
    x = tokens(torch.float64).requires_grad_()
    with wide_scores():
        theirs = output(block, x)
    y, _ = layer(x)
    torch.testing.assert_close(y, theirs, rtol=1e-10, atol=1e-10)
    probe = torch.randn_like(y)
    weights = experts.FAMILIES.build(type(block).__name__, block).plan().weights
    learned = {key: value for key, value in weights.items() if key != "router.bias.value"}
    ours = torch.autograd.grad((y * probe).sum(), [x, *map(layer.get_parameter, learned)])
    names = [each for value in learned.values() for each in value.names]
    given = [x, *map(block.get_parameter, names)]
    of_x, *flat = torch.autograd.grad((theirs * probe).sum(), given)
    torch.testing.assert_close(ours[0], of_x, rtol=1e-10, atol=1e-10)
    by_name = dict(zip(names, flat, strict=True))
    for grad, value in zip(ours[1:], learned.values(), strict=True):
        wanted = value.layout.read([by_name[each] for each in value.names])
        torch.testing.assert_close(grad, wanted, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_layer_is_written_back(name):
    """Into a block with other weights, which stays as it is."""
    layer = experts.from_transformers(block_of(name))
    with torch.no_grad():
        for values in (*layer.parameters(), *layer.buffers()):
            values.add_(0.25)
    layer.router.requires_grad_(False)
    like = block_of(name)
    before = deepcopy(like.state_dict())
    block = experts.to_transformers(layer, like)
    x = tokens()
    assert (output(block, x) - layer(x)[0]).abs().max() <= 1e-5 * layer(x)[0].abs().max()
    again = experts.from_transformers(block)
    for key, values in layer.state_dict().items():
        assert values.equal(again.state_dict()[key]), key
    assert {key for key, values in again.named_parameters() if not values.requires_grad} == {
        key for key, _ in layer.named_parameters() if key.startswith("router.")
    }
    assert all(values.equal(before[key]) for key, values in like.state_dict().items())


def test_padding_gets_0_and_no_place():
    """A block has no mask: there padding is routed, and takes places of a Switch layer."""
    mask = torch.ones(3, 7, dtype=torch.bool)
    mask[:, :2] = False
    x = tokens().masked_fill(~mask.unsqueeze(-1), 0.0)
    block = block_of("mixtral")
    y, routing = experts.from_transformers(block)(x, mask=mask)
    torch.testing.assert_close(y, output(block, x) * mask.unsqueeze(-1))
    assert routing.load.sum() == 2 * 15

    block = block_of("switch_transformers", expert_capacity=1)
    layer = experts.from_transformers(block)
    torch.testing.assert_close(layer(x[:, 2:])[0], output(block, x[:, 2:]))
    torch.testing.assert_close(layer(x, mask=mask)[0][:, 2:], output(block, x[:, 2:]))
    assert (output(block, x)[:, 2:] - output(block, x[:, 2:])).abs().max() > 0.1


# ---- whole models ----

MODELS = {
    "mixtral": ("MixtralForCausalLM", {}),
    "deepseek_v3": (
        "DeepseekV3ForCausalLM",
        {
            "first_k_dense_replace": 1,
            "kv_lora_rank": 8,
            "q_lora_rank": 8,
            "qk_rope_head_dim": 4,
            "qk_nope_head_dim": 4,
            "v_head_dim": 8,
        },
    ),
    "gpt_oss": ("GptOssForCausalLM", {"head_dim": 8}),
    "switch_transformers": (
        "SwitchTransformersForConditionalGeneration",
        {"d_kv": 8, "decoder_start_token_id": 0, "num_decoder_layers": 2},
    ),
}


def model_of(name):
    kind, options = MODELS[name]
    config = configuration(
        name,
        vocab_size=30,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        **options,
    )
    return randomized(getattr(modeling(FAMILIES[name][0][0]), kind)(config), std=0.5)


def predicted(model):
    torch.manual_seed(2)
    ids = torch.randint(2, 30, (4, 9))
    return model(input_ids=ids, labels=ids)


@pytest.mark.parametrize("name", MODELS)
def test_a_whole_model_is_converted_in_place_and_back(name):
    model = model_of(name)
    before, state = predicted(model), deepcopy(model.state_dict())
    layers = experts.model_from_transformers(model)
    with experts.record(model) as routes:
        after = predicted(model)
    assert set(routes) == {f"{place}.moe" for place in layers}
    assert all(len(found) == 1 for found in routes.values())
    torch.testing.assert_close(after.logits, before.logits, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(after.loss, before.loss, rtol=1e-4, atol=1e-4)
    with experts.collect(model) as routings:
        (predicted(model).loss + routings.loss({"switch": 0.01})).backward()
    assert set(routings) == set(layers)
    assert all(layer.router.gate.weight.grad.any() for layer in layers.values())
    experts.model_to_transformers(model)
    assert predicted(model).logits.equal(before.logits)
    assert model.state_dict().keys() == state.keys()
    assert all(values.equal(state[key]) for key, values in model.state_dict().items())
    block = model.get_submodule(next(iter(layers)))
    assert getattr(block.experts, "config", model.config) is model.config


def test_padding_of_a_model_is_left_out_of_its_layers():
    model = model_of("mixtral")
    torch.manual_seed(2)
    ids = torch.randint(2, 30, (4, 9))
    mask = torch.arange(9) < torch.tensor([[9], [4], [7], [1]])
    before = model(input_ids=ids, attention_mask=mask.long()).logits
    experts.model_from_transformers(model)
    with experts.collect(model, mask=mask) as routings:
        after = model(input_ids=ids, attention_mask=mask.long()).logits
    torch.testing.assert_close(after[mask], before[mask], rtol=1e-4, atol=1e-4)
    assert [found[0].load.sum().item() for found in routings.values()] == [2 * 21] * 2


def test_a_block_in_two_places_stays_one():
    model = model_of("mixtral").model.layers
    model[1].mlp = model[0].mlp
    experts.model_from_transformers(model)
    assert model[1].mlp is model[0].mlp
    assert isinstance(model[0].mlp.moe, experts.MoE)
    experts.model_to_transformers(model)
    assert model[1].mlp is model[0].mlp


LEARNED = [
    name
    for name in routers.available()
    if (traits := routers.ROUTERS.get_part(name).traits).learned and traits.causal
    if not (traits.needs_ids or traits.needs_task or traits.needs_recorded or traits.merges)
]


@pytest.mark.parametrize("router", LEARNED)
def test_a_new_router_alone_is_trained(router, converted):
    """In front of the experts of a whole model; no other parameter changes in any bit."""
    model = deepcopy(converted).requires_grad_(False).train()
    torch.manual_seed(0)
    new = experts.swap_router(model, router)
    assert list(new) == [f"model.layers.{place}.mlp.moe" for place in range(2)]
    trained = {key: each for key, each in model.named_parameters() if each.requires_grad}
    assert all(".router." in key for key in trained)
    before = deepcopy(model.state_dict())
    optimizer = torch.optim.Adam(trained.values(), lr=0.03)
    losses = []
    for _ in range(10):
        loss = predicted(model).loss  # the same batch, and the same noise
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < losses[0] - 0.01
    for key, values in model.state_dict().items():
        if key not in trained and ".router." not in key:
            assert values.equal(before[key]), key
    assert any(not values.equal(before[key]) for key, values in trained.items())


@pytest.fixture(scope="module")
def converted():
    model = model_of("mixtral")
    experts.model_from_transformers(model)
    return model


# ---- refusals ----


def test_what_has_no_counterpart_is_refused():
    with pytest.raises(ConfigError, match=r"family=MixtralMoeBlock: unknown; did you mean 'Mi"):
        experts.from_transformers(type("MixtralMoeBlock", (nn.Module,), {})())
    with pytest.raises(ConfigError, match=r"family=ModuleList: .*model_from_transformers\(model"):
        experts.from_transformers(nn.ModuleList([block_of("mixtral")]))
    with pytest.raises(ConfigError, match="no layer that model_from_transformers put in"):
        experts.model_to_transformers(nn.Linear(2, 2))
    with pytest.raises(ConfigError, match=r"jitter_noise=0\.1 is invalid: .* block\.jitter_noise"):
        experts.from_transformers(block_of("mixtral", router_jitter_noise=0.1))
    with pytest.raises(ConfigError, match=r"experts\.act_fn=GELUActivation is invalid: .*SiLU"):
        experts.from_transformers(block_of("mixtral", hidden_act="gelu"))
    with pytest.raises(ConfigError, match=r"router\.k=1 is invalid"):
        experts.from_transformers(block_of("mixtral", num_experts_per_tok=1))
    block = block_of("mixtral")
    block.experts.down_proj = nn.Parameter(block.experts.down_proj[:3].detach())
    with pytest.raises(ConfigError, match=r"experts\.down_proj would be bank\.down of shape \(3"):
        experts.from_transformers(block)
    block = block_of("mixtral")
    block.experts.down_proj = nn.Parameter(block.experts.down_proj.to(torch.float8_e4m3fn))
    with pytest.raises(ConfigError, match=r"experts\.down_proj is torch\.float8_e4m3fn; give a"):
        experts.from_transformers(block)
    block.experts.register_buffer("down_scale", torch.ones(3))
    with pytest.raises(ConfigError, match=r"experts\.down_scale without counterpart in a layer"):
        experts.from_transformers(block)
    del block.experts.down_proj
    with pytest.raises(ConfigError, match=r"has no experts\.down_proj: .* version"):
        experts.from_transformers(block)


def test_a_layer_that_does_not_fit_is_refused():
    layer = experts.from_transformers(block_of("mixtral"))
    swap = r"experts\.swap_router\(layer, 'topk', k=3, weighting='renormalized'\)"
    for like, expected in (
        (nn.Linear(2, 2), "family=Linear: unknown"),
        (block_of("mixtral", num_local_experts=6), "num_experts=8, and this Mix.*num_experts=6"),
        (block_of("mixtral", num_experts_per_tok=3), f"is topk with k=2, and .* with k=3 .*{swap}"),
        (block_of("mixtral", intermediate_size=32), "bank is glu with hidden=24, and glu with hi"),
        (block_of("gpt_oss", num_local_experts=8), "bank is glu with .* clamped_glu with hidden="),
        (
            block_of("qwen2_moe", num_experts=8, num_experts_per_tok=2, norm_topk_prob=True),
            "shared is absent, and self_gated_glu with hidden=20",
        ),
    ):
        with pytest.raises(ConfigError, match=expected):
            experts.to_transformers(layer, like)
    # a block of another class that computes the same
    twin = experts.to_transformers(
        layer, block_of("qwen3_moe", num_experts=8, num_experts_per_tok=2)
    )
    torch.testing.assert_close(output(twin, tokens()), layer(tokens())[0])
    layer.capacity = 1.0
    with pytest.raises(ConfigError, match=r"capacity=1\.0, and None in this Mixtral.*; set layer"):
        experts.to_transformers(layer, block_of("mixtral"))
    layer.capacity = None
    experts.swap_router(layer, "topk", k=2, gate={"name": "linear", "bias": True})
    with pytest.raises(ConfigError, match=r"no counterpart of router\.gate\.bias"):
        experts.to_transformers(layer, block_of("mixtral"))


def test_a_model_that_cannot_be_converted_stays():
    model = model_of("mixtral")
    kinds = [type(each) for each in model.modules()]
    model.config.output_router_logits = True
    with pytest.raises(ConfigError, match=r"set model\.config\.output_router_logits = False"):
        experts.model_from_transformers(model)
    model.config.output_router_logits = False
    model.model.layers[1].mlp.jitter_noise = 0.1
    with pytest.raises(ConfigError, match="jitter_noise"):
        experts.model_from_transformers(model)
    assert [type(each) for each in model.modules()] == kinds
    with pytest.raises(ConfigError, match="itself a block; convert it with from_transformers"):
        experts.model_from_transformers(block_of("mixtral"))
    model.model.layers[1].mlp.jitter_noise = 0.0
    experts.model_from_transformers(model)
    with pytest.raises(ConfigError, match="depend on later items"):
        experts.swap_router(model, "expert_choice")
    experts.swap_router(model.model.layers[1], "sigmoid")
    with pytest.raises(
        ConfigError, match=r"layers\.1\.mlp: router is sigmoid with .*\.swap_router"
    ):
        experts.model_to_transformers(model)
    assert isinstance(model.model.layers[0].mlp.moe, experts.MoE)
