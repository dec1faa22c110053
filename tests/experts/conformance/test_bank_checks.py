"""The kit of expert banks: ours pass, and each check catches a faulty bank."""

import re

import pytest
import torch
from torch import nn

import experts
from experts import Bank, grouped_linear, stacked
from experts.__main__ import main
from experts.conformance import KIT, check_bank
from routers import CheckError
from routers.conformance import check_name


@pytest.mark.parametrize("name", experts.available())
def test_every_bank(name):
    check_bank(name)


class Sound(Bank):
    """A linear map per expert."""

    expert_parameters = ("weight",)

    def __init__(self, dim, num_experts):
        super().__init__(dim, num_experts)
        self.weight = stacked(num_experts, dim, dim)

    def forward(self, rows, load, mask=None):
        return grouped_linear(rows, self.weight, load)

    def flops(self, row_shape):
        return (2 * self.dim**2,) * self.num_experts


class Sequences(Sound):
    """A linear map of the bytes of a text; the mean over the text is added."""

    row_axes = ("L", "D")

    def forward(self, rows, load, mask=None):
        rows = rows + self.context(rows, mask)
        expert = torch.arange(len(load)).repeat_interleave(load)
        out = torch.einsum("nld,nde->nle", rows, self.weight[expert])
        return out if mask is None else out * mask.unsqueeze(-1)

    def context(self, rows, mask):
        if mask is None:
            return rows.mean(1, keepdim=True)
        real = mask.unsqueeze(-1).to(rows.dtype)
        return (rows * real).sum(1, keepdim=True) / real.sum(1, keepdim=True).clamp_min(1)

    def flops(self, row_shape):
        return (2 * self.dim**2 * row_shape[0],) * self.num_experts


@pytest.mark.parametrize("bank", [Sound, Sequences])
def test_a_sound_bank_passes(bank):
    check_bank(bank)


class Undocumented(Sound):
    __doc__ = None


class AnySize(Sound):
    """Divides before it checks."""

    def __init__(self, dim, num_experts):
        self.share = 1 / num_experts
        super().__init__(dim, num_experts)


class OneTooMany(Sound):
    """Another shape."""

    def forward(self, rows, load, mask=None):
        return super().forward(rows, load)[:, :-1]


class InDouble(Sound):
    """Another dtype."""

    def forward(self, rows, load, mask=None):
        return super().forward(rows, load).double()


class Neighbours(Sound):
    """Rows see each other."""

    def forward(self, rows, load, mask=None):
        return super().forward(rows - rows.mean(0), load)


class Backwards(Sound):
    """The last expert has the first rows."""

    def forward(self, rows, load, mask=None):
        return grouped_linear(rows, self.weight.flip(0), load.flip(0))


class InPlace(Sound):
    """Writes."""

    def forward(self, rows, load, mask=None):
        out = super().forward(rows, load)
        rows.data.mul_(2)
        return out


class Noisy(Sound):
    """Always noise."""

    def forward(self, rows, load, mask=None):
        return super().forward(rows, load) + torch.rand(())


class Counting(Sound):
    """A buffer that each pass changes."""

    def __init__(self, dim, num_experts):
        super().__init__(dim, num_experts)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, rows, load, mask=None):
        self.calls += 1
        return super().forward(rows, load)


class Detached(Sound):
    """A gradient that is cut."""

    def forward(self, rows, load, mask=None):
        return super().forward(rows, load) + 0.5 * grouped_linear(rows, self.weight.detach(), load)


class UsedOnly(Sound):
    """Parameters of experts with rows alone."""

    def __init__(self, dim, num_experts):
        super().__init__(dim, num_experts)
        self.parts = nn.ModuleList(nn.Linear(dim, dim, bias=False) for _ in range(num_experts))
        del self.weight

    expert_parameters = ()

    def forward(self, rows, load, mask=None):
        parts = zip(self.parts, rows.split(load.tolist()), strict=True)
        done = [part(given) for part, given in parts if len(given)]
        return torch.cat(done) if done else rows


class Shortcut(Sound):
    """A faster way that forgets the weights."""

    def mix(self, x, routing, mask=None):
        return super().mix(x, routing, mask) * 1.01


