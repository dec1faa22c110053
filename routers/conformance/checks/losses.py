"""Checks of losses against slow sums over single assignments."""

import math
from collections.abc import Callable

import torch

from ...routing import Routing, Slots
from ..harness import RouterUnderTest, declared, loss_values
from ..results import require, seeded

DRAWS = 200


def check_loss_values(subject: RouterUnderTest) -> None:
    """Losses count every choice, before drops, and each item once."""
    for _, routing in subject.routings():
        if not int(routing.num_real) or not int(routing.requested_load.sum()):
            continue
        found, limited = loss_values(routing), loss_values(routing.limit(0.5))
        for name, value in found.items():
            slow = _SLOW[name](routing) if name in _SLOW else value.item()
            _require_close(name, value.item(), slow, "but its definition gives")
            _require_close(name, limited[name].item(), slow, "but before drops it was")


def _require_close(name: str, value: float, expected: float, what: str) -> None:
    require(
        abs(value - expected) <= 1e-6 * max(1.0, abs(expected)),
        f"losses.{name} is {value:.6g}, {what} {expected:.6g}",
        "count all K choices and not only the first, count before drops, average over real "
        "items, and read probs as given; or give probs, logits and weights that are consistent",
    )


def _switch(routing: Routing) -> float:
    """``E sum_e f_e P_e``."""
    asked = routing.requested_load.tolist()
    shares = [count / sum(asked) for count in asked]
    rows = _real_probs(routing)
    means = [sum(row[e] for row in rows) / len(rows) for e in range(routing.num_experts)]
    return len(asked) * sum(f * p for f, p in zip(shares, means, strict=True))


def _importance(routing: Routing) -> float:
    """Population variance over squared mean of the gate mass, before drops."""
    routing = routing if routing.before is None else routing.before
    mass = [0.0] * routing.num_experts
    if isinstance(routing.execution, Slots):
        for row in _real_probs(routing):
            mass = [a + b for a, b in zip(mass, row, strict=True)]
    else:
        for expert, weight in zip(routing.expert.tolist(), routing.mass.tolist(), strict=True):
            mass[expert] += weight
    mean = sum(mass) / len(mass)
    return sum((m - mean) ** 2 for m in mass) / len(mass) / mean**2 if mean else 0.0


def _z(routing: Routing) -> float:
    """``mean_i logsumexp(h_i)^2``, the mean over gates or heads."""
    if routing.logits is None or "log_partition" in routing.extras:
        assert routing.log_partition is not None
        scales = routing.unpadded(routing.log_partition).flatten().tolist()
    else:
        scales = [
            max(row) + math.log(sum(math.exp(h - max(row)) for h in row))
            for row in routing.unpadded(routing.logits).tolist()
        ]
    return sum(scale**2 for scale in scales) / len(scales)


def _entropy(routing: Routing) -> float:
    """``mean_i -sum_e p_ie log p_ie``."""
    rows = _real_probs(routing)
    return sum(-p * math.log(p) for row in rows for p in row if p > 0) / len(rows)


def _real_probs(routing: Routing) -> list[list[float]]:
    rows: list[list[float]] = routing.unpadded(routing.to_dense(routing.probs)).tolist()
    return rows


_SLOW: dict[str, Callable[[Routing], float]] = {
    "switch": _switch,
    "importance": _importance,
    "z": _z,
    "entropy": _entropy,
}


@declared("expects_load")
def check_expected_load(subject: RouterUnderTest) -> None:
    """Trait ``expects_load``: the mean load over many draws of noise is the expected load."""
    router = subject.router().double().train()
    items = subject.items(6, 2)
    with seeded(1), torch.no_grad():
        routings = [router(items) for _ in range(DRAWS)]
    expected = [r.expected_load for r in routings if r.expected_load is not None]
    gap = torch.stack(expected) - torch.stack([r.requested_load for r in routings])
    error = gap.std(0) / DRAWS**0.5
    allowed = 5 * error + 0.1 * routings[0].requested_load.double().mean()
    worst = (gap.mean(0).abs() - allowed).argmax().item()
    require(
        (gap.mean(0).abs() <= allowed).all(),
        f"over {DRAWS} draws the expected load of expert {worst} differs from its mean load by "
        f"{gap[:, worst].mean():+.2f} items",
        "an expert's threshold is the K-th largest of the other scores: the (K+1)-th of all where "
        "it is chosen, else the K-th; and divide by the noise's standard deviation",
    )
