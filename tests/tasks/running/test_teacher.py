"""A run with a teacher: its loss, its bits, and what is refused."""

import math

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

import tasks
from routers import ConfigError
from tasks import main

from ..cases import (
    BRIEF,
    NARROW,
    TINY,
    assert_same,
    assert_same_run,
    checkpoint_of,
    result_of,
    rows_of,
    signal_at,
    train,
    train_any,
    untimed,
)
from .test_trained import files_of

AUGMENTED = "task.augmentation.strength=1.0"
DENSE = ("moe.num_experts=1", "router=uniform", "router.k=1")


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    out = tmp_path_factory.mktemp("teacher") / "run"
    train(out, "trainer.max_steps=20", "trainer.max_epochs=2")
    return out


def divergence(own, wanted, temperature):
    """``T^2 KL(wanted || own)`` of softened classes, row by row."""
    found = []
    for row, other in zip(own, wanted, strict=True):
        p, q = (np.exp(each / temperature) for each in (other, row))
        p, q = p / p.sum(), q / q.sum()
        found.append(temperature**2 * sum(p * np.log(p / q)))
    return np.array(found)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_the_divergence_is_that_of_softened_classes(temperature):
    draw = np.random.default_rng(0)
    own, wanted = draw.standard_normal((2, 6, 4))
    task = tasks.build("planted")
    logits = torch.tensor(own, requires_grad=True)
    loss = task.distillation_loss(logits, torch.tensor(wanted), {}, temperature)
    assert loss.item() == pytest.approx(divergence(own, wanted, temperature).mean(), rel=1e-12)
    loss.backward()
    # T (softmax(own / T) - softmax(wanted / T)), equation 2 of 1503.02531 times T^2, over rows
    soft = [torch.tensor(each / temperature).softmax(-1) for each in (own, wanted)]
    torch.testing.assert_close(logits.grad, temperature * (soft[0] - soft[1]) / 6)
    both = [{"a": torch.tensor(each), "b": torch.tensor(each)} for each in (own, wanted)]
    assert task.distillation_loss(*both, {}, temperature).item() == pytest.approx(loss.item())


def test_bytes_that_are_not_scored_do_not_count():
    task = tasks.build("topics", length=8, context=2)
    draw = np.random.default_rng(0)
    own, wanted = draw.standard_normal((2, 3, 8, 256))
    batch = task.collate({"x": torch.zeros(3, 8), "y": torch.zeros(3, 8), "context": SEEN})
    loss = task.distillation_loss(torch.tensor(own), torch.tensor(wanted), batch, 2.0)
    scored = [divergence(own[row, seen:], wanted[row, seen:], 2.0) for row, seen in SCORED]
    assert loss.item() == pytest.approx(np.concatenate(scored).mean(), rel=1e-12)


SEEN = torch.tensor([0, 2, 5])
SCORED = list(enumerate(SEEN.tolist()))


def test_targets_are_compared_one_by_one():
    """Two classes in one logit, their probability; no number."""
    task = tasks.build("two_digits", weights={"parity": 2.0})
    draw = np.random.default_rng(0)
    sizes = {"left": 10, "right": 10, "sum": 19, "parity": 1}
    own, wanted = ([draw.standard_normal((3, n)) for n in sizes.values()] for _ in range(2))
    outputs = [_Outputs(map(torch.tensor, each)) for each in (own, wanted)]
    found = task.distillation_loss(*outputs, {}, 2.0).item()
    pairs = [
        [np.pad(each, [(0, 0), (1, 0)]) if name == "parity" else each for each in pair]
        for name, *pair in zip(sizes, own, wanted, strict=True)
    ]
    means = [divergence(*pair, 2.0).mean() for pair in pairs]
    assert found == pytest.approx((sum(means) + means[-1]) / 4, rel=1e-12)


class _Outputs:
    def __init__(self, logits):
        self.logits = tuple(logits)


@pytest.mark.parametrize(
    ("output", "teacher", "message"),
    [
        (torch.zeros(3, 1), torch.zeros(3, 1), "no logits .* remove distil, or define"),
        (torch.zeros(3), torch.zeros(3), "no logits"),
        ("text", "text", "no logits"),
        (torch.zeros(3, 4), torch.zeros(3, 5), r"is of shape \(3, 5\), and of shape \(3, 4\) here"),
    ],
)
def test_what_has_no_classes_is_refused(output, teacher, message):
    with pytest.raises(ConfigError, match=message):
        tasks.build("planted").distillation_loss(output, teacher, {}, 1.0)


def test_weight_0_is_a_run_without_a_teacher(teacher, tmp_path):
    train(tmp_path / "without", AUGMENTED)
    before = files_of(teacher)
    train(tmp_path / "with", AUGMENTED, f"distil={{of: {teacher}, weight: 0}}")
    assert files_of(teacher) == before
    one, other = (checkpoint_of(tmp_path / name) for name in ("with", "without"))
    for key in ("state_dict", "optimizer_states", "lr_schedulers", "global_step"):
        assert_same(one[key], other[key], key)
    assert rows_of(tmp_path / "with") == rows_of(tmp_path / "without")
    results = [untimed(result_of(tmp_path / name)) for name in ("with", "without")]
    assert results[0] == results[1]
    assert tasks.load(tmp_path / "with").module.distillation is None  # it needs no teacher


