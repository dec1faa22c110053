"""Experts of several architectures in one layer."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from routers import ConfigError, OptionError
from routers.plugins import arguments_of, rebuilt

from ._bank import EXPERTS, Bank

#: ``"mlp"``, or ``{"name": "mlp", "count": 6, "hidden": 64}``.
Part = str | Mapping[str, Any]


@EXPERTS.register("mixed")
class Mixed(Bank):
    """Experts of several architectures in one layer.

    The first experts are of one architecture, the next of another, and so on.

    Source: heterogeneous experts, as in MoE++, 2410.07348 (working and
    zero-computation experts), and AdaMoE, 2406.13233.

    Args:
        parts: names of experts, or mappings ``{name, count, **options}``. Parts without a
            count share the remaining experts evenly, earlier parts one more if these do not
            divide. All parts take the same rows.

    >>> bank = Mixed(4, 5, parts=["mlp", {"name": "null", "count": 2, "kinds": ["copy"]}])
    >>> bank.flops((4,))
    (256, 256, 256, 0, 0)
    """

    row_axes: tuple[str, ...] = ()  # those of its parts

    def __init__(
        self, dim: int, num_experts: int, *, parts: Sequence[Part] = ("mlp", "glu")
    ) -> None:
        super().__init__(dim, num_experts)
        options = [_options(part) for part in parts]
        self.counts = _share_out(num_experts, [entry.pop("count", None) for entry in options])
        built: list[Bank] = [
            EXPERTS.build(entry.pop("name"), dim, count, **entry)
            for entry, count in zip(options, self.counts, strict=True)
        ]
        if len({bank.row_axes for bank in built}) > 1:
            rows = ", ".join(f"({', '.join(bank.row_axes)})" for bank in built)
            raise ConfigError(
                f"expert.parts: rows of the parts differ: {rows}; mix parts with the same rows"
            )
        self.row_axes = built[0].row_axes
        self.parts = nn.ModuleList(built)

    def forward(self, rows: Tensor, load: Tensor, mask: Tensor | None = None) -> Tensor:
        loads = torch.split(load, self.counts)
        ends = [int(part.sum()) for part in loads]
        inputs = torch.split(rows, ends)
        masks = [None] * len(ends) if mask is None else torch.split(mask, ends)
        # a part without rows also runs, so that its parameters get a gradient
        each = zip(self.parts, inputs, loads, masks, strict=True)
        return torch.cat([part(own, load_, mask_) for part, own, load_, mask_ in each])

    def flops(self, row_shape: Sequence[int]) -> tuple[int, ...]:
        return tuple(n for part in self._banks() for n in part.flops(row_shape))

    def parameters_per_expert(self) -> tuple[int, ...]:
        return tuple(n for part in self._banks() for n in part.parameters_per_expert())

    def take_experts(self, index: Sequence[int]) -> "Mixed":
        """Experts of a part stay together; the option ``parts`` has the new counts."""
        owner = [part for part, count in enumerate(self.counts) for _ in range(count)]
        owners = [owner[expert] for expert in index]
        if owners != sorted(owners) or len({*owners}) < len(self.counts):
            raise ConfigError(
                f"expert.parts: a selection of experts {list(index)} keeps no expert of a part, or "
                f"changes their order; the parts have {', '.join(map(str, self.counts))} experts: "
                "keep at least one of each"
            )
        banks, written = list[Bank](), list[Part]()
        for number, (bank, part) in enumerate(zip(self._banks(), self._given(), strict=True)):
            first = sum(self.counts[:number])
            taken = bank.take_experts([e - first for e in index if owner[e] == number])
            before, now = arguments_of(bank), arguments_of(taken)
            changed = {o: v for o, v in now.items() if o != "num_experts" and v != before[o]}
            banks.append(taken)
            written.append({**_options(part), **changed, "count": taken.num_experts})
        same = [bank.num_experts for bank in banks] == self.counts
        parts = self._given() if same else written
        new = rebuilt(self, num_experts=len(index), parts=parts).train(self.training)
        new.parts = nn.ModuleList(banks).train(self.training)
        return new

    def parameters_of(self, expert: int) -> Iterator[Tensor]:
        owners = [(bank, own) for bank in self._banks() for own in range(bank.num_experts)]
        bank, own = owners[expert]
        return bank.parameters_of(own)

    def _given(self) -> Sequence[Part]:
        parts: Sequence[Part] = arguments_of(self)["parts"]
        return parts

    def _banks(self) -> list[Bank]:
        return [part for part in self.parts if isinstance(part, Bank)]


def _options(part: Part) -> dict[str, Any]:
    """A part as its name, its count and its options."""
    options = {"name": part} if isinstance(part, str) else part
    if not isinstance(options, Mapping) or "name" not in options:
        raise ConfigError(
            f"expert.parts: {part} is neither an expert's name nor {{name: mlp, count: 2, ...}}; "
            'quote names with another meaning in YAML, as in ["null"]'
        )
    return dict(options)


def _share_out(num_experts: int, given: Sequence[int | None]) -> list[int]:
    """The number of experts of each part; they sum to ``E``.

    >>> _share_out(8, [None, 3, None])
    [3, 3, 2]
    """
    if not given:
        raise OptionError("parts", [], "the name of at least one expert")
    for count in given:
        if count is not None and (type(count) is not int or count < 1):
            raise OptionError("parts.count", count, "an integer >= 1, or none")
    open_parts = [i for i, count in enumerate(given) if count is None]
    rest = num_experts - sum(count or 0 for count in given)
    fits = rest >= len(open_parts) if open_parts else rest == 0
    if not fits:
        shown = ", ".join("the rest" if count is None else str(count) for count in given)
        raise ConfigError(
            f"expert.parts: counts {shown} do not add up to num_experts={num_experts}; every part "
            "needs at least one expert, among moe.num_experts and among moe.shared alike"
        )
    counts = [count or 0 for count in given]
    for rank, i in enumerate(open_parts):
        counts[i] = rest // len(open_parts) + (rank < rest % len(open_parts))
    return counts
