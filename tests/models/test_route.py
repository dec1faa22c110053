"""Routed layers in networks of timm and transformers: equal before training, then trained.

Models are compiled with the backend ``eager``: what is traced, and where it breaks, does not
depend on the backend.
"""

import warnings

import pytest
import torch
from torch.nn import functional as F

import experts
from experts import collect, count_flops, route
from routers import ConfigError

timm = pytest.importorskip("timm")
transformers = pytest.importorskip("transformers")

#: The six strategies, one in each of two layers; weights of ``hierarchical`` sum to 1 like this.
HIERARCHICAL = {"name": "hierarchical", "primary_k": 2, "k": 2, "weighting": "renormalized"}
PAIRS = [("topk", "noisy_topk"), ("hash", HIERARCHICAL), ("soft_mixture", "expert_choice")]
SIZES = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 8,
    "vocab_size": 20,
}
TEXT = torch.randint(20, (4, 8), generator=torch.Generator().manual_seed(0))
REAL = torch.arange(8) < torch.tensor([[8], [5], [8], [3]])


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Case:
    """A small network, an input of it, the layers to route, and what routers may read there."""

    def __init__(self, build, where, given, ids, mask=None, causal=False, blocks=None):
        self.build, self.where, self.given = build, where, given
        self.ids, self.mask, self.causal, self.blocks = ids, mask, causal, blocks

    def compiled(self, model):
        """The whole model compiled; or each of its blocks, which takes a third of the time."""
        if self.blocks is None:
            return torch.compile(model, backend="eager")
        for block in model.get_submodule(self.blocks):
            block.compile(backend="eager")
        return model

    def model(self, checkpoints=False):
        torch.manual_seed(0)
        model = self.build()
        if checkpoints:
            start = getattr(model, "activation_checkpointing_enable", None)
            start() if start else model.set_grad_checkpointing()
        return model


def output(model, case):
    found = model(**case.given)
    return found if isinstance(found, torch.Tensor) else found.logits


def text(build, where, causal=False, blocks=None):
    given = {"input_ids": TEXT, "attention_mask": REAL.long(), "use_cache": False}
    given = given if causal else {k: v for k, v in given.items() if k != "use_cache"}
    return Case(build, where, given, TEXT, REAL, causal, blocks)


def gpt2():
    sizes = {"n_embd": 16, "n_inner": 24, "n_layer": 2, "n_head": 2, "n_positions": 8}
    ends = {"bos_token_id": 0, "eos_token_id": 0}
    return transformers.GPT2LMHeadModel(transformers.GPT2Config(vocab_size=20, **sizes, **ends))


CASES = {
    "vit": Case(
        lambda: timm.create_model(
            "vit_tiny_patch16_224", img_size=32, depth=2, num_classes=20, embed_dim=24
        ),
        "blocks.{}.mlp",
        {"x": torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))},
        torch.arange(5).expand(4, 5),
    ),
    "gpt2": text(gpt2, "transformer.h.{}.mlp", causal=True, blocks="transformer.h"),
    "llama": text(
        lambda: transformers.LlamaForCausalLM(transformers.LlamaConfig(**SIZES)),
        "model.layers.{}.mlp",
        causal=True,
        blocks="model.layers",
    ),
    "bert": text(
        lambda: transformers.BertForMaskedLM(transformers.BertConfig(**SIZES)),
        "bert.encoder.layer.{}",
        blocks="bert.encoder.layer",
    ),
}


@pytest.mark.parametrize("pair", PAIRS, ids=["noise", "tables", "dense"])
@pytest.mark.parametrize("name", CASES)
def test_equal_before_training_then_trained(name, pair):
    """Twenty steps with checkpoints and the rest compiled; outputs are equal before the first."""
    case = CASES[name]
    model = case.model(checkpoints=True).eval()
    first, second = pair
    if case.causal and second == "expert_choice":
        with pytest.raises(ConfigError, match="ExpertChoice depend on later items"):
            route(model, case.where.format("*"), router=second)
        second = first
    ids = case.ids if first == "hash" else None
    with torch.no_grad():
        dense = output(model, case)
        where = {case.where.format(0): {}, case.where.format(1): {"router": second}}
        handle = route(model, where, router=first)
        with collect(model, ids=ids):
            routed = output(model, case)
    assert len(handle) == 2
    if second != "expert_choice":
        assert torch.allclose(routed, dense, rtol=0, atol=1e-6)
    compiled = case.compiled(model.train())
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    target = TEXT if case.ids is TEXT else torch.arange(4)
    real = REAL if case.ids is TEXT else torch.ones(4, dtype=torch.bool)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        with collect(compiled, mask=case.mask, ids=ids) as routings, warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The .grad attribute")  # of torch.compile itself
            loss = F.cross_entropy(output(compiled, case)[real], target[real])
            (loss + routings.loss()).backward()
        assert [*routings] == [*handle.layers]
        assert [len(each) for each in routings.values()] == [1, 1]
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
    assert all(p.grad is not None for p in model.parameters())