def test_a_resumed_run_has_the_same_bits(teacher, tmp_path):
    given = (AUGMENTED, f"distil.of={teacher}", "distil.weight=0.7", "distil.temperature=3")
    train(tmp_path / "whole", *given)
    out = tmp_path / "stopped"
    with signal_at(3):
        assert main([*TINY, NARROW, f"out={out}", *given]) == 130
    assert main([f"resume={out}"]) == 0
    assert_same_run(out, tmp_path / "whole")
    assert OmegaConf.load(out / "config.yaml").distil.weight == 0.7


@pytest.fixture
def blended(monkeypatch):
    """What every step blended: whether both networks had one batch, the task's loss, and all."""
    found = []
    from tasks import RoutedModule

    step = RoutedModule.on_fit_start

    def watched(module):
        step(module)
        blend = module.distillation.blend

        def noted(task_loss, task, output, batch, samples):
            loss = blend(task_loss, task, output, batch, samples)
            same = module.distillation.prepare(samples)["x"].equal(batch["x"])
            found.append((same, task_loss.item(), loss.item()))
            return loss

        module.distillation.blend = noted

    monkeypatch.setattr(RoutedModule, "on_fit_start", watched)
    return found


def test_a_network_equals_itself_as_its_teacher(teacher, tmp_path, blended):
    """On the same variants of samples, and without a step of the teacher."""
    still = ("optimizer.lr=1e-12", "losses={}", f"init={teacher}", AUGMENTED)
    train(tmp_path / "run", *still, f"distil={{of: {teacher}, weight: 1}}")
    assert len(blended) == 6
    assert all(same for same, _, _ in blended)
    assert max(loss for _, _, loss in blended) < 1e-9
    assert min(task_loss for _, task_loss, _ in blended) > 0.1


def test_a_student_comes_nearer_to_its_teacher(teacher, tmp_path, blended):
    """Of another size, with other experts and another batch size."""
    more = ("trainer.max_steps=30", "trainer.max_epochs=3", "trainer.batch_size=100")
    train(tmp_path / "run", *DENSE, *more, "expert=glu", f"distil={{of: {teacher}, weight: 1}}")
    assert blended[-1][2] < 0.8 * blended[0][2]


def test_both_ways_together(teacher, tmp_path, blended):
    """Layers fitted first, and then the outputs; the network is dense."""
    brief = [text for text in TINY if not text.startswith("task.")]
    init = (f"init.from={teacher}", "init.edits=[{distil: {steps: 60, lr: 0.01}}]")
    out = tmp_path / "run"
    assert main([*brief, *init, f"distil.of={teacher}", f"out={out}"]) == 0
    train(tmp_path / "scratch", *DENSE, "expert.hidden=32", f"distil.of={teacher}")
    assert blended[0][2] < blended[6][2]
    config = OmegaConf.load(out / "config.yaml")
    found = (config.moe.num_experts, config.router.name, config.losses, config.expert.hidden)
    assert found == (1, "uniform", {}, 32)
    layers = tasks.routed_layers(tasks.load(out).module.backbone)
    assert [layer.bank.num_experts for layer in layers] == [1, 1]
    # the edit alone, as a command: the folder of a dense run, which becomes a mixture again
    edits = "edits=[{distil: {steps: 5}}, {upcycle: {num_experts: 4, router: {name: topk, k: 2}}}]"
    assert main(["edit", str(teacher), edits, f"out={tmp_path / 'again'}"]) == 0
    errors = OmegaConf.load(tmp_path / "again" / "edits.yaml").edits[0].error
    assert all(0 < after < 1 for after in errors.after)
    assert math.isfinite(result_of(tmp_path / "again")["scores"]["loss"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["distil.weight=0.5"], "distil.of: required"),
        (["distil={of: DIR, weigth: 1}"], "distil.weigth: unknown; did you mean 'weight'"),
        (
            ["distil={of: DIR, weight: 2}"],
            "distil.weight=2 is invalid: expected a number in [0, 1]",
        ),
        (
            ["distil={of: DIR, temperature: 0}"],
            "distil.temperature=0 is invalid: expected a finite",
        ),
        (["distil={of: DIR, weight: a}"], "distil.weight=a"),
        (["distil=DIR"], "distil="),
        (["distil.of=nowhere"], "distil.of=nowhere: no run is there"),
        (["distil={of: DIR, checkpoint: bets}"], ": checkpoint=bets: unknown; did you mean 'best'"),
        (["distil.of=DIR", "task=planted"], "task=digits, and this run learns task=planted; give"),
        (["distil.of=OTHER", "task=permuted_digits"], "its data (permuted_digits"),
    ],
)
def test_what_cannot_work_is_refused(teacher, other, tmp_path, capsys, words, message):
    named = [text.partition("=")[2] for text in words if text.startswith("task=")]
    given = [text.replace("DIR", str(teacher)).replace("OTHER", str(other)) for text in words]
    sizes = [] if named else [*TINY, NARROW]
    assert main([*sizes, *BRIEF, *given, f"out={tmp_path / 'out'}"]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """A run on permuted digits, with fewer permutations."""
    out = tmp_path_factory.mktemp("other") / "run"
    train_any(out, "task=permuted_digits", "task.permutations=2")
    return out
