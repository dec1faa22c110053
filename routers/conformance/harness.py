"""Tools of the conformance checks: a router under test, items to route, routes to compare."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import wraps

import torch
from torch import Tensor, nn

from .._router import Router
from ..losses import LOSSES, levels_of, loss_of
from ..metrics import LayerMetrics
from ..plugins.errors import ConfigError
from ..routing import Combine, Items, Routing, Slots
from .results import require, seeded

#: ``(dim, num_experts) -> Router``.
Factory = Callable[..., Router]

#: ``(D, E)`` to test; a router may refuse some with ``ConfigError``.
SIZES = [(7, 5), (9, 16), (8, 4), (6, 6), (5, 8)]

IDS = 50  # distinct content ids

#: Types of attributes whose text states their values.
PLAIN = (bool, int, float, str, list, tuple, set, dict)


@dataclass(frozen=True)
class RouterUnderTest:
    """A router under test, in one size."""

    factory: Factory
    dim: int
    num_experts: int

    def build(self, seed: int = 0) -> Router:
        """A fresh router, as constructed."""
        with seeded(seed):
            return self.factory(self.dim, self.num_experts)

    def router(self, seed: int = 0) -> Router:
        """A fresh router that has seen a training set."""
        router = self.build(seed)
        generator = torch.Generator().manual_seed(0)
        ids = torch.randint(IDS, (200,), generator=generator)
        router.prepare(ids, torch.randn(200, 3, generator=generator))
        return router

    def items(self, length: int, groups: int = 1, seed: int = 0) -> Items:
        """``length * groups`` random items with all that a router may read, in float64."""
        generator = torch.Generator().manual_seed(seed)
        n = length * groups
        items = Items(
            torch.randn(n, self.dim, generator=generator, dtype=torch.float64),
            groups=groups,
            ids=torch.randint(IDS, (n,), generator=generator),
            task=torch.randint(2, (n,), generator=generator),
        )
        same_experts = torch.Generator().manual_seed(0)
        sizes = self.num_experts, self.dim, 3
        return replace(
            items,
            recorded=random_routes(items, self.num_experts, generator),
            earlier=(random_routes(items, self.num_experts, generator),),
            projections=torch.randn(sizes, generator=same_experts, dtype=torch.float64),
        )

    def batches(self) -> Iterator[Items]:
        """Batches of several shapes, each without and with padding."""
        for seed, (length, groups) in enumerate([(1, 1), (7, 1), (5, 3)]):
            yield from self.padded(length, groups, seed)

    def padded(self, length: int, groups: int, seed: int = 0) -> Iterator[Items]:
        """Random items, without and with padding."""
        items = self.items(length, groups, seed)
        yield items
        yield replace(items, mask=random_mask(items))

    def routings(self, batches: Iterable[Items] = ()) -> Iterator[tuple[Items, Routing]]:
        """Every batch with its routing by a fresh router, in training and in eval."""
        for items in batches or self.batches():
            yield items, self.in_training(items)
            yield items, self.in_eval(items)

    def altered(self, items: Items, keep: Tensor) -> Items:
        """``items`` with other content where ``keep`` is False; masks stay."""
        return where(keep, items, self.items(items.group_length, items.groups, seed=99))

    def in_training(self, items: Items) -> Routing:
        """``items`` routed by a fresh router in training, noise drawn from a fixed seed."""
        return routed(self.router().double().train(), items)

    def in_eval(self, items: Items) -> Routing:
        """``items`` routed by a fresh router in eval."""
        return self.router().double().eval()(items)


#: Raises ``CheckError``; returns why it did not apply, or None.
Check = Callable[[RouterUnderTest], str | None]


def accepted(factory: Factory, number: int = len(SIZES)) -> tuple[list[RouterUnderTest], list[str]]:
    """A router in the first ``number`` sizes that it accepts, and its errors for those before."""
    found: list[RouterUnderTest] = []
    refusals: list[str] = []
    for dim, num_experts in SIZES:
        if len(found) == number:
            break
        subject = RouterUnderTest(factory, dim, num_experts)
        try:
            subject.build()
        except ConfigError as refusal:
            refusals.append(str(refusal))
        else:
            found.append(subject)
    return found, refusals


def subjects(factory: Factory) -> list[RouterUnderTest]:
    """The first two sizes that the factory accepts."""
    found, refusals = accepted(factory, 2)
    why = f"the router refuses every num_experts of {[e for _, e in SIZES]}: {'; '.join(refusals)}"
    hint = "choose default options that work for at least one of these"
    require(found, why, hint)
    return found


def declared(*traits: str) -> Callable[[Callable[[RouterUnderTest], None]], Check]:
    """Decorate a check of routers that declare all these traits."""

    def decorate(check: Callable[[RouterUnderTest], None]) -> Check:
        @wraps(check)
        def checked(subject: RouterUnderTest) -> str | None:
            held = subject.router().traits
            if not all(getattr(held, trait) for trait in traits):
                return "not declared"
            check(subject)
            return None

        return checked

    return decorate


# ---- items ----


def random_mask(items: Items) -> Tensor:
    """``(N,)`` bool, about a third False."""
    return torch.rand(len(items), generator=torch.Generator().manual_seed(0)) > 0.33


def random_routes(items: Items, num_experts: int, generator: torch.Generator) -> Routing:
    """Two random experts for every item, or the only one, with weights that sum to one."""
    draws = torch.rand(len(items), num_experts, generator=generator, dtype=items.x.dtype)
    weight, expert = draws.topk(min(2, num_experts), -1)
    return Routing.by_item(items, expert, weight / weight.sum(-1, keepdim=True), num_experts)


def where(keep: Tensor, old: Items, new: Items) -> Items:
    """``old`` where ``keep`` is True, the content of ``new`` elsewhere; masks stay."""
    x = torch.where(keep.unsqueeze(1), old.x, new.x)
    ids, task = (torch.where(keep, getattr(old, n), getattr(new, n)) for n in ("ids", "task"))
    recorded = old.recorded
    if recorded is not None and new.recorded is not None:
        recorded = joined(recorded, new.recorded, keep)
    pairs = zip(old.earlier, new.earlier, strict=True)
    earlier = tuple(joined(one, other, keep) for one, other in pairs)
    return replace(old, x=x, ids=ids, task=task, recorded=recorded, earlier=earlier)


def joined(one: Routing, other: Routing, keep: Tensor) -> Routing:
    """The routes of ``one`` where ``keep`` ``(N,)`` bool is True, those of ``other`` elsewhere."""
    of_one, of_other = keep[one.item], ~keep[other.item]
    return Routing(
        torch.cat([one.item[of_one], other.item[of_other]]),
        torch.cat([one.expert[of_one], other.expert[of_other]]),
        torch.cat([one.weight[of_one], other.weight[of_other]]),
        one.num_items,
        one.num_experts,
        one.groups,
        experts_per_item=one.experts_per_item,
    )


def pick(items: Items, index: Tensor, groups: int) -> Items:
    """The items at ``index``, all different, in that order, as ``groups`` groups."""
    mask, ids, task = (
        None if part is None else part[index] for part in (items.mask, items.ids, items.task)
    )
    recorded = None if items.recorded is None else picked_routes(items.recorded, index, groups)
    earlier = tuple(picked_routes(each, index, groups) for each in items.earlier)
    return Items(items.x[index], groups, mask, ids, task, recorded, earlier, items.projections)


def picked_routes(routing: Routing, index: Tensor, groups: int) -> Routing:
    """The routes of the items at ``index``, as ``pick`` orders them."""
    place = torch.full((routing.num_items,), -1)
    place[index] = torch.arange(len(index))
    kept = place[routing.item] >= 0
    return Routing(
        place[routing.item[kept]],
        routing.expert[kept],
        routing.weight[kept],
        len(index),
        routing.num_experts,
        groups,
        experts_per_item=routing.experts_per_item,
    )


# ---- routings and readings of them ----


def routed(router: Router, items: Items) -> Routing:
    """``items`` routed with noise from a fixed seed."""
    with seeded(1):
        return router(items)


def routes(routing: Routing) -> Tensor:
    """Experts and weights of each item, one row per item, ``(N, ...)``."""
    if isinstance(routing.execution, Slots):
        dispatch, combine = routing.execution.dispatch, routing.execution.combine
        per_task = combine.unbind() if combine.dim() > dispatch.dim() else [combine]
        return torch.cat([dispatch, *per_task], -1).flatten(0, 1)
    grid = weight_grid(routing).detach().flatten(1)
    return torch.cat([routing.assigned_mask.to(grid.dtype), grid], 1)


def weight_grid(routing: Routing) -> Tensor:
    """The weights of each item, experts and tasks, ``(N, E, T)``; 0 for no assignment."""
    weight = routing.weight.unsqueeze(-1).flatten(1)
    grid = weight.new_zeros(routing.num_items, routing.num_experts, weight.shape[1])
    return grid.index_put((routing.item, routing.expert), weight, accumulate=True)


def rows_of(routing: Routing) -> int:
    """The number of rows that assignments refer to: items or slots."""
    slots = routing.execution
    return slots.num_slots if isinstance(slots, Slots) else routing.num_items


def same(one: Tensor, other: Tensor, tolerance: float = 1e-9) -> bool:
    """Whether two tensors have equal shapes and, within ``tolerance``, equal values."""
    return one.shape == other.shape and torch.allclose(one, other, rtol=tolerance, atol=tolerance)


def loss_values(routing: Routing) -> dict[str, Tensor]:
    """Every auxiliary loss, at each of its levels, that the routing has the fields for."""
    found = {}
    for name, loss in LOSSES.items():
        default = LOSSES.options(name).get("level")
        others = [level for level in levels_of(loss) if level != default]
        calls = {f"{name} at level {level}": {"level": level} for level in others}
        for label, options in {name: {}, **calls}.items():
            with suppress(ConfigError):
                found[label] = loss_of(loss, routing, None, **options)
    return found


def numbers_of(routing: Routing) -> dict[str, Tensor]:
    """Every loss and metric, the loads, and the counts if there are any."""
    metrics = LayerMetrics(routing.num_experts)
    metrics.update(routing)
    numbers = metrics.compute() | {
        **{f"losses.{name}": value.detach() for name, value in loss_values(routing).items()},
        "requested_load": routing.requested_load,
        "importance": routing.importance.detach(),
        "counts": routing.extras.get("counts"),
    }
    return {n: torch.as_tensor(v).double() for n, v in numbers.items() if v is not None}


def require_finite(routing: Routing, when: str, hint: str) -> None:
    """Raise ``CheckError`` unless all numbers of a routing are finite."""
    numbers = numbers_of(routing) | {"weight": routing.weight, "probs": routing.probs}
    for name, value in numbers.items():
        require(value.isfinite().all(), f"{name} is {value.tolist()} {when}", hint)


def toy_mixture(routing: Routing, x: Tensor) -> Tensor:
    """The output ``(N, T, D)`` of fixed linear experts.

    ``T`` is 1 unless weights are ``(A, T)``, or slots have a ``combine`` for each task.
    """
    generator = torch.Generator().manual_seed(7)
    dim = x.shape[1]
    experts = torch.randn(routing.num_experts, dim, dim, generator=generator, dtype=x.dtype)
    execution, rows = routing.execution, x
    if isinstance(execution, Slots):
        grouped = x.view(*execution.dispatch.shape[:2], dim)
        rows = torch.einsum("gls,gld->gsd", execution.dispatch, grouped).flatten(0, 1)
    weight = routing.weight.unsqueeze(-1).flatten(1)  # (A, T)
    each = torch.einsum("ad,adf->af", rows[routing.item], experts[routing.expert])
    y = rows.new_zeros(len(rows), weight.shape[1], dim)
    y = y.index_add(0, routing.item, weight.unsqueeze(2) * each.unsqueeze(1))
    if isinstance(execution, Combine):
        grid = weight_grid(routing)
        outputs = torch.einsum("nd,edf->nef", rows, experts) * (grid.detach().sum(-1, True) > 0)
        return torch.stack([execution.combiner.combine(outputs, w) for w in grid.unbind(-1)], 1)
    if not isinstance(execution, Slots):
        return y
    combine = execution.combine  # (G, L, S) or (T, G, L, S)
    combine = combine if combine.dim() > execution.dispatch.dim() else combine.unsqueeze(0)
    slots = y.view(*execution.dispatch.shape[::2], dim)
    return torch.einsum("tgls,gsd->gltd", combine, slots).flatten(0, 1)


@dataclass(frozen=True)
class ToyLayer:
    """A router, and experts with the projections of the items, as losses read a layer."""

    router: Router
    items: Items

    @property
    def bank(self) -> "ToyLayer":
        return self

    def projections(self) -> Tensor | None:
        return self.items.projections


def state_of(router: Router) -> dict[str, Tensor]:
    """A copy of all parameters and buffers, those outside the state dict included."""
    return {n: t.detach().clone() for n, t in [*router.named_parameters(), *router.named_buffers()]}


def attributes_of(router: Router) -> dict[str, str]:
    """Values of plain attributes of a router and its submodules, as text, by dotted name.

    Numbers, text, and lists, tuples, sets and dicts of them; not what torch keeps for itself.
    """
    own = vars(nn.Module()).keys()
    return {
        f"{path}.{name}".lstrip("."): repr(value)
        for path, module in router.named_modules()
        for name, value in vars(module).items()
        if name not in own and isinstance(value, PLAIN)
    }


def changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> list[str]:
    """Names of tensors that differ, or that only one side has."""
    both = before.keys() & after.keys()
    differ = {name for name in both if not torch.equal(before[name], after[name])}
    return sorted(differ | (before.keys() ^ after.keys()))
