"""Numbers that are not finite end a run with the place named and the last good model kept."""

import pytest
import torch

from tasks import Backbone, RoutedModule, main
from tasks.training.divergence import first_bad_place

from ..cases import NARROW, TINY, checkpoint_of

EVERY_STEP = "tasks.training.checkpoints.CHECKPOINT_SECONDS"


@pytest.fixture
def diverged(tmp_path, capsys, monkeypatch):
    """Runs a training that must diverge; returns its message and what it kept."""
    monkeypatch.setattr(EVERY_STEP, 0.0)

    def message(*overrides):
        assert main([*TINY, f"out={tmp_path / 'run'}", *overrides]) == 1
        shown = capsys.readouterr()
        assert shown.err.startswith("error: ")
        assert len(shown.err.splitlines()) == 1
        assert str(tmp_path / "run" / "checkpoints") in shown.err
        assert not (tmp_path / "run" / "result.json").exists()
        saved = checkpoint_of(tmp_path / "run")
        assert all(values.isfinite().all() for values in saved["state_dict"].values())
        return shown.err, saved["global_step"]

    return message


def test_input_that_is_not_a_number(diverged):
    message, _ = diverged(NARROW, "task=spare_parts:PoisonedTask", "trainer.max_steps=-1")
    assert "input 'x' of the batch" in message


def test_layer_that_overflows(diverged):
    message, kept = diverged("expert=spare_parts:Bursting")
    assert "layer blocks.0.moe.bank" in message
    assert kept == 3  # the first pass tried the model out


def test_parameter_that_is_not_a_number(diverged, monkeypatch):
    step = RoutedModule.training_step

    def break_a_layer(module, batch, batch_idx):
        if module.global_step == 2:
            module.backbone.blocks[1].out.bias.data[0] = float("nan")
        return step(module, batch, batch_idx)

    monkeypatch.setattr(RoutedModule, "training_step", break_a_layer)
    message, kept = diverged(NARROW)
    assert "layer blocks.1.out (its parameter bias)" in message
    assert kept == 2


def test_absurd_learning_rate(diverged):
    message, _ = diverged(
        NARROW, "optimizer.name=sgd", "optimizer.lr=1e30", "trainer.gradient_clip_val=0"
    )
    assert "layer " in message
    assert "optimizer.lr" in message


def test_last_step_of_all(diverged):
    """No later loss would show it, and the score of such a model means nothing."""
    message, kept = diverged(
        NARROW,
        "optimizer.name=sgd",
        "optimizer.lr=1e45",
        "trainer.gradient_clip_val=0",
        "trainer.max_steps=1",
    )
    assert "after step 1 " in message
    assert kept == 0


def test_nothing_good_to_keep(tmp_path, capsys, monkeypatch):
    """The error names no checkpoint before one exists."""
    monkeypatch.setattr("tasks.training.checkpoints.bad_parameter", lambda _: "parameter x")
    assert main([*TINY, NARROW, f"out={tmp_path / 'run'}"]) == 1
    message = capsys.readouterr().err
    assert "checkpoint" not in message
    assert "a new run with a lower optimizer.lr" in message


def test_a_bad_label_is_named_too():
    labels = torch.tensor([0.0, torch.nan, 1.0])
    place = first_bad_place(torch.nn.Identity(), {"x": torch.ones(3, 2), "y": labels})
    assert place == "the loss of labels 'y' (rows [1] and maybe more)"


class Doubling(Backbone):
    def forward(self, batch):
        return 2 * batch["x"], []


def test_a_missing_label_is_blamed_last():
    y = torch.tensor([1.0, torch.nan])
    assert "labels 'y' (rows [1]" in first_bad_place(Doubling(), {"x": torch.ones(2), "y": y})
    bad = {"x": torch.tensor([torch.inf, 1.0]), "y": y}
    assert "input 'x' of the batch (rows [0]" in first_bad_place(Doubling(), bad)


class Sharded(Backbone):
    def forward(self, batch):
        raise AssertionError("the other processes would have to run it too")


def test_a_network_of_which_this_process_holds_a_part_is_not_run():
    place = first_bad_place(Sharded(), {"x": torch.ones(2)}, is_whole=False)
    assert place.startswith("a layer or the loss")
