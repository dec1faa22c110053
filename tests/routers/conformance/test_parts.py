"""The kits of gates, losses and metrics: ours pass, and each check catches a faulty part."""

import re

import pytest
import torch

from routers import LOSSES, METRICS, CheckError, OptionError, RoutingMetric
from routers.__main__ import main
from routers.conformance import check_gate, check_loss, check_metric, check_name
from routers.conformance.harness import subjects
from routers.conformance.parts import KINDS
from routers.conformance.suite import SCORE_CHECKS
from routers.gates import GATES
from routers.losses import Level, cv_squared, expert_statistics


@pytest.mark.parametrize("name", LOSSES.available())
def test_every_loss(name):
    check_loss(name)


@pytest.mark.parametrize("name", METRICS.available())
def test_every_metric(name):
    check_metric(name)


@pytest.mark.usefixtures("one_size")
def test_a_gate_is_checked_in_a_router(monkeypatch):
    monkeypatch.setattr("routers.conformance.parts.SCORE_CHECKS", SCORE_CHECKS[:3])
    check_gate("cosine", project=0)


class AtMostEight(GATES["linear"]):
    """Scores of the first eight outputs."""

    def __init__(self, dim, outputs):
        super().__init__(dim, min(outputs, 8))


class RefusesMore(GATES["linear"]):
    """Scores of seven outputs or fewer."""

    def __init__(self, dim, outputs):
        if outputs > 7:
            raise OptionError("outputs", outputs, "at most 7")
        super().__init__(dim, outputs)


@pytest.mark.usefixtures("plugin")
@pytest.mark.parametrize("gate", [AtMostEight, RefusesMore])
def test_a_gate_is_checked_in_routers_that_use_it_in_other_ways(monkeypatch, gate):
    """Five experts need five scores; of two tasks, or with two slots each, they need ten."""
    monkeypatch.setattr("routers.conformance.parts.run_checks", lambda *_, **__: [])
    monkeypatch.setattr("routers.conformance.parts.SCORE_CHECKS", SCORE_CHECKS[:3])
    monkeypatch.setattr("routers.conformance.suite.subjects", lambda build: subjects(build)[:1])
    GATES.register("few")(gate)
    _, *results = KINDS["gate"]("few")
    broken = {result.check for result in results if result.failure}
    notes = {result.check: result.note for result in results if result.note}
    if gate is AtMostEight:
        assert broken == {"in_hierarchical", "in_task_gate", "in_soft_moe"}
    else:
        assert (broken, set(notes)) == (set(), {"in_task_gate", "in_soft_moe"})
        assert all("is invalid: expected at most 7" in note for note in notes.values())
    assert "in_expert_choice" in {result.check for result in results}


def mass(routing):
    return routing.unpadded(routing.probs).sum(0) / routing.num_real.clamp_min(1)


def undocumented(routing):
    return cv_squared(mass(routing))


def vector(routing):
    """Shares."""
    return mass(routing)


def infinite(routing):
    """Padding alone divides 0 by 0."""
    return routing.unpadded(routing.probs).square().sum(1).mean()


def root(routing):
    """The square root of 0 has no slope."""
    return cv_squared(mass(routing)).sqrt()


def counts(routing):
    """No gradient."""
    return cv_squared(routing.requested_load.double())


def half_a_gradient(routing):
    """A gradient that is cut."""
    return (mass(routing) * mass(routing).detach()).sum()


def padded(routing):
    """All items."""
    return cv_squared(routing.probs.mean(0))


def favourite(routing):
    """The first expert."""
    return mass(routing)[0].square()


