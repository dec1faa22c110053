"""Each architecture against its formula, written out once more; and its messages."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import experts
from experts import Bank
from experts.__main__ import main
from routers import ConfigError

from .cases import DIM, bank_of, rows_for

LOAD = torch.tensor([2, 0, 1, 3])
EXPERT = [0, 0, 2, 3, 3, 3]


def row_by_row(bank, function):
    rows = rows_for(bank, 6).detach()
    wanted = torch.stack([function(row, e) for row, e in zip(rows, EXPERT, strict=True)])
    torch.testing.assert_close(bank(rows, LOAD), wanted)


def test_mlp():
    bank = bank_of("mlp", hidden=6)
    row_by_row(bank, lambda x, e: F.gelu(x @ bank.up[e]) @ bank.down[e])
    assert bank.parameters_per_expert() == (2 * 6 * DIM,) * 4


def test_mlp_with_a_relu():
    bank = bank_of("mlp", hidden=6, activation="relu")
    row_by_row(bank, lambda x, e: (x @ bank.up[e]).clamp_min(0) @ bank.down[e])
    rows = rows_for(bank.double(), 6).double()
    probe = torch.randn(6, DIM, dtype=torch.float64)
    inputs = [rows, bank.up, bank.down]
    got = torch.autograd.grad((bank(rows, LOAD) * probe).sum(), inputs)
    inner = torch.einsum("nd,ndh->nh", rows, bank.up[EXPERT]).clamp_min(0)
    plain = torch.einsum("nh,nhd->nd", inner, bank.down[EXPERT])
    wanted = torch.autograd.grad((plain * probe).sum(), inputs)
    torch.testing.assert_close(got, wanted, rtol=1e-12, atol=1e-12)


def test_self_gated_glu():
    bank = bank_of("self_gated_glu", hidden=6)
    gate, up = bank.gate_and_up[..., :6], bank.gate_and_up[..., 6:]

    def one(x, e):
        out = (F.silu(x @ gate[e]) * (x @ up[e])) @ bank.down[e]
        return out / (1 + torch.exp(-x @ bank.scale[e]))

    row_by_row(bank, one)
    assert bank.parameters_per_expert() == (3 * 6 * DIM + DIM,) * 4


def test_clamped_glu():
    """Limits so low that most inputs of the activation are clamped."""
    bank = bank_of("clamped_glu", hidden=6, alpha=1.5, limit=0.2)

    def one(x, e):
        inner = x @ bank.gate_and_up[e] + bank.gate_and_up_bias[e]
        assert ((inner > 0.2) | (inner < -0.2)).any()
        gate = inner[:6].minimum(torch.tensor(0.2))
        up = inner[6:].minimum(torch.tensor(0.2)).maximum(torch.tensor(-0.2))
        return (gate / (1 + torch.exp(-1.5 * gate)) * (up + 1)) @ bank.down[e] + bank.down_bias[e]

    row_by_row(bank, one)


def test_glu():
    bank = bank_of("glu", hidden=6)
    gate, up = bank.gate_and_up[..., :6], bank.gate_and_up[..., 6:]
    row_by_row(bank, lambda x, e: (F.silu(x @ gate[e]) * (x @ up[e])) @ bank.down[e])
    assert bank.parameters_per_expert() == (3 * 6 * DIM,) * 4


def test_factorized():
    bank = bank_of("factorized", hidden=6, rank=2)
    gate = bank.narrow @ bank.widen
    row_by_row(bank, lambda x, e: (F.silu(x @ gate[e]) * (x @ bank.up[e])) @ bank.down[e])
    assert bank.parameters_per_expert() == (2 * (DIM + 6) + 2 * 6 * DIM,) * 4
    assert bank.projections() is bank.narrow


def test_low_rank():
    bank = bank_of("low_rank", hidden=6, rank=2)
    up, down = (m.shared.weight.t() + m.narrow @ m.widen for m in (bank.up, bank.down))
    row_by_row(bank, lambda x, e: F.gelu(x @ up[e]) @ down[e])
    assert bank.parameters_per_expert() == (2 * 2 * (6 + DIM),) * 4


def test_lora():
    bank = bank_of("lora", rank=2, alpha=3.0)
    nn.init.normal_(bank.up)
    row_by_row(bank, lambda x, e: 1.5 * (x @ bank.down[e] @ bank.up[e]))
    one = bank_of("lora", rank=2, shared_down=True, outputs=5)
    nn.init.normal_(one.up)
    row_by_row(one, lambda x, e: 8 * (x @ one.down[0] @ one.up[e]))
    assert one.parameters_per_expert() == (2 * 5,) * 4
    assert one.flops((DIM,)) == (2 * 2 * (DIM + 5),) * 4


def test_recursion():
    bank = bank_of("recursion", expert={"name": "mlp", "hidden": 6}, depths=[2, 1, 0, 3])
    up, down = bank.inner.up[0], bank.inner.down[0]

    def passes(x, e):
        state = x
        for _ in range([2, 1, 0, 3][e]):
            eps = torch.finfo(x.dtype).eps
            scaled = state / (state.square().mean() + eps).sqrt()
            state = state + F.gelu(scaled @ up) @ down
        return state - x

    row_by_row(bank, passes)
    assert bank.take_experts([3, 0]).depths == [3, 2]


def test_conv():
    bank = bank_of("conv", hidden=3)

    def one(x, e):
        inner = F.gelu(F.conv2d(x[None], bank.first[e], padding=1))
        return F.conv2d(inner, bank.second[e], padding=1)[0]

    row_by_row(bank, one)
    assert bank.parameters_per_expert() == (2 * 9 * 3 * DIM,) * 4


def test_gru():
    bank = bank_of("gru", hidden=6)

    def one(x, e):
        peer = nn.GRU(DIM, 6, bias=False, batch_first=True)
        with torch.no_grad():
            peer.weight_ih_l0.copy_(bank.enter[e].t())
            peer.weight_hh_l0.copy_(bank.recur[e].t())
        return peer(x)[0] @ bank.leave[e]

    row_by_row(bank, one)


def test_gru_never_looks_ahead():
    bank = bank_of("gru")
    rows = rows_for(bank, 1).detach()
    other = rows.clone()
    other[:, 3:] = 0.0
    one = torch.tensor([1, 0, 0, 0])
    torch.testing.assert_close(bank(rows, one)[:, :3], bank(other, one)[:, :3])


def test_transformer():
    bank = bank_of("transformer", hidden=6, heads=2)
    nn.init.normal_(bank.attention_scale)
    nn.init.normal_(bank.ffn_scale)

    def norm(x, scale):
        return x / (x.square().mean(-1, keepdim=True) + torch.finfo(x.dtype).eps).sqrt() * scale

    def one(x, e):
        inputs = norm(x, bank.attention_scale[e]) @ bank.query_key_value[e]
        means = []
        for head in range(2):
            q, k, v = (inputs[:, 8 * part + 4 * head :][:, :4] for part in range(3))
            means.append((q @ k.t() / 2).softmax(-1) @ v)
        attended = torch.cat(means, -1) @ bank.project[e]
        middle = norm(x + attended, bank.ffn_scale[e])
        return attended + F.gelu(middle @ bank.up[e]) @ bank.down[e]

    row_by_row(bank, one)


def test_null():
    bank = bank_of("null", kinds=["zero", "copy", "constant", "copy"])
    constant = bank.experts[2]

    def replaced(x):
        a, b = (x @ constant.choose).softmax(-1)
        return a * x + b * constant.vector

    by_expert = [torch.zeros_like, None, replaced, lambda x: x]
    row_by_row(bank, lambda x, e: by_expert[e](x))
    assert bank.parameters_per_expert() == (0, 0, 3 * DIM, 0)


def test_mixed():
    bank = bank_of("mixed", parts=[{"name": "mlp", "hidden": 6}, {"name": "null", "count": 1}])
    mlp, null = bank.parts
    assert (mlp.num_experts, null.num_experts) == (3, 1)
    row_by_row(
        bank,
        lambda x, e: torch.zeros(DIM) if e == 3 else F.gelu(x @ mlp.up[e]) @ mlp.down[e],
    )
    assert bank.flops((DIM,)) == (*mlp.flops((DIM,)), 0)
    assert bank.parameters_per_expert() == (*mlp.parameters_per_expert(), 0)


def test_mixed_takes_the_rows_of_its_parts():
    bank = bank_of("mixed", parts=["gru", "transformer"])
    rows = rows_for(bank, 6)
    assert rows.shape == (6, 5, DIM)
    mask = torch.arange(5) < torch.tensor([[5], [2], [1], [4], [3], [5]])
    assert not bank(rows, LOAD, mask)[~mask].any()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("mlp", {"hidden": 0}, "expert.hidden=0 is invalid: expected an integer >= 1"),
        (
            "mlp",
            {"dropout": 1.0},
            r"expert.dropout=1.0 is invalid: expected a number in \[0, 1\)",
        ),
        ("glu", {"hiden": 4}, "hidden"),
        ("mlp", {"activation": "rely"}, "expert.activation=rely: unknown; did you mean 'relu'"),
        ("glu", {"activation": "relu"}, "expert.activation: unknown"),
        ("clamped_glu", {"limit": 0.0}, "expert.limit=0.0 is invalid: expected a finite number"),
        ("glu", {"dropout": -0.1}, "expert.dropout=-0.1"),
        ("low_rank", {"rank": 0}, "expert.rank=0 is invalid: expected an integer >= 1"),
        ("lora", {"rank": 0}, "expert.rank=0 is invalid: expected an integer >= 1"),
        ("lora", {"alpha": 0.0}, "expert.alpha=0.0 is invalid: expected a number > 0"),
        ("lora", {"outputs": 0}, "expert.outputs=0 is invalid: expected an integer >= 1"),
        (
            "recursion",
            {"depths": [1, 2]},
            r"expert.depths=\[1, 2\] is invalid: expected an integer",
        ),
        ("recursion", {"expert": "conv"}, r"rows \(D, H, W\) cannot be repeated"),
        ("factorized", {"rank": 0}, "expert.rank=0 is invalid: expected an integer >= 1, or null"),
        ("conv", {"kernel": 2}, "expert.kernel=2 is invalid: expected an odd integer"),
        ("gru", {"hidden": -1}, "expert.hidden=-1"),
        (
            "transformer",
            {"heads": 3},
            "expert.heads=3 is invalid: expected a divisor of the width 8",
        ),
        (
            "null",
            {"kinds": []},
            r"expert.kinds=\[\] is invalid: expected one or more of zero, copy, constant",
        ),
        ("null", {"kinds": ["cope"]}, "expert.kinds=cope: unknown; did you mean 'copy'"),
        ("mixed", {"parts": []}, r"expert.parts=\[\]"),
        ("mixed", {"parts": ["mlpp"]}, "expert=mlpp: unknown; did you mean 'mlp'"),
        ("mixed", {"parts": ["mlp", "gru"]}, r"rows of the parts differ: \(D\), \(L, D\)"),
        ("mixed", {"parts": [{"name": "mlp", "count": 3}]}, "counts 3 do not add up to .*=4"),
        ("mixed", {"parts": [{"name": "mlp", "count": 4}, "glu"]}, "counts 4, the rest do not"),
        ("mixed", {"parts": [{"name": "mlp", "count": 0}, "glu"]}, "expert.parts.count=0"),
        ("mixed", {"parts": [{"hidden": 3}]}, "expert.parts: .* is neither an expert's name"),
    ],
)
def test_messages_name_options(name, options, message):
    with pytest.raises(ConfigError, match=message):
        bank_of(name, **options)


@pytest.mark.parametrize("name", experts.available())
def test_one_expert(name):
    """``mixed`` alone needs one expert for each of its parts."""
    options = {"parts": ["mlp"]} if name == "mixed" else {}
    bank = bank_of(name, 1, **options)
    rows = rows_for(bank, 3)
    assert bank(rows, torch.tensor([3])).shape == rows.shape


def test_a_third_partys_bank(monkeypatch):
    monkeypatch.setattr(experts.EXPERTS, "_parts", dict(experts.EXPERTS._parts))

    @experts.register("doubling")
    class Doubling(Bank):
        def forward(self, rows, load, mask=None):
            return 2 * rows

        def flops(self, row_shape):
            return (0,) * self.num_experts

    assert "doubling" in experts.available()
    assert bank_of("doubling")(torch.ones(1, DIM), torch.tensor([1, 0, 0, 0])).sum() == 2 * DIM
    with pytest.raises(ConfigError, match="already registered"):
        experts.register("mlp")(Doubling)


def test_catalogue(capsys):
    main(["--dim", "16"])
    shown = capsys.readouterr().out
    assert all(name in shown for name in experts.available())
    assert "4,096" in shown  # an mlp of width 16: 2 * 16 * 64 for each of two matrices


def test_catalogue_says_what_does_not_fit(capsys):
    main(["--dim", "6"])
    shown = " ".join(capsys.readouterr().out.split())
    assert all(name in shown for name in experts.available())
    assert "transformer: expert.heads=4 is invalid: expected a divisor of the width 6" in shown
    assert "576" in shown  # an mlp of width 6 is there all the same


@pytest.mark.parametrize("size", ["--length=-5", "--dim=0", "--side=x"])
def test_catalogue_refuses_sizes_that_cannot_be(capsys, size):
    with pytest.raises(SystemExit):
        main([size])
    assert "positive integer" in capsys.readouterr().err


@pytest.mark.parametrize("part", [None, 3, {"count": 2}])
def test_mixed_names_a_part_that_is_none(part):
    cause = "is neither an expert's name|expected list of str or mapping, got list of"
    with pytest.raises(ConfigError, match=rf"expert\.parts.* ({cause}).* quote"):
        bank_of("mixed", parts=["mlp", part])