class SeesPadding(Sequences):
    """The mean over padding too."""

    def context(self, rows, mask):
        return rows.mean(1, keepdim=True)


class KeepsPadding(Sequences):
    """Outputs at padding."""

    def forward(self, rows, load, mask=None):
        return super().forward(rows, load, mask) + 1


class Forgetful(Sound):
    """State outside of the state dict."""

    def __init__(self, dim, num_experts):
        super().__init__(dim, num_experts)
        self.shift = float(torch.rand(()))

    def forward(self, rows, load, mask=None):
        return super().forward(rows, load) + self.shift


class WithALambda(Sound):
    """No pickle."""

    def __init__(self, dim, num_experts):
        super().__init__(dim, num_experts)
        self.act = lambda x: x


class Cheap(Sound):
    """Too few FLOPs."""

    def flops(self, row_shape):
        return (self.dim**2,) * self.num_experts


class OneNumber(Sound):
    """Not one for each expert."""

    def flops(self, row_shape):
        return (2 * self.dim**2,)


class Misnamed(Sound):
    """A parameter that is not there."""

    expert_parameters = ("wieght",)


class Shared(Sound):
    """A shared matrix that is counted for experts."""

    def __init__(self, dim, num_experts):
        super().__init__(dim, num_experts)
        self.scale = nn.Parameter(torch.ones(2 * num_experts))

    def forward(self, rows, load, mask=None):
        return super().forward(rows * self.scale[0], load) + 0 * self.scale.sum()


class Overflowing(Sound):
    """Infinite under autocast alone."""

    def forward(self, rows, load, mask=None):
        out = super().forward(rows, load)
        return out / 0 if torch.is_autocast_enabled("cpu") else out


FAULTY = {
    "docstring": [(Undocumented, "there is no docstring")],
    "sizes": [(AnySize, "num_experts=0 raises ZeroDivisionError")],
    "shapes": [(OneTooMany, r"become \(6, 7\)"), (InDouble, "the result is torch.float64")],
    "rows_alone": [(Neighbours, "among other rows"), (Backwards, "among other rows|Error")],
    "inputs_untouched": [(InPlace, "changes its arguments")],
    "eval_deterministic": [(Noisy, "eval gives two"), (Counting, "forward changes calls")],
    "gradients": [(Detached, "differ from finite differences")],
    "idle_experts": [(UsedOnly, r"parts\.1\.weight gets no gradient")],
    "mix": [(Shortcut, "for items that choose experts mix differs")],
    "padding": [(SeesPadding, "content of padding"), (KeepsPadding, "at padding are not 0")],
    "state_dict_round_trip": [(Forgetful, "gives other results")],
    "copy_and_pickle": [(WithALambda, "lambda")],
    "flops": [(Cheap, "flops states"), (OneNumber, r"flops returns \(128,\)")],
    "parameters": [(Misnamed, "names 'wieght'"), (Shared, "expert_parameters have")],
    "layer": [(Overflowing, "under autocast results or gradients are not finite")],
}


@pytest.mark.parametrize(
    ("check", "bank", "message"),
    [(check, *faulty) for check, all_of in FAULTY.items() for faulty in all_of],
)
def test_a_faulty_bank_is_caught(check, bank, message):
    with pytest.raises(CheckError) as found:
        check_bank(bank)
    assert re.search(f"^{check}: .*({message})", str(found.value), re.MULTILINE)


def test_every_check_is_seen_to_fail():
    assert {check_name(check) for check in KIT.checks} == set(FAULTY)


def test_the_command(capsys):
    assert main(["check", "glu", "hidden=6"]) == 0
    assert f"glu hidden=6: {len(KIT.checks)} of {len(KIT.checks)} checks" in capsys.readouterr().out
    for words, message in (
        (["mlpp"], "did you mean 'mlp'"),
        (["mlp", "hidden=0"], "expert.hidden=0 is invalid"),
        (["mlp", "hidden"], "expected key=value"),
    ):
        assert main(["check", *words]) == 2
        assert message in capsys.readouterr().err