def first_item(routing):
    """The first of each group."""
    return routing.unpadded(routing.probs[:: routing.num_items // routing.groups]).square().mean()


def dropped(routing):
    """Assignments that are left."""
    return mass(routing).square().sum() * len(routing.item) / max(int(routing.num_real), 1)


CALLS = []


def remembering(routing):
    """Grows with every call."""
    CALLS.append(1)
    return cv_squared(mass(routing)) + len(CALLS)


def in_place(routing):
    """Writes."""
    if not routing.weight.requires_grad:
        routing.weight.mul_(2)
    return cv_squared(mass(routing))


def evenness(routing, level: Level = "batch"):
    """Largest at balance."""
    return -cv_squared(expert_statistics(routing, level).probs).sum()


def levels_apart(routing, level: Level = "batch"):
    """A level with a separate number."""
    even = cv_squared(expert_statistics(routing, level).probs)
    return even.sum() / len(even) + (level == "step")


FAULTY_LOSSES = {
    "docstring": [(undocumented, "there is no docstring")],
    "finite_scalar": [(vector, r"the loss is \["), (infinite, "nan if all items are padding")],
    "differentiable": [(counts, "has no gradient"), (half_a_gradient, "finite differences")],
    "padding": [(padded, "scores of padding")],
    "experts_alike": [(favourite, "experts are reversed")],
    "items_alike": [(first_item, "items of a group are reversed")],
    "before_drops": [(dropped, "capacity drops")],
    "routing_untouched": [(remembering, "second call"), (in_place, r"changes routing\.weight")],
    "least_at_balance": [(evenness, "at level batch .* at balance")],
    "levels_agree": [(levels_apart, "at level step")],
}


@pytest.fixture
def plugin(monkeypatch):
    """Registries that forget what a test registers."""
    for registry in (GATES, LOSSES, METRICS):
        registry.available()
        monkeypatch.setattr(registry, "_parts", dict(registry._parts))


@pytest.mark.usefixtures("plugin")
@pytest.mark.parametrize(
    ("check", "loss", "message"),
    [(check, *faulty) for check, all_of in FAULTY_LOSSES.items() for faulty in all_of],
)
def test_a_faulty_loss_is_caught(check, loss, message):
    LOSSES.register("faulty")(loss)
    with pytest.raises(CheckError) as found:
        check_loss("faulty")
    assert re.search(f"^{check}: .*{message}", str(found.value), re.MULTILINE)


@pytest.mark.usefixtures("plugin")
def test_a_root_without_a_slope_is_caught():
    LOSSES.register("faulty")(root)
    with pytest.raises(CheckError, match="no finite gradient if all scores are equal"):
        check_loss("faulty")


class Sound(RoutingMetric):
    """Rows of the busiest expert."""

    def __init__(self, num_experts):
        super().__init__(num_experts)
        self.add_counts("rows", size=[num_experts])

    def update(self, routing):
        self.rows += routing.load

    def compute(self):
        return int(self.rows.max())


class Undocumented(Sound):
    __doc__ = None


class ATensor(Sound):
    """A tensor."""

    def compute(self):
        return self.rows.max()


class NotANumber(Sound):
    """Divides 0 by 0."""

    def compute(self):
        rows = self.rows.double()
        return float(rows.max() / rows.mean())


class Padded(Sound):
    """All items."""

    def update(self, routing):
        self.rows += routing.probs.sum(0).mul(100).long()


class FirstExpert(Sound):
    """The first expert."""

    def compute(self):
        return int(self.rows[0])


class LastBatch(Sound):
    """Forgets."""

    def update(self, routing):
        self.rows = routing.load.clone()


class Stateful(Sound):
    """Counts outside of its states."""

    total = 0

    def update(self, routing):
        super().update(routing)
        self.total += int(routing.load.max())

    def compute(self):
        return self.total


class KeepsTheLargest(Sound):
    """A state that is not summed."""

    def __init__(self, num_experts):
        super().__init__(num_experts)
        self.add_state("rows", torch.zeros(num_experts).long(), dist_reduce_fx="max")


class WithAGraph(Sound):
    """Keeps a graph."""

    def __init__(self, num_experts):
        super().__init__(num_experts)
        self.add_sum("mass")

    def update(self, routing):
        super().update(routing)
        with torch.enable_grad():
            self.mass = self.mass + routing.probs.sum()


FAULTY_METRICS = {
    "docstring": [(Undocumented, "there is no docstring")],
    "value": [(ATensor, "the value is a Tensor"), (NotANumber, "nan if all items are padding")],
    "padding": [(Padded, "scores of padding")],
    "experts_alike": [(FirstExpert, "order of the experts")],
    "batches": [(LastBatch, "order of batches"), (Stateful, "reset leaves something")],
    "ranks": [(KeepsTheLargest, "two processes")],
    "no_gradient": [(WithAGraph, "mass ask for a gradient")],
}


@pytest.mark.usefixtures("plugin")
@pytest.mark.parametrize(
    ("check", "kind", "message"),
    [(check, *faulty) for check, all_of in FAULTY_METRICS.items() for faulty in all_of],
)
def test_a_faulty_metric_is_caught(check, kind, message):
    METRICS.register("sound")(Sound)
    check_metric("sound")
    METRICS.register("faulty")(kind)
    with pytest.raises(CheckError) as found:
        check_metric("faulty")
    assert re.search(f"^{check}: .*{message}", str(found.value), re.MULTILINE)


def test_every_check_is_seen_to_fail():
    assert {check_name(check) for check in KINDS["loss"].kit.checks} == set(FAULTY_LOSSES)
    assert {check_name(check) for check in KINDS["metric"].kit.checks} == set(FAULTY_METRICS)


@pytest.mark.usefixtures("plugin")
def test_the_command(capsys):
    assert main(["check", "loss", "importance", "level=sequence"]) == 0
    assert "loss importance level=sequence: 10 of 10 checks pass" in capsys.readouterr().out
    METRICS.register("faulty")(ATensor)
    assert main(["check", "metric", "faulty"]) == 1
    assert "hint  return float(value)" in capsys.readouterr().out
    for words, message in (
        (["loss", "swich"], "did you mean 'switch'"),
        (["metric", "cv", "k=1"], "metrics.k: unknown"),
        (["gate", "linear", "scale=no"], "gate.scale=False: expected float"),
    ):
        assert main(["check", *words]) == 2
        assert message in capsys.readouterr().err