def test_gated_networks_become_stacked_experts():
    model = CASES["llama"].model()
    before = count_flops(lambda: output(model, CASES["llama"]))
    handle = route(model, "*.mlp", router={"name": "topk", "k": 2}, num_experts=4)
    banks = [type(layer.bank).__name__ for layer in handle.layers.values()]
    assert banks == ["GLU", "GLU"]
    mlps, gates = 2 * 32 * 3 * 2 * 16 * 24, 2 * 32 * 2 * 16 * 4
    assert count_flops(lambda: output(model, CASES["llama"])) == before + mlps + gates


@pytest.mark.parametrize("name", ["gpt2", "bert"])
def test_checkpoints_change_no_gradient(name, monkeypatch):
    """With masks, and noise that is drawn again."""
    case, found = CASES[name], []
    for checkpoints in (False, True):
        model = case.model(checkpoints).double().train()
        route(model, case.where.format("*"), router="noisy_topk")
        torch.manual_seed(1)
        with collect(model, mask=case.mask) as routings:
            (output(model, case)[REAL].square().mean() + routings.loss()).backward()
        found.append([p.grad for p in model.parameters()])
    assert all(torch.allclose(a, b, rtol=0, atol=1e-12) for a, b in zip(*found, strict=True))


def test_blocks_of_a_residual_network():
    """Whole images are routed, to copies of a block or to experts of two convolutions."""
    torch.manual_seed(0)
    model = timm.create_model("resnet18", num_classes=4).eval()
    x = torch.randn(6, 3, 32, 32)
    with torch.no_grad():
        dense = model(x)
        route(model, "layer1.1", router="topk", num_experts=3)
        assert torch.allclose(model(x), dense, rtol=0, atol=1e-6 * float(dense.abs().max()))
    route(model, "layer2.1", router="topk", upcycle=False, expert={"name": "conv", "hidden": 8})
    with pytest.raises(ConfigError, match=r"maps shape .* expected the same shape"):
        route(model, "layer3.0", router="topk")
    with collect(model.train(), mask=torch.arange(6) < 5) as routings:
        (model(x)[:5].square().mean() + routings.loss()).backward()
    assert {name: found[0].num_real.item() for name, found in routings.items()} == {
        "layer1.1": 5,
        "layer2.1": 5,
    }
    assert all(p.grad is not None for p in model.parameters())


def test_modules_that_do_not_fit():
    model = CASES["bert"].model()
    with pytest.raises(ConfigError, match=r"BertOutput.forward takes hidden_states, input_tensor"):
        route(model, "*.layer.0.output")
    with pytest.raises(ConfigError, match=r"'bert.encoder.layer.0.attention' is called with"):
        route(model, "*.layer.0.attention", example=CASES["bert"].given)
    with pytest.raises(ConfigError, match=r"did you mean 'bert.encoder.layer"):
        route(model, "bert.encoder.layers.0")
    decoder = transformers.BertConfig(**SIZES, is_decoder=True)
    with pytest.raises(ConfigError, match="ExpertChoice depend on later items"):
        route(transformers.BertLMHeadModel(decoder), "*.layer.*", router="expert_choice")
    vit = CASES["vit"].model()
    handle = route(vit, "blocks.*.mlp", router="topk")
    real = torch.ones(4, 4, dtype=torch.bool)  # without the class token
    with experts.collect(vit, mask=real), pytest.raises(
        ConfigError, match=r"mask has shape \(4, 4\), and layer 'blocks.0.mlp' .* shape \(4, 5\)"
    ):  # fmt: skip
        output(vit, CASES["vit"])
    handle.unroute()
    assert str(vit) == str(CASES["vit"].model())
