"""One run, from a configuration to ``result.json``."""

import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from rich.console import Console

from experts import tune_allocator
from routers import ConfigError, bad_value

from ._batches import Batches, InOrder, num_rows
from ._build import build_backbone, build_control, build_task, prepare_routers
from ._callbacks import Record, Reseed
from ._check import check_ranges
from ._checkpoints import Checkpoints
from ._compute import measure
from ._config import PARTS
from ._confusion import CONFUSION, write_confusion
from ._csv_log import CsvLog
from ._folder import METRICS, RESULT, versions, write_json
from ._memory import enough_memory
from ._module import RoutedModule
from ._progress import ProgressBar
from ._schema import Config, TrainerConfig, arm_name
from ._task import Data, Task

#: The parts of a data set, as ``Data`` names them.
SPLITS = ("train", "val", "test")


class Run:
    """A training that is built and checked, but not started.

    Args:
        config: complete and typed.

    Raises:
        ConfigError: for anything that cannot work.
    """

    def __init__(self, config: Config) -> None:
        check_ranges(config)
        if config.trainer.threads is not None:
            torch.set_num_threads(config.trainer.threads)
        if config.trainer.tune_allocator and not tune_allocator():
            raise bad_value(
                "trainer.tune_allocator", "true", "false here: only glibc has this setting"
            )
        self.config = config
        self.versions = versions()  # before training, which may take hours
        self.task: Task = build_task(config)
        self.data: Data = self.task.data()
        self.batches = Batches(self.data.train, config.trainer.batch_size, config.seed)
        if not len(self.batches):
            raise bad_value(
                "trainer.batch_size",
                config.trainer.batch_size,
                f"an integer from 1 to {self.batches.rows}, the training samples there are",
            )
        with enough_memory():
            backbone = build_backbone(config, self.task)
        prepare_routers(backbone, self.task, self.data.train)
        losses = dict(config.losses or {})
        if config.moe.control is not None:
            first = next(iter(InOrder(self.data.train, config.trainer.batch_size)))
            batch = self.task.describe(self.task.collate(first))
            backbone = build_control(config, self.task, backbone, batch)
            losses = {}  # a single expert has no one to be in balance with
        self.module = RoutedModule(
            self.task,
            backbone,
            losses,
            config.optimizer,
            total_steps=_total_steps(config.trainer, len(self.batches)),
        )
        self._try_out()

    def train(
        self,
        folder: Path,
        checkpoint: Path | None,
        console: Console,
        callbacks: Sequence[Callback] = (),
    ) -> dict[str, Any]:
        """Train, evaluate, and write ``result.json``; returns what it holds."""
        record = Record(self.config.trainer.log_every_n_steps)
        csv = CsvLog(folder / METRICS)
        board = TensorBoardLogger(folder, name="", version="tensorboard", default_hp_metric=False)
        own = [Reseed(self.config.seed), record, Checkpoints(folder / "checkpoints")]
        if self.config.trainer.progress:
            own.append(ProgressBar(console))
        trainer = self._trainer(folder, [csv, board], [*own, *callbacks])
        if checkpoint is not None:
            saved = torch.load(checkpoint, map_location="cpu", weights_only=True)
            csv.resume_at(saved["global_step"])
        with warnings.catch_warnings():
            # the loader slices tensors: worker processes would only slow it down
            warnings.filterwarnings("ignore", ".*does not have many workers.*")
            val = InOrder(self.data.val, self.config.trainer.batch_size)
            trainer.fit(self.module, self.batches, val, ckpt_path=checkpoint, weights_only=True)
            if record.validated_at != trainer.global_step:  # stopped by max_steps, or resumed
                trainer.validate(self.module, val, verbose=False)
            validation = dict(self.module.evaluation)
            test = InOrder(self.data.test, self.config.trainer.batch_size)
            trainer.test(self.module, test, verbose=False)
        result = self._result(record, validation)
        write_confusion(folder / CONFUSION, self.task, self.module.who_does_what)
        write_json(folder / RESULT, result)
        return result

    def _trainer(
        self, folder: Path, loggers: list[Logger], callbacks: list[Callback]
    ) -> pl.Trainer:
        settings = self.config.trainer
        return pl.Trainer(
            max_epochs=settings.max_epochs,
            max_steps=settings.max_steps,
            accumulate_grad_batches=settings.accumulate_grad_batches,
            gradient_clip_val=settings.gradient_clip_val or None,
            accelerator=settings.accelerator,
            devices=1,
            precision=settings.precision,  # type: ignore[arg-type]
            logger=loggers,
            callbacks=callbacks,
            default_root_dir=folder,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            log_every_n_steps=1,
        )

    def _try_out(self) -> None:
        """One pass over a few samples, so that what cannot work fails before training."""
        few = {name: values[:2] for name, values in self.data.train.items()}
        try:
            with torch.no_grad(), torch.random.fork_rng():
                _, routings = self.module.eval().backbone(self.module.described(few))
                self.module.balance_loss(routings)
        except ConfigError:
            raise
        except ValueError as error:
            names = (f"{key}={getattr(self.config, key)['name']}" for key in PARTS)
            raise ConfigError(f"{', '.join(names)}: these do not fit together: {error}") from error
        self.module.train()

    def _result(self, record: Record, validation: dict[str, float]) -> dict[str, Any]:
        config, module, score = self.config, self.module, self.task.score
        test = InOrder(self.data.test, self.config.trainer.batch_size)
        module.to("cpu").float()  # as the data is
        compute = measure(module, test)
        return {
            "task": config.task["name"],
            "router": arm_name(config),
            "expert": config.expert["name"],
            "seed": config.seed,
            "score": {
                "name": score.name,
                "value": module.evaluation[score.name],
                "direction": score.direction,
                "split": "test",
                "validation": validation[score.name],
            },
            "scores": {**module.evaluation, **module.by_label},
            "load": module.averaged_balance(),
            "layers": module.layer_results(),
            "compute": {
                **asdict(compute),
                "train_seconds": record.seconds,
                "items_per_second": record.items / max(record.seconds, 1e-9),
            },
            "matched_to": config.router["name"] if config.moe.control else None,
            "versions": self.versions,
            "data": {
                "name": self.data.name,
                "sha256": self.data.sha256,
                "split_sha256": self.data.split_sha256,
                "rows": {name: num_rows(getattr(self.data, name)) for name in SPLITS},
            },
        }


def _total_steps(settings: TrainerConfig, batches: int) -> int:
    steps = settings.max_epochs * -(-batches // settings.accumulate_grad_batches)
    return steps if settings.max_steps < 0 else min(steps, settings.max_steps)
