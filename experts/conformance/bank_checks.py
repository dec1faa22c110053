"""Checks that an expert architecture keeps the contract of ``Bank``."""

import io
import pickle
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.autograd.gradcheck import GradcheckError, gradcheck

import routers
from routers import ConfigError, Items, Routing
from routers.conformance import CheckError, require, require_summary, seeded

from .._bank import Bank
from ..accounting.flops import count_flops
from ..dispatch import mix, mix_reference
from ..layers.moe import MoE

#: ``(D, E)`` to test: the first that the bank accepts; it may refuse some with ``ConfigError``.
SIZES = [(8, 4), (6, 3), (16, 8)]

#: Sizes of the inner axes of a row.
INNER = {"L": 5, "H": 3, "W": 4}

#: Shares of rows: spread, all with one expert, and none at all.
LOADS = {"spread": [2, 0, 1, 3], "one": [0, 5], "none": [0]}

#: A router for each layout and execution form of a routing.
FORMS = {
    "items that choose experts": "topk",
    "experts that choose items": "expert_choice",
    "a dense mixture": "soft_mixture",
    "slots": "soft_moe",
    "a function of all outputs": "agreement",
}

#: A router that averages parameters over experts.
MERGING = "merged"

#: In float64.
TOLERANCE = 1e-9


@dataclass(frozen=True)
class BankUnderTest:
    """An architecture under test, in one size."""

    factory: Callable[[int, int], Bank]
    dim: int
    num_experts: int

    def build(self, seed: int = 0) -> Bank:
        """A bank in float64 and in eval; parameters that start at 0 are drawn."""
        with seeded(seed):
            bank = self.factory(self.dim, self.num_experts).double().eval()
            for values in bank.parameters():
                if not values.any():
                    nn.init.normal_(values)
        return bank

    def load(self, name: str) -> Tensor:
        """The load called ``name``, ``(E,)``."""
        spread = LOADS[name] + [0] * self.num_experts
        return torch.tensor(spread[: self.num_experts])

    def row_shape(self, bank: Bank) -> tuple[int, ...]:
        """The shape of one row."""
        return tuple({"D": self.dim, **INNER}[axis] for axis in bank.row_axes)

    def rows(self, bank: Bank, count: int) -> Tensor:
        """Random rows that ask for a gradient."""
        generator = torch.Generator().manual_seed(2)
        shape = (count, *self.row_shape(bank))
        return torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()

    def loads(self, bank: Bank) -> Iterator[tuple[str, Tensor, Tensor]]:
        """Each load with its rows, and words for a report."""
        for name in LOADS:
            load = self.load(name)
            yield f"with {load.tolist()} rows per expert", self.rows(bank, int(load.sum())), load


def subject_of(factory: Callable[[int, int], Bank]) -> BankUnderTest:
    """The architecture in the first size that it accepts; ``ConfigError`` if in none."""
    refusals = []
    for dim, num_experts in SIZES:
        try:
            factory(dim, num_experts)
        except ConfigError as refusal:
            refusals.append(f"dim={dim}, num_experts={num_experts}: {refusal}")
        else:
            return BankUnderTest(factory, dim, num_experts)
    raise ConfigError(f"no tested size is accepted: {'; '.join(refusals)}")


def check_docstring(subject: BankUnderTest) -> None:
    """The docstring has a one-line summary."""
    require_summary(type(subject.build()))


def check_sizes(subject: BankUnderTest) -> None:
    """A width or a number of experts below 1 is refused with ``ConfigError``."""
    hint = "call super().__init__(dim, num_experts) first, and raise OptionError for bad options"
    for name, sizes in {"dim": (0, 4), "num_experts": (8, 0)}.items():
        try:
            subject.factory(*sizes)
        except ConfigError:
            continue
        except Exception as error:
            raise CheckError(f"{name}=0 raises {type(error).__name__}: {error}", hint) from error
        raise CheckError(f"{name}=0 is accepted", hint)


