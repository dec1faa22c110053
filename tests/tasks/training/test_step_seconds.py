"""The median time of a step: micro-batches are parts of one, validations of none."""

from types import SimpleNamespace

import pytest

from tasks.training.callbacks import Record


class Evaluation:
    def log_values(self, split):
        return {}


@pytest.fixture
def module(monkeypatch):
    """A stand-in for the module, which the record takes for one."""
    monkeypatch.setattr("tasks.training.callbacks.RoutedModule", SimpleNamespace)
    return SimpleNamespace(evaluation=Evaluation())


def test_of_steps_before_and_after_a_validation(module, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("tasks.training.callbacks.time.perf_counter", lambda: now[0])
    trainer = SimpleNamespace(
        accumulate_grad_batches=2,
        is_last_batch=False,
        world_size=1,
        global_step=1,
        loggers=[],
        callback_metrics={},
    )
    record = Record(every=1000)
    assert record.step_seconds is None
    record.load_state_dict({"seconds": 1.0, "items": 4})  # of an older version
    record.on_train_start(trainer, module)
    for batch in range(4):
        now[0] += 2.0
        record.on_train_batch_end(trainer, module, None, {"y": [0]}, batch)
        if batch == 1:
            now[0] += 100.0
            record.on_validation_end(trainer, module)
    assert record.step_seconds == 4.0
    resumed = Record(every=1000)
    resumed.load_state_dict(record.state_dict())
    assert resumed.step_seconds == 4.0
