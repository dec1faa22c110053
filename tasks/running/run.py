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
from routers import ConfigError, OptionError

from .._task import Batch, Data, Task
from ..assembly.build import build_backbone, build_control, build_task, prepare_routers
from ..config.compose import PARTS
from ..config.schema import Config, TrainerConfig, arm_name
from ..loading.batches import Batches, InOrder, Rank, num_rows
from ..training.callbacks import OnValidation, ProgressBar, Record, ReportValidation, Reseed
from ..training.checkpoints import Checkpoints
from ..training.csv_logger import CsvLog
from ..training.devices import strategies
from ..training.module import RoutedModule
from ..training.signals import Signals, Stop
from .compute import measure
from .launch import launch
from .result import CONFUSION, confusion_csv
from .run_dir import METRICS, RESULT, versions, write_json, write_text
from .validate import check_ranges

#: The parts of a data set, as ``Data`` names them.
SPLITS = ("train", "val", "test")


class Run:
    """A training that is built and checked, but not started.

    Args:
        config: complete and typed; ``ConfigError`` for anything that cannot work.
        rank: which of its processes this is; None where no others were started.
    """

    def __init__(self, config: Config, rank: Rank | None = None) -> None:
        check_ranges(config)
        if config.trainer.threads is not None:
            torch.set_num_threads(config.trainer.threads)
        if config.trainer.tune_allocator and not tune_allocator():
            expected = "false on this machine: only glibc has this setting"
            raise OptionError("trainer.tune_allocator", "true", expected)
        self.config = config
        self.rank = rank or Rank(0, config.trainer.devices)
        self.versions = versions()  # before training, which may take hours
        self.task: Task = build_task(config)
        self.data: Data = self.task.data()
        self.batches = Batches(self.data.train, config.trainer.batch_size, config.seed, self.rank)
        if not len(self.batches):
            expected = f"an integer in [1, {self.batches.rows}], the number of training samples"
            raise OptionError("trainer.batch_size", config.trainer.batch_size, expected)
        for name in SPLITS[1:]:  # every rank evaluates samples, since ranks exchange metrics
            rows = num_rows(getattr(self.data, name))
            if rows < self.rank.world_size:
                expected = f"an integer in [1, {rows}], the samples in {name}"
                raise OptionError("trainer.devices", self.rank.world_size, expected)
        backbone = build_backbone(config, self.task)
        prepare_routers(backbone, self.task, self.data.train)
        losses = dict(config.losses or {})
        if config.moe.control is not None:
            first = next(iter(self._in_order(self.data.train, self.rank.all())))
            batch = self.task.describe(self.task.collate(first))
            backbone = build_control(config, self.task, backbone, batch)
            losses = {}  # a single expert is always balanced
        steps = _total_steps(config.trainer, len(self.batches))
        devices = self.rank.world_size
        self.module = RoutedModule(self.task, backbone, losses, config.optimizer, steps, devices)
        self._try_out()

    def train(
        self,
        folder: Path,
        checkpoint: Path | None,
        console: Console,
        on_validation: OnValidation | None = None,
    ) -> dict[str, Any]:
        """Train, evaluate, and write ``result.json`` to ``folder``; returns what it holds.

        A progress bar goes to ``console`` if that is a terminal. ``on_validation`` is called after
        every validation; an error that it raises ends the run.
        """
        devices, draws = self.rank.world_size, console.is_terminal
        if devices > 1:
            return launch(folder, devices, checkpoint, draws, on_validation)
        return self.write(folder, *self.fit(folder, checkpoint, console, Signals(), on_validation))

    def fit(
        self,
        folder: Path,
        checkpoint: Path | None,
        console: Console,
        stop: Stop,
        on_validation: OnValidation | None,
    ) -> tuple[Record, dict[str, float]]:
        """Train and evaluate as one process of the run; returns its time and last validation.

        Rank 0 alone uses all arguments but the folder; they are as for ``train``.
        """
        settings = self.config.trainer
        record = Record(settings.log_every_n_steps)
        callbacks: list[Callback] = [Reseed(self.config.seed, self.rank), record]
        loggers: list[Logger] = []
        if self.rank.rank == 0:
            loggers = _loggers(folder, checkpoint)
            callbacks.append(Checkpoints(folder / "checkpoints", stop))
            if settings.progress:
                callbacks.append(ProgressBar(console))
            if on_validation is not None:
                callbacks.append(ReportValidation(on_validation))
        trainer = pl.Trainer(
            max_epochs=settings.max_epochs,
            max_steps=settings.max_steps,
            accumulate_grad_batches=settings.accumulate_grad_batches,
            gradient_clip_val=settings.gradient_clip_val or None,
            accelerator=settings.accelerator,
            precision=settings.precision,  # type: ignore[arg-type]
            logger=loggers,
            callbacks=callbacks,
            default_root_dir=folder,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            log_every_n_steps=1,
            **strategies(self.rank),
        )
        with warnings.catch_warnings():
            # the loader slices tensors: worker processes would only slow it down
            warnings.filterwarnings("ignore", ".*does not have many workers.*")
            val = self._in_order(self.data.val, [self.rank])
            trainer.fit(self.module, self.batches, val, ckpt_path=checkpoint, weights_only=True)
            if record.validated_at != trainer.global_step:  # stopped by max_steps, or resumed
                trainer.validate(self.module, val, verbose=False)
            validation = dict(self.module.evaluation.scores)
            test = self._in_order(self.data.test, [self.rank])
            trainer.test(self.module, test, verbose=False)
        return record, validation

    def write(self, folder: Path, record: Record, validation: dict[str, float]) -> dict[str, Any]:
        """Write what ``fit`` came to; returns what ``result.json`` holds."""
        result = self._result(record, validation)
        if any(tables := self.module.evaluation.tables):
            write_text(folder / CONFUSION, confusion_csv(self.task, tables))
        write_json(folder / RESULT, result)
        return result

    def _in_order(self, split: Batch, ranks: Sequence[Rank]) -> InOrder:
        return InOrder(split, self.config.trainer.batch_size, ranks)

    def _try_out(self) -> None:
        """One pass over a few samples, so that what cannot work fails before training."""
        few = {name: values[:2] for name, values in self.data.train.items()}
        try:
            with torch.no_grad(), torch.random.fork_rng():
                _, routings = self.module.eval().backbone(self.module.prepare_batch(few))
                self.module.auxiliary_loss(routings)
        except ConfigError:
            raise
        except ValueError as error:
            names = (f"{key}={getattr(self.config, key)['name']}" for key in PARTS)
            raise ConfigError(f"{', '.join(names)}: these do not fit together: {error}") from error
        self.module.train()

    def _result(self, record: Record, validation: dict[str, float]) -> dict[str, Any]:
        config, module, score = self.config, self.module, self.task.score
        evaluation = module.evaluation
        test = self._in_order(self.data.test, self.rank.all())
        module.to("cpu").float()  # as the data is
        compute = measure(module, test)
        return {
            "task": config.task["name"],
            "router": arm_name(config),
            "expert": config.expert["name"],
            "seed": config.seed,
            "score": {
                "name": score.name,
                "value": evaluation.scores[score.name],
                "direction": score.direction,
                "split": "test",
                "validation": validation[score.name],
            },
            "scores": {**evaluation.scores, **evaluation.scores_by_label},
            "load": evaluation.load_summary(),
            "layers": evaluation.layer_results(),
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


def _loggers(folder: Path, checkpoint: Path | None) -> list[Logger]:
    csv = CsvLog(folder / METRICS)
    if checkpoint is not None:
        saved = torch.load(checkpoint, map_location="cpu", weights_only=True)
        csv.resume_at(saved["global_step"])
    board = TensorBoardLogger(folder, name="", version="tensorboard", default_hp_metric=False)
    return [csv, board]


def _total_steps(settings: TrainerConfig, batches: int) -> int:
    steps = settings.max_epochs * -(-batches // settings.accumulate_grad_batches)
    return steps if settings.max_steps < 0 else min(steps, settings.max_steps)