def check_shapes(subject: BankUnderTest) -> None:
    """The result has the shape and dtype of the rows, and is finite."""
    for dtype in (torch.float64, torch.float32):
        bank = subject.build().to(dtype)
        for what, rows, load in subject.loads(bank):
            out = bank(rows.to(dtype), load)
            why = f"{what} {tuple(rows.shape)} become {tuple(out.shape)}"
            require(out.shape == rows.shape, why, "return a row for each row, of the same shape")
            why = f"{what} the result is {out.dtype}, not {dtype}"
            require(out.dtype == dtype, why, "create tensors with rows.new_…, or like a parameter")
            require(out.isfinite().all(), f"{what} the result is not finite", "divide by no 0")


def check_rows_alone(subject: BankUnderTest) -> None:
    """Each row is worked on by its expert alone: by itself it gives the same."""
    bank = subject.build()
    load = subject.load("spread")
    rows, place = subject.rows(bank, int(load.sum())), 0
    together = bank(rows, load)
    for expert, count in enumerate(load.tolist()):
        for _ in range(count):
            one = torch.zeros_like(load)
            one[expert] = 1
            alone = bank(rows[place : place + 1], one)[0]
            why = f"row {place} of expert {expert} gives another result among other rows"
            hint = "rows are sorted by expert: the first load[0] belong to expert 0, and so on"
            require(_near(together[place], alone), why, hint)
            place += 1


def check_inputs_untouched(subject: BankUnderTest) -> None:
    """A forward pass changes neither its rows nor its load."""
    bank = subject.build()
    for _, rows, load in subject.loads(bank):
        rows = rows.detach()
        before = rows.clone(), load.clone()
        bank(rows, load)
        kept = torch.equal(rows, before[0]) and torch.equal(load, before[1])
        require(kept, "forward changes its arguments in place", "write x = x * 2, not x.mul_(2)")


def check_eval_deterministic(subject: BankUnderTest) -> None:
    """In eval, equal rows give equal results, and no parameter or buffer changes."""
    bank = subject.build()
    _, rows, load = next(subject.loads(bank))
    before = {name: value.clone() for name, value in bank.state_dict().items()}
    why, hint = "eval gives two results for one input", "draw noise only if self.training"
    require(torch.equal(bank(rows, load), bank(rows, load)), why, hint)
    bank.train()
    bank(rows, load)
    moved = [n for n, value in bank.state_dict().items() if not torch.equal(value, before[n])]
    hint = "a forward pass keeps its state: activation checkpointing would change it twice"
    require(not moved, f"forward changes {', '.join(moved)}", hint)


def check_gradients(subject: BankUnderTest) -> None:
    """Gradients of rows and parameters are those of finite differences in float64."""
    bank = subject.build()
    _, rows, load = next(subject.loads(bank))
    names = [name for name, _ in bank.named_parameters()]

    def run(rows: Tensor, *values: Tensor) -> Tensor:
        out: Tensor = torch.func.functional_call(
            bank, dict(zip(names, values, strict=True)), (rows, load)
        )
        return out

    values = [parameter.detach().clone().requires_grad_() for parameter in bank.parameters()]
    try:
        gradcheck(run, (rows, *values), fast_mode=True)
    except GradcheckError as error:
        why = f"gradients differ from finite differences: {str(error).splitlines()[0]}"
        raise CheckError(why, "detach nothing, and check a custom backward by gradcheck") from error


def check_idle_experts(subject: BankUnderTest) -> None:
    """Experts without rows get the gradient 0, not none, for which other processes would wait."""
    bank = subject.build()
    hint = "keep all parameters in the graph: stack them as (E, …), or add 0.0 * weight.sum()"
    for what, rows, load in subject.loads(bank):
        for (name, _), slope in zip(
            bank.named_parameters(), _gradients(bank(rows, load), bank.parameters()), strict=True
        ):
            require(slope is not None, f"{what} {name} gets no gradient", hint)
            if slope is not None and name in bank.expert_parameters:
                why = f"{what} an expert without rows gets a gradient in {name}"
                require(not slope[load == 0].any(), why, "an expert's rows use its parameters only")


