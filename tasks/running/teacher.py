"""The teacher of a run, loaded and checked before it trains."""

from typing import TYPE_CHECKING

import torch

from routers import ConfigError

from ..config.compose import user_path
from ..config.distil import read_distil
from ..training.distillation import Distillation
from .stored import check_same_data
from .trained import load

if TYPE_CHECKING:
    from .run import Run


def add_teacher(run: "Run") -> None:
    """Load the run that ``distil`` names as the teacher of a run; without ``distil`` do nothing.

    Raises:
        ConfigError: if there is no such run, it learned another task or other data, or the task
            cannot compare its outputs with those of the run.
    """
    given, trainer = read_distil(run.config.distil), run.config.trainer
    if given is None:
        return
    folder = user_path(given.of)
    threads = "null" if trainer.threads is None else trainer.threads  # of the whole process
    same = (f"trainer.accelerator={trainer.accelerator}", f"trainer.threads={threads}")
    try:
        teacher = load(folder, *same, "trainer.devices=1", checkpoint=given.checkpoint)
        _check_same(teacher, run)
        prepare = teacher.module.prepare_batch
        found = Distillation(teacher.module.backbone, prepare, given.weight, given.temperature)
        _try_out(run, found)
    except ConfigError as error:
        problem = str(error).removeprefix(f"{folder}: ")
        raise ConfigError(f"distil.of={given.of}: {problem}") from error
    run.module.distillation = found


def _check_same(teacher: "Run", run: "Run") -> None:
    """Refuse a teacher of another task or other data, whose options of task may differ."""
    names = [each.config.task["name"] for each in (teacher, run)]
    if names[0] != names[1]:
        raise ConfigError(
            f"was trained on task={names[0]}, and this run learns task={names[1]}; give "
            "a teacher of the same task"
        )
    cure = "train a teacher on this data, or give this run the options of task of the teacher"
    check_same_data(teacher.data, run.data, cure)


def _try_out(run: "Run", distillation: Distillation) -> None:
    """Compare the outputs for a few samples, so that what cannot work fails before training."""
    samples = {name: values[:2] for name, values in run.data.train.items()}
    module = run.module.eval()
    distillation.place(next(module.backbone.parameters()))
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        batch = module.prepare_batch(samples)
        output, _ = module.backbone(batch)
        distillation.blend(module.task.loss(output, batch), module.task, output, batch, samples)
    module.train()
