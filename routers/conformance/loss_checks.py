"""Checks of an auxiliary loss by itself, on routings of every shape."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd.gradcheck import GradcheckError, gradcheck

from ..losses import Loss, inputs_of, levels_of, loss_of
from ..routing import Routing
from .results import require, require_summary
from .samples import GROUPS, even_logits, layer_of, padding, random_logits, routing_of

#: Losses are sums of a few numbers in float64.
TOLERANCE = 1e-9


@dataclass(frozen=True)
class LossUnderTest:
    """A loss with its options."""

    loss: Loss
    options: dict[str, Any]

    def levels(self) -> tuple[str, ...]:
        """The levels to check; empty if the loss has none."""
        given = self.options.get("level")
        return levels_of(self.loss) if given is None else (given,)

    def each(self) -> Iterator[tuple[str, Callable[[Routing], Tensor]]]:
        """The loss at each of its levels, with words for a report."""
        if not self.levels():
            yield "the loss", partial(self._value, self.options)
        for level in self.levels():
            yield (
                f"at level {level} the loss",
                partial(self._value, {**self.options, "level": level}),
            )

    def _value(self, options: dict[str, Any], routing: Routing) -> Tensor:
        """The loss of a sample, with a layer if it reads one."""
        return loss_of(self.loss, routing, layer_of(routing), **options)


def check_docstring(subject: LossUnderTest) -> None:
    """The docstring has a one-line summary."""
    require_summary(subject.loss)


def check_finite_scalar(subject: LossUnderTest) -> None:
    """A finite scalar with a finite gradient: also if all is padding, collapsed or even."""
    collapsed = random_logits().detach()
    collapsed[:, 0] += 80
    cases = {
        "on random scores": (random_logits(), None),
        "if all items choose one expert": (collapsed.requires_grad_(), None),
        "if all scores are equal": (torch.zeros_like(collapsed).requires_grad_(), None),
        "if all items are padding": (random_logits(), torch.zeros(len(collapsed)).bool()),
    }
    for what, loss in subject.each():
        for when, (logits, mask) in cases.items():
            value = loss(routing_of(logits, mask, GROUPS))
            shown = f"{what} is {value.tolist()} {when}"
            hint = "average over the items that are not padding; if there are none, return 0"
            require(value.dim() == 0, shown, "return a scalar: take a sum or a mean")
            require(value.isfinite(), shown, hint)
            if value.requires_grad:
                (slope,) = torch.autograd.grad(value, logits, materialize_grads=True)
                hint = "clamp before sqrt, log and division: cv_squared and entropies do"
                require(slope.isfinite().all(), f"{what} has no finite gradient {when}", hint)


def check_differentiable(subject: LossUnderTest) -> None:
    """A gradient reaches scores or outputs, and is the one that finite differences show."""
    logits = random_logits()
    sample = routing_of(logits, padding(), GROUPS)
    assert sample.outputs is not None
    outputs = sample.outputs.detach().requires_grad_()
    for what, loss in subject.each():
        value = _of_sample(loss, outputs, logits)
        hint = "compute it from probs, logits, importance or weight: counts have no gradient"
        require(value.requires_grad, f"{what} has no gradient", hint)
        slopes = torch.autograd.grad(value, (logits, outputs), materialize_grads=True)
        require(any(each.any() for each in slopes), f"{what} has the gradient 0 everywhere", hint)
        of_logits, of_outputs = slopes
        if of_logits.any():
            _require_exact(what, partial(_of_sample, loss, outputs.detach()), logits)
        if of_outputs.any():
            _require_exact(what, partial(_of_sample, loss, logits=logits.detach()), outputs)


def _of_sample(loss: Callable[[Routing], Tensor], outputs: Tensor, logits: Tensor) -> Tensor:
    """The loss of a padded sample with these outputs of experts."""
    return loss(replace(routing_of(logits, padding(), GROUPS), outputs=outputs))


def _require_exact(what: str, loss: Callable[[Tensor], Tensor], values: Tensor) -> None:
    try:
        gradcheck(loss, values)
    except GradcheckError as error:
        why = f"{what} has another gradient than finite differences: {str(error).split(',')[0]}"
        require(False, why, "detach only counts, which do not change with the scores")


def check_padding(subject: LossUnderTest) -> None:
    """Items that are padding do not count, whatever their scores are."""
    mask, logits = padding(), random_logits()
    noise = torch.where(mask.unsqueeze(1), logits, 9 * random_logits(seed=1)).detach()
    hint = "read routing.unpadded(values) and divide by routing.num_real, or use expert_statistics"
    for what, loss in subject.each():
        value = loss(routing_of(logits, mask, GROUPS)).item()
        other = loss(routing_of(noise, mask, GROUPS)).item()
        _require_equal(value, other, f"{what} changes with the scores of padding", hint)
        padded, cut = loss(routing_of(logits, mask)).item(), loss(routing_of(logits[mask])).item()
        _require_equal(padded, cut, f"{what} changes if padding is removed", hint)


def check_experts_alike(subject: LossUnderTest) -> None:
    """Another order of the experts gives the same value."""
    logits = random_logits()
    hint = "treat all experts alike: no expert has a special role"
    for what, loss in subject.each():
        value = loss(routing_of(logits, groups=GROUPS)).item()
        other = loss(routing_of(logits.flip(1), groups=GROUPS)).item()
        _require_equal(value, other, f"{what} changes if the experts are reversed", hint)


def check_items_alike(subject: LossUnderTest) -> None:
    """Another order of the items of a group gives the same value."""
    logits = random_logits()
    flipped = logits.view(GROUPS, -1, logits.shape[1]).flip(1).flatten(0, 1)
    hint = "sum or average over items"
    for what, loss in subject.each():
        value = loss(routing_of(logits, groups=GROUPS)).item()
        other = loss(routing_of(flipped, groups=GROUPS)).item()
        _require_equal(value, other, f"{what} changes if the items of a group are reversed", hint)


def check_before_drops(subject: LossUnderTest) -> str | None:
    """Assignments that capacity drops still count."""
    if "outputs" in inputs_of(subject.loss):
        return "reads outputs, which dropped assignments do not have"
    hint = "read requested_load and importance, which count before drops, not load or weight"
    for what, loss in subject.each():
        routing = routing_of(random_logits(), groups=GROUPS)
        value, other = loss(routing).item(), loss(routing.limit(0.5)).item()
        _require_equal(value, other, f"{what} changes if capacity drops assignments", hint)
    return None


def check_routing_untouched(subject: LossUnderTest) -> None:
    """The loss changes nothing in the routing, and a second call gives the same value."""
    hint = "write no value in place, and keep no state between calls"
    for what, loss in subject.each():
        routing = routing_of(random_logits().detach(), groups=GROUPS)
        tensors = {
            field.name: value
            for field in fields(routing)
            if isinstance(value := getattr(routing, field.name), Tensor)
        }
        before = {name: value.clone() for name, value in tensors.items()}
        value, second = loss(routing).item(), loss(routing).item()
        written = [name for name in tensors if not torch.equal(tensors[name], before[name])]
        require(not written, f"{what} changes routing.{', routing.'.join(written)}", hint)
        _require_equal(value, second, f"{what} is another at its second call", hint)


def check_least_at_balance(subject: LossUnderTest) -> str | None:
    """A loss with levels compares experts: it is least at balance, and grows with collapse."""
    if not subject.levels():
        return "no levels: does not compare experts"
    even = even_logits().detach()
    pull = torch.zeros_like(even)
    pull[:, :2] = torch.tensor([2.0, 1.0], dtype=pull.dtype)
    hint = "minimize the distance of loads or probabilities from the even share, not the evenness"
    for what, loss in subject.each():
        values = [loss(routing_of(even + scale * pull)).item() for scale in (0.0, 0.5, 2.0)]
        shown = ", ".join(f"{value:.4g}" for value in values)
        grows = values[0] < values[1] < values[2]
        require(grows, f"{what} is {shown} at balance, less balance and collapse", hint)
    return None


def check_levels_agree(subject: LossUnderTest) -> str | None:
    """One group is the batch, and a batch by itself is a whole step."""
    if len(subject.levels()) < 2:
        return "no levels"
    routing = routing_of(random_logits())
    values = {what: loss(routing).item() for what, loss in subject.each()}
    first, *others = values
    for other in others:
        why = f"of one group that is a whole step, {other} differs from that {first}"
        _require_equal(values[first], values[other], why, "use expert_statistics(routing, level)")
    return None


def _require_equal(value: float, other: float, why: str, hint: str) -> None:
    near = abs(value - other) <= TOLERANCE * max(1.0, abs(value))
    require(near, f"{why}: {value:.6g} and {other:.6g}", hint)