def check_mix(subject: BankUnderTest) -> None:
    """Every form of routing gives what the slow reference gives, and the same gradients."""
    bank = subject.build()
    x = subject.rows(bank, 6)
    forms = {what: _routed(name, bank, x) for what, name in FORMS.items()}
    if bank.expert_parameters:
        forms["merged experts"] = _routed(MERGING, bank, x)
    items = Items(bank.pool(x.detach()))
    expert = torch.arange(12).view(6, 2) % subject.num_experts
    several = torch.rand(6, 2, 3, dtype=torch.float64)
    forms["weights for several tasks"] = Routing.by_item(items, expert, several, bank.num_experts)
    empty = expert[:, :0], several[:, :0, 0]
    forms["no assignment at all"] = Routing.by_item(items, *empty, bank.num_experts)
    for what, routing in forms.items():
        fast, slow = mix(x, routing, bank), mix_reference(x, routing, bank)
        hint = "an override of mix gives what Bank.mix gives; without one, look at forward"
        require(_near(fast, slow), f"for {what} mix differs from mix_reference", hint)
        inputs = [x, *bank.parameters()]
        names = ["the rows", *(name for name, _ in bank.named_parameters())]
        slopes = zip(_gradients(fast, inputs), _gradients(slow, inputs), strict=True)
        for name, (one, other) in zip(names, slopes, strict=True):
            zero = torch.zeros(())  # None: it plays no part
            near = _near(zero if one is None else one, zero if other is None else other)
            require(near, f"for {what} the gradient of {name} differs from the reference", hint)


def check_padding(subject: BankUnderTest) -> str | None:
    """Inside sequences, outputs at padding are 0, and others do not depend on padding."""
    bank = subject.build()
    if "L" not in bank.row_axes:
        return "rows are not sequences"
    load = subject.load("spread")
    rows = subject.rows(bank, int(load.sum())).detach()
    mask = torch.ones(rows.shape[:2], dtype=torch.bool)
    mask[0, :2] = mask[1, 3:] = mask[2, [0, 2]] = mask[-1] = False
    noisy = torch.where(mask.unsqueeze(-1), rows, 9.0)
    out = bank(rows, load, mask)
    hint = "mask keys of attention, keep a recurrent state over padding, and multiply by the mask"
    require(not out[~mask].any(), "outputs at padding are not 0", hint)
    require(_near(out, bank(noisy, load, mask)), "outputs depend on the content of padding", hint)
    whole = torch.ones_like(mask)
    why = "a mask without padding gives another result than no mask"
    require(_near(bank(rows, load, whole), bank(rows, load)), why, hint)
    one = torch.zeros_like(load)
    one[0] = 1
    cut = bank(rows[:1, mask[0]], one)[0]
    require(_near(out[0, mask[0]], cut), "outputs change if padding is removed", hint)
    return None


def check_state_dict_round_trip(subject: BankUnderTest) -> None:
    """A bank that loads the state dict of another gives the same results."""
    bank, fresh = subject.build(), subject.build(seed=5)
    stream = io.BytesIO()
    torch.save(bank.state_dict(), stream)
    stream.seek(0)
    fresh.load_state_dict(torch.load(stream, weights_only=True))
    hint = "keep every tensor of its state in a Parameter or with register_buffer"
    _require_same(subject, bank, fresh, "a bank that loads the state dict of another", hint)


def check_copy_and_pickle(subject: BankUnderTest) -> None:
    """A deep copy and a pickled copy give the same results."""
    bank = subject.build()
    hint = "keep no lambda, generator, open file or local class as an attribute"
    _require_same(subject, bank, deepcopy(bank), "a deep copy", hint)
    _require_same(subject, bank, pickle.loads(pickle.dumps(bank)), "a pickled copy", hint)


