"""What the tests of tasks share: tiny runs, and what they leave behind."""

import csv
import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

import routers
from tasks import BACKBONES, TASKS, RoutedModule, TrainingCompute, main

from ..router_samples import SELECTING

#: Enough to train for a fraction of a second.
BRIEF = (
    "trainer.max_epochs=1",
    "trainer.max_steps=6",
    "trainer.batch_size=64",
    "trainer.accelerator=cpu",
    "trainer.threads=1",
    "trainer.progress=false",
)


def tiny(task: str = "digits") -> tuple[str, ...]:
    """A small network of a task, trained briefly."""
    options = TASKS.options(task)
    model = options.get("model")
    section = "task" if model is None else "task.model"
    allowed = options if model is None else BACKBONES.options(model)
    sizes = {"dim": 16, "depth": 2}
    return (*(f"{section}.{name}={sizes[name]}" for name in sizes if name in allowed), *BRIEF)


TINY = tiny()

#: A training that learns and then forgets: the best of its three validations is the second.
FORGETS = (
    *("trainer.batch_size=300", "trainer.max_epochs=3", "trainer.max_steps=-1"),
    *("optimizer.lr=0.03", "optimizer.warmup=0", f"optimizer.schedule={__name__}:too_high_later"),
)


def too_high_later(done: float) -> float:
    """Factor of a learning rate."""
    return 1.0 if done < 0.6 else 100.0


NARROW = "expert.hidden=16"

#: The routers that digits can use: its samples are not of several tasks or languages.
ROUTERS = [name for name in SELECTING if not routers.ROUTERS.get_part(name).traits.needs_task]


def train(out: Path, *overrides: str) -> dict[str, Any]:
    """Train a tiny model into ``out``; returns its result."""
    return train_any(out, NARROW, *overrides)


def train_any(out: Path, *overrides: str) -> dict[str, Any]:
    """The same for experts that have no width."""
    named = [text.removeprefix("task=") for text in overrides if text.startswith("task=")]
    assert main([*tiny(*named), f"out={out}", *overrides]) == 0
    return result_of(out)


def result_of(out: Path) -> dict[str, Any]:
    """``result.json``, refusing NaN and infinity, which JSON does not have."""
    return json.loads((out / "result.json").read_text(), parse_constant=_not_json)


def _not_json(text: str) -> None:
    raise AssertionError(f"result.json holds {text}, which is not JSON")


def untimed(result: dict[str, Any]) -> dict[str, Any]:
    """A result without what differs between two equal runs: the time and memory they took."""
    measured = TrainingCompute.__dataclass_fields__
    compute = {name: value for name, value in result["compute"].items() if name not in measured}
    return {**result, "compute": compute}


def checkpoint_of(out: Path) -> dict[str, Any]:
    return torch.load(out / "checkpoints" / "last.ckpt", weights_only=True)


def rows_of(out: Path) -> list[dict[str, str]]:
    """The rows of ``metrics.csv``."""
    with (out / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def assert_same_run(one: Path, other: Path) -> None:
    """Two folders hold the same numbers, to the last bit."""
    left, right = checkpoint_of(one), checkpoint_of(other)
    for key in ("state_dict", "optimizer_states", "lr_schedulers", "global_step"):
        assert_same(left[key], right[key], key)
    assert (one / "metrics.csv").read_text() == (other / "metrics.csv").read_text()
    assert untimed(result_of(one)) == untimed(result_of(other))


def assert_same(left: Any, right: Any, place: str) -> None:
    """Nested containers of tensors are equal; ``place`` says where they are not."""
    assert type(left) is type(right), place
    if isinstance(left, dict):
        assert left.keys() == right.keys(), place
        for key, value in left.items():
            assert_same(value, right[key], f"{place}.{key}")
    elif isinstance(left, list | tuple):
        assert len(left) == len(right), place
        for index, value in enumerate(left):
            assert_same(value, right[index], f"{place}.{index}")
    elif isinstance(left, torch.Tensor):
        assert torch.equal(left, right), place
    else:
        assert left == right, place


@contextmanager
def step_hook(batch: int, action: Callable[[], object]) -> Iterator[None]:
    """Calls ``action`` before the training step of the given call, counted from 0."""
    calls = 0
    step = RoutedModule.training_step

    def stepping(module: RoutedModule, *args: Any) -> torch.Tensor:
        nonlocal calls
        if calls == batch:
            action()
        calls += 1
        return step(module, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RoutedModule, "training_step", stepping)
        yield


def signal_at(batch: int, signum: int = signal.SIGINT) -> AbstractContextManager[None]:
    """Sends this process ``signum`` during the training step of the given call."""
    return step_hook(batch, lambda: os.kill(os.getpid(), signum))
