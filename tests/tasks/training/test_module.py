"""The training module: losses, adaptation, evaluation, and that nothing stays behind."""

import copy
import gc

import pytest
import torch
from torchmetrics import Metric

from experts import Adaptation
from routers import Routing
from tasks import RoutedModule, Run, compose

from ..cases import NARROW, TINY, assert_same, checkpoint_of, result_of, rows_of, train

TOKENS = 16  # patches in an image


def run_of(*overrides):
    return Run(compose([*TINY, NARROW, *overrides]))


@pytest.fixture
def batch():
    torch.manual_seed(0)
    return {"x": torch.rand(6, 1, 8, 8), "y": torch.arange(6)}


@pytest.mark.parametrize("accumulate", [1, 3])
def test_routers_adapt_once_per_step_to_the_whole_load(tmp_path, monkeypatch, accumulate):
    loads = []
    adapt = "spare_parts.Adapting.adapt"
    monkeypatch.setattr(adapt, lambda router, load: loads.append(load.clone()))
    train(
        tmp_path / "run",
        "router=spare_parts:Adapting",
        "trainer.batch_size=300",
        "trainer.max_steps=-1",
        f"trainer.accumulate_grad_batches={accumulate}",
        "moe.capacity=0.5",  # half is dropped; a router adapts to what it asked for
    )
    batches = {1: [1, 1, 1, 1], 3: [3, 1]}[accumulate]
    layers = 2
    expected = [300 * TOKENS * n for n in batches for _ in range(layers)]
    assert [int(load.sum()) for load in loads] == expected


def test_adaptation_is_to_the_routings_of_the_step(tmp_path, monkeypatch):
    adapted, routed = [], []
    monkeypatch.setattr("spare_parts.Adapting.adapt", lambda router, load: adapted.append(load + 0))
    observe = Adaptation.observe

    def note(adaptation, routings):
        routed.append(torch.stack([routing.requested_load for routing in routings]))
        observe(adaptation, routings)

    monkeypatch.setattr(Adaptation, "observe", note)
    train(tmp_path / "run", "router=spare_parts:Adapting", "trainer.accumulate_grad_batches=2")
    pairs = zip(routed[::2], routed[1::2], strict=True)
    assert torch.equal(torch.stack(adapted), torch.cat([one + other for one, other in pairs]))


def test_auxiliary_losses_are_weighted_and_summed_over_layers(batch):
    module = run_of("losses={switch: 0.5, z: 0.25, entropy: 0}").module
    _, routings = module.backbone(batch)
    expected = 0.0
    for routing in routings:
        fraction = torch.bincount(routing.expert, minlength=8) / routing.expert.numel()
        switch = 8 * (fraction * routing.logits.softmax(-1).mean(0)).sum()
        z = routing.logits.exp().sum(-1).log().square().mean()
        expected += 0.5 * switch + 0.25 * z
    assert len(routings) == 2
    torch.testing.assert_close(module.auxiliary_loss(routings), expected)


def test_loss_is_the_tasks_plus_the_auxiliary_loss(batch):
    run = run_of("losses={switch: 0.5}", "task.augmentation.strength=0")
    output, routings = run.module.backbone(batch)
    expected = run.task.loss(output, batch) + run.module.auxiliary_loss(routings)
    torch.testing.assert_close(run.module.training_step(batch, 0), expected)


def test_no_losses_no_auxiliary_loss(batch):
    module = run_of("losses={}").module
    assert module.auxiliary_loss(module.backbone(batch)[1]) == 0


@pytest.mark.parametrize("router", ["noisy_topk", "spare_parts:Adapting"])
def test_evaluation_changes_no_training_state(batch, router):
    module = run_of(f"router={router}").module
    module.training_step(batch, 0)
    before = copy.deepcopy(module.state_dict())
    generator = torch.get_rng_state()
    module.eval()
    with torch.no_grad():
        module.validation_step(batch, 0)
        module.on_validation_epoch_end()
    assert_same(module.state_dict(), before, "state")
    assert torch.equal(torch.get_rng_state(), generator)


def test_accuracy_is_exact_over_unequal_batches(tmp_path):
    """360 test images in batches of 100, 100, 100 and 60 are 360 images at once."""
    result = train(
        tmp_path / "run",
        "trainer.batch_size=100",
        "trainer.max_epochs=2",
        "trainer.max_steps=20",
        "optimizer.lr=0.01",
    )
    run = run_of()
    run.module.load_state_dict(checkpoint_of(tmp_path / "run")["state_dict"])
    with torch.no_grad():
        output, _ = run.module.eval().backbone(run.data.test)
    right = output.argmax(-1) == run.data.test["y"]
    assert 36 < right.sum() < 360  # neither chance nor perfect
    assert result["score"]["value"] == pytest.approx(right.double().mean().item(), rel=1e-6)
    loss = run.task.loss(output, run.data.test)
    assert float(rows_of(tmp_path / "run")[-1]["test/loss"]) == pytest.approx(loss.item(), rel=1e-5)


def test_balance_covers_every_test_item(tmp_path):
    train(tmp_path / "run", "trainer.batch_size=100")
    for layer in result_of(tmp_path / "run")["layers"]:
        assert layer["items"] == 360 * TOKENS
        assert sum(layer["load"]) == 2 * 360 * TOKENS


def test_no_routing_stays_in_memory(batch):
    before = {id(routing) for routing in routings_alive()}
    module = run_of().module
    module.training_step(batch, 0).backward()
    module.eval().validation_step(batch, 0)
    assert [routing for routing in routings_alive() if id(routing) not in before] == []


def routings_alive():
    gc.collect()
    return [held for held in gc.get_objects() if type(held) is Routing]


def test_logged_loss_is_the_mean_since_the_last_line(tmp_path, monkeypatch):
    seen = []
    step = RoutedModule.training_step

    def note(module, *args):
        loss = step(module, *args)
        seen.append(loss.item())
        return loss

    monkeypatch.setattr(RoutedModule, "training_step", note)
    train(tmp_path / "run", "losses={}", "trainer.log_every_n_steps=3")
    logged = [float(row["train/loss"]) for row in rows_of(tmp_path / "run")]
    assert logged == pytest.approx([sum(seen[:3]) / 3, sum(seen[3:]) / 3])


def test_metrics_stay_exact_in_half_precision(batch):
    """Sums in bfloat16 would stand still after a few hundred batches."""
    module = run_of("router=topk").module
    kept = dtypes(module)
    assert torch.int64 in kept
    module.to(torch.bfloat16)
    assert module.backbone.head.weight.dtype is torch.bfloat16
    assert dtypes(module) == kept


def dtypes(module):
    metrics = [each for each in module.evaluation.modules() if isinstance(each, Metric)]
    return [state.dtype for metric in metrics for state in metric.metric_state.values()]