def check_flops(subject: BankUnderTest) -> None:
    """``flops`` states, for each expert, what a count of the operations finds."""
    bank = subject.build()
    shape = subject.row_shape(bank)
    for inner in (1, 2):  # short rows cost less
        row = tuple(
            size if axis == "D" else size // inner
            for axis, size in zip(bank.row_axes, shape, strict=True)
        )
        stated = bank.flops(row)
        _require_counts("flops", stated, subject.num_experts)
        for name in ("spread", "one"):
            load = subject.load(name)
            rows = torch.ones(int(load.sum()), *row, dtype=torch.float64)
            counted = count_flops(partial(bank, rows, load))
            expected = sum(n * each for n, each in zip(load.tolist(), stated, strict=True))
            why = f"rows of shape {row} with {load.tolist()} per expert take {counted:,} FLOPs"
            hint = "count matrix products and convolutions, a multiply-add as 2, for one row"
            require(counted == expected, f"{why}, and flops states {expected:,}", hint)


def check_parameters(subject: BankUnderTest) -> None:
    """``parameters_per_expert`` counts those of each expert; ``expert_parameters`` are stacked."""
    bank = subject.build()
    own = bank.parameters_per_expert()
    _require_counts("parameters_per_expert", own, subject.num_experts)
    total = sum(parameter.numel() for parameter in bank.parameters())
    why = f"parameters_per_expert counts {sum(own):,}, more than all {total:,}"
    require(sum(own) <= total, why, "count shared parameters for no expert")
    named: dict[str, nn.Parameter] = dict(bank.named_parameters())
    for name in bank.expert_parameters:
        hint = "name parameters of shape (E, …); leave it empty if experts have several forms"
        require(name in named, f"expert_parameters names {name!r}, which is no parameter", hint)
        first = named[name].shape[:1]
        why = f"expert_parameters names {name}, whose first axis is {tuple(first)}"
        require(first == (subject.num_experts,), why, hint)
    if bank.expert_parameters:
        stacked = sum(named[name].numel() for name in bank.expert_parameters)
        why = f"expert_parameters have {stacked:,} values, parameters_per_expert {sum(own):,}"
        require(stacked == sum(own), why, "override parameters_per_expert if some are shared")


def check_layer(subject: BankUnderTest) -> None:
    """A layer with the bank trains, also under autocast: finite, in the dtype of its input."""
    bank = subject.build().float().train()
    layer = MoE(routers.build("topk", subject.dim, subject.num_experts), bank)
    x = subject.rows(bank, 6).detach().float()
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            out, _ = layer(x)
        when = "under autocast" if enabled else "in float32"
        require(out.dtype == x.dtype, f"{when} the result is {out.dtype}", "keep dtypes of rows")
        slopes = [slope for slope in _gradients(out, layer.parameters()) if slope is not None]
        finite = out.isfinite().all() and all(slope.isfinite().all() for slope in slopes)
        require(finite, f"{when} results or gradients are not finite", "divide by no 0")


def _routed(router: str, bank: Bank, x: Tensor) -> Routing:
    with seeded(1):
        built = routers.build(router, bank.dim, bank.num_experts).double().eval()
    routing: Routing = built(Items(bank.pool(x)))
    return routing


def _gradients(y: Tensor, inputs: Sequence[Tensor] | Iterator[nn.Parameter]) -> list[Tensor | None]:
    """Gradients of a weighted sum of ``y``; None for inputs that play no part."""
    inputs = list(inputs)
    if not (y.requires_grad and inputs):
        return [None] * len(inputs)
    probe = torch.linspace(-1, 2, y.numel(), dtype=y.dtype).view_as(y)
    loss = (y * probe).sum()
    return list(torch.autograd.grad(loss, inputs, retain_graph=True, allow_unused=True))


def _near(one: Tensor, other: Tensor) -> bool:
    return torch.allclose(one.double(), other.double(), rtol=TOLERANCE, atol=TOLERANCE)


def _require_same(subject: BankUnderTest, one: Bank, other: Bank, what: str, hint: str) -> None:
    for _, rows, load in subject.loads(one):
        require(_near(one(rows, load), other(rows, load)), f"{what} gives other results", hint)


def _require_counts(name: str, values: tuple[int, ...], num_experts: int) -> None:
    integers = all(isinstance(value, int) and value >= 0 for value in values)
    why = f"{name} returns {values}"
    require(integers and len(values) == num_experts, why, f"return E={num_experts} integers >= 0")
