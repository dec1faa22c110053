"""One run, from a configuration to ``result.json``."""

import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger
from rich.console import Console
from torch import Tensor

from experts import count_flops, tune_allocator
from routers import ConfigError, OptionError, Routing
from routers.blocks import is_distributed
from routers.plugins import check_options, unknown

from .._task import Backbone, Batch, Data, Task
from ..assembly.build import (
    build_backbone,
    build_control,
    build_task,
    read_data,
    read_ids,
    routed_layers,
    show_ids,
)
from ..assembly.dense_control import num_parameters
from ..assembly.recipe import choose
from ..config.compose import to_values
from ..config.init import read_init
from ..config.layers import PARTS, arm_name, part_name, settings_of
from ..config.schema import Config, TrainerConfig
from ..loading.batches import WHOLE, Batches, InOrder, Rank, limited, num_rows
from ..readers import check_installed
from ..readers.split import SPLITS
from ..routes.collection import few
from ..routes.history import history, recorded_steps
from ..routes.recorder import RECORD_ROUTES, CollectRoutes, RecordRoutes
from ..training.callbacks import OnValidation, Record, ReportValidation, Reseed
from ..training.checkpoints import Checkpoints
from ..training.collectives import agreed
from ..training.csv_logger import CsvLog
from ..training.energy import EnergyRecord
from ..training.evaluation import Evaluation
from ..training.fully_sharded import is_sharded, whole_weights
from ..training.loggers import build_loggers, check_loggers, closing
from ..training.module import RoutedModule
from ..training.optimizers import build_optimizer
from ..training.own_callbacks import build_callbacks, check_callbacks
from ..training.parameter_names import freeze
from ..training.peak_memory import PeakMemoryRecord
from ..training.progress import ProgressBar, ProgressLines
from ..training.saved_weights import BEST, CHECKPOINT, SavedWeights
from ..training.signals import Signals
from ..training.stopping import EARLY_STOPPING, EarlyStop, TimeLimit
from ..training.strategies import check_fits, strategy_options
from ..training.thread_errors import raised_once
from .checkpoint_parts import read_step
from .compute import TrainingCompute, active_parameters, measure
from .launch import launch
from .replay import replay_runs
from .result import CONFUSION, confusion_csv
from .run_dir import FORMAT, METRICS, RESULT, read_json, versions, write_json, write_text
from .start_lines import start_lines
from .threads import AUTO, choose_threads, load_warning
from .validate import check_devices, check_ranges
from .weights import initialize


class Run:
    """A training that is built and checked, but not started.

    Args:
        config: complete and typed; ``ConfigError`` for anything that cannot work. The attribute
            ``config`` has the values that the data chose for ``auto``.
        rank: which of its processes this is; by default the first of the configured number.
    """

    def __init__(self, config: Config, rank: Rank | None = None) -> None:
        self.began = time.monotonic()
        check_ranges(config)
        check_devices(config.trainer)
        if isinstance(config.trainer.threads, int):
            torch.set_num_threads(config.trainer.threads)
        if config.trainer.tune_allocator and not tune_allocator():
            expected = "false on this machine: only glibc has this setting"
            raise OptionError("trainer.tune_allocator", "true", expected)
        self.rank = rank or Rank(0, config.trainer.devices * config.trainer.num_nodes)
        self.versions = versions()  # before training, which may take hours
        self.task: Task = build_task(config)
        if config.baseline and type(self.task).baseline is Task.baseline:
            problem = f"task={config.task['name']} has no simple baseline"
            raise OptionError.about("baseline=true", f": {problem}; remove it")
        config, self.task, self.chosen = choose(config, self.task)
        check_ranges(config)
        self.config = config
        self.data: Data = read_data(config, self.task)
        size, options = config.trainer.batch_size, dict(config.trainer.lightning)
        limit = options.pop("limit_train_batches", None)  # the loader does it: it can resume there
        self.trainer_options = options
        self.batches = Batches(self.data.train, size, config.seed, self.rank, limit)
        if self.batches.rows < size:
            expected = f"an integer in [1, {self.batches.rows}], the number of training samples"
            raise OptionError("trainer.batch_size", config.trainer.batch_size, expected)
        self._check_trainer_options()
        for name in SPLITS[1:]:  # every rank evaluates samples, since ranks exchange metrics
            rows = num_rows(getattr(self.data, name))
            if rows < self.rank.world_size:
                expected = f"an integer in [1, {rows}], the samples in {name}"
                raise OptionError("trainer.devices", self.rank.world_size, expected)
        seen, backbone = self._backbone()
        check_fits(config.trainer, backbone)
        check_callbacks(config.trainer, backbone)
        losses = [settings_of(config, n).losses for n, _ in enumerate(routed_layers(backbone))]
        if config.moe.control is not None:
            losses = [{} for _ in losses]  # a single expert is always balanced
        steps = _total_steps(config.trainer, len(self.batches))
        devices = self.rank.world_size
        self.module = RoutedModule(self.task, backbone, losses, config.optimizer, steps, devices)
        freeze(self.module, config.freeze)
        build_optimizer(config.optimizer, self.module)  # what cannot work fails before training
        self._limits()
        self._saved_weights(Path())
        self._route_records(Path(), Record(1))
        check_loggers(config.trainer.logger)
        self.active_parameters = self._try_out(seen)

    def initialize(self) -> None:
        """Load the weights that ``init`` names, if any and without its edits."""
        init = read_init(self.config.init)
        if init is not None:
            initialize(self.module.backbone, init.place)

    def train(
        self,
        folder: Path,
        checkpoint: Path | None,
        console: Console,
        on_validation: OnValidation | None = None,
    ) -> dict[str, Any]:
        """Train, evaluate, and write ``result.json`` to ``folder``; returns what it holds.

        If that is there already, the run was stopped while its baseline was fitted.

        The progress goes to ``console``: a bar if that is a terminal, else lines.
        ``on_validation`` is called after the last validation of every epoch; an error that it
        raises ends the run. On several devices it is called in the first process, which may be
        another one: it is pickled.
        """
        if agreed(lambda: (folder / RESULT).exists(), by_first=True):
            result = dict(read_json(folder / RESULT))
            return agreed(lambda: self._add_baseline(folder, result), by_first=True)
        world_size, draws = self.rank.world_size, console.file is sys.stdout
        if world_size > 1 and not is_distributed():
            return launch(folder, world_size, checkpoint, draws, on_validation)
        if world_size > 1:
            threads = torch.get_num_threads() // self.config.trainer.devices
            torch.set_num_threads(max(1, threads))
        fitted = self._fit(folder, checkpoint, console, on_validation)
        return agreed(lambda: self._write(folder, *fitted), by_first=True)

    def test(self) -> dict[str, Any]:
        """Evaluate on the test split in this process; returns what ``result.json`` would hold.

        Left out is what only a training has: scores of validations, and times.
        """
        with self._trainer(WHOLE, logger=False) as trainer:
            test = self._in_order(self.data.test, self.rank.all())
            trainer.test(self.module, test, verbose=False)
        return self._result()

    def predict(self) -> dict[str, list[Any]]:
        """Predictions for the test split, in its order: columns of ``Task.predictions`` by name."""
        with self._trainer(WHOLE, logger=False) as trainer:
            test = self._in_order(self.data.test, self.rank.all())
            parts: Any = trainer.predict(self.module, test)
        return {name: [value for part in parts for value in part[name]] for name in parts[0]}

    def collect_routes(self, split: str = "test", samples: int | None = None) -> CollectRoutes:
        """Evaluate on a split, or on its first samples, and collect the routes of all layers."""
        collected = CollectRoutes()
        self.evaluate(self.module, split, samples, callbacks=[collected])
        return collected

    def evaluate(
        self,
        module: pl.LightningModule,
        split: str,
        samples: int | None = None,
        **outputs: Any,
    ) -> None:
        """Call ``test_step`` of a module on a split, or on its first samples, in this process.

        ``outputs`` are further options of Lightning's ``Trainer``, such as ``callbacks``.
        """
        rows = few(getattr(self.data, split), samples)
        with self._trainer(WHOLE, logger=False, **outputs) as trainer:
            trainer.test(module, self._in_order(rows, self.rank.all()), verbose=False)

    def _fit(
        self,
        folder: Path,
        checkpoint: Path | None,
        console: Console,
        on_validation: OnValidation | None,
    ) -> tuple[TrainingCompute, dict[str, Any], str | None]:
        """Train and evaluate as one process of the run.

        Returns its cost, what ``result.json`` says of its last and its best validation, and the
        setting that ended it before its last step. The first process alone uses ``console`` and
        ``on_validation``.
        """
        settings = self.config.trainer
        if settings.precision == "64-true":  # before Lightning, which loads a checkpoint first
            self.module.double()
        record = Record(settings.log_every_n_steps)
        memory, energy = PeakMemoryRecord(), EnergyRecord()
        limits = self._limits()
        callbacks: list[Callback] = [Reseed(self.config.seed, self.rank), record, memory, energy]
        callbacks += limits
        callbacks += build_callbacks(settings.callbacks)  # before Checkpoints, which saves them
        callbacks += self._route_records(folder, record)  # too, so that none is missing on resume
        self.module.checkpoints = folder / "checkpoints"
        saved = self._saved_weights(folder / "checkpoints")
        checkpoints = Checkpoints(folder / "checkpoints", Signals(), checkpoint is None)
        callbacks += [saved, checkpoints]
        loggers: list[Logger] = []
        if self.rank.rank == 0:
            loggers = self._loggers(folder, checkpoint)
            if settings.progress:
                shown = ProgressBar if console.is_terminal else ProgressLines
                # the test, the count of its FLOPs, and the test of the best weights
                tested = (2 + saved.best) * len(self._in_order(self.data.test, [self.rank]))
                about = self._start_lines()
                callbacks.append(shown(console, about, record, self.began, tested))
            if on_validation is not None:
                callbacks.append(ReportValidation(on_validation))
        outputs = {"logger": loggers, "callbacks": callbacks, "default_root_dir": folder}
        with self._trainer(self.rank, **outputs) as trainer, closing(loggers):
            val = self._in_order(self.data.val, [self.rank])
            trainer.fit(self.module, self.batches, val, ckpt_path=checkpoint, weights_only=True)
            compute = TrainingCompute(
                record.seconds,
                record.items_per_second,
                record.step_seconds,
                memory.bytes,
                energy.packages.joules,
                energy.gpus.joules,
            )
            early = trainer.global_step < self.module.total_steps
            stopped = next((limit.key for limit in limits if early and limit.stopped), None)
            if record.validated_at != trainer.global_step:  # stopped by max_steps, or resumed
                trainer.validate(self.module, val, verbose=False)
            validation = self.module.evaluation.scores[self.task.score.name]
            test = self._in_order(self.data.test, [self.rank])
            trainer.test(self.module, test, verbose=False)
        best = self._test_best(saved, checkpoints, trainer.global_step)
        if is_sharded(self.module):
            weights = whole_weights(self.module.backbone)
            if self.rank.rank == 0:
                self.module.backbone = self._backbone()[1]
                self.module.backbone.load_state_dict(weights)
        return compute, {"validation": validation, "best": best}, stopped

    def _test_best(
        self, saved: SavedWeights, checkpoints: Checkpoints, last: int
    ) -> dict[str, Any] | None:
        """Step and scores of the best validation; None without its weights.

        Nothing is evaluated if it is that of the ``last`` step. Otherwise the weights, and what was
        evaluated before, are again those of the last step afterwards.
        """
        module, name, path = self.module, self.task.score.name, saved.folder / f"{BEST}.ckpt"
        if not saved.best or saved.best_step is None or not path.exists():
            return None
        if read_step(path) != saved.best_step:  # of a process killed before its last checkpoint
            return None
        best = {"step": saved.best_step, "validation": saved.sign * saved.best_value}
        if saved.best_step == last:
            return {**best, "value": module.evaluation.scores[name]}
        weights, evaluation = deepcopy(module.state_dict()), module.evaluation
        module.evaluation = Evaluation(self.task, routed_layers(module.backbone))
        # other callbacks and logs have had their test
        with self._trainer(self.rank, logger=False, callbacks=[checkpoints]) as trainer:
            test = self._in_order(self.data.test, [self.rank])
            trainer.test(module, test, ckpt_path=path, weights_only=True, verbose=False)
        best["value"] = module.evaluation.scores[name]
        module.load_state_dict(weights)
        module.evaluation = evaluation
        return best

    def _write(
        self,
        folder: Path,
        compute: TrainingCompute,
        scores: dict[str, Any],
        stopped: str | None,
    ) -> dict[str, Any]:
        """Write what ``_fit`` returned; returns what ``result.json`` holds."""
        result = self._result()
        result["score"] |= scores
        result["compute"] |= asdict(compute)
        result["stopped"] = stopped
        if self.config.trainer.record_routes is not None:
            over_steps = history(recorded_steps(folder))
            for layer, of_layer in zip(result["layers"], over_steps, strict=True):
                layer["routes"] = of_layer
        if any(tables := self.module.evaluation.tables):
            write_text(folder / CONFUSION, confusion_csv(self.task, tables))
        write_json(folder / RESULT, result)
        # afterwards, so that nothing is lost if it fails
        return self._add_baseline(folder, result) if self.config.baseline else result

    def _backbone(self) -> tuple[tuple[Tensor, ...], Backbone]:
        """Ids that routers are prepared by, and the network or its control before training."""
        backbone = build_backbone(self.config, self.task)
        seen = read_ids(backbone, self.task, self.data.train)
        show_ids(backbone, seen)
        replay_runs(self.config, backbone, self.task, self.data, Run)
        if self.config.moe.control is None:
            return seen, backbone
        first = next(iter(self._in_order(self.data.train, self.rank.all())))
        batch = self.task.describe(self.task.collate(first))
        return seen, build_control(self.config, self.task, backbone, batch)

    def _add_baseline(self, folder: Path, result: dict[str, Any]) -> dict[str, Any]:
        start = time.perf_counter()
        found = self.task.baseline(self.data)
        result["baseline"] = {
            "name": found.name,
            "value": found.test,
            "validation": found.validation,
            "seconds": time.perf_counter() - start,
        }
        write_json(folder / RESULT, result)
        return result

    @contextmanager
    def _trainer(self, rank: Rank, **outputs: Any) -> Iterator[pl.Trainer]:
        """Lightning's trainer, for one process of the run."""
        settings = self.config.trainer
        with warnings.catch_warnings(), raised_once():
            # the loader slices tensors: worker processes would only slow it down
            warnings.filterwarnings("ignore", ".*does not have many workers.*")
            warnings.filterwarnings("ignore", module="lightning.*")
            yield pl.Trainer(
                max_epochs=settings.max_epochs,
                max_steps=settings.max_steps,
                accumulate_grad_batches=settings.accumulate_grad_batches,
                gradient_clip_val=settings.gradient_clip_val or None,
                accelerator=settings.accelerator,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                num_sanity_val_steps=0,
                log_every_n_steps=1,
                **outputs,
                **{**strategy_options(settings, rank), **self.trainer_options},
            )

    def _check_trainer_options(self) -> None:
        """Raise ``ConfigError`` for options of Lightning's ``Trainer`` with invalid values."""
        given, size = self.config.trainer.lightning, self.config.trainer.batch_size
        val = len(self._in_order(self.data.val, [self.rank]))
        for name, batches in (("train", self.batches.rows // size), ("val", val)):
            limit = given.get(f"limit_{name}_batches")
            if limited(batches, limit) < 1:
                expected = f"an integer >= 1, or a fraction that leaves one of {batches} batches"
                raise OptionError(f"trainer.limit_{name}_batches", limit, expected)
        every, batches = given.get("val_check_interval"), len(self.batches)
        within_epoch = given.get("check_val_every_n_epoch", 1) is not None
        if isinstance(every, int) and within_epoch and not 1 <= every <= batches:
            expected = f"an integer in [1, {batches}], the batches of an epoch, or a fraction"
            raise OptionError("trainer.val_check_interval", every, expected)
        callbacks = build_callbacks(self.config.trainer.callbacks)
        if self.trainer_options or callbacks or self.rank.world_size > 1:
            try:
                with self._trainer(self.rank, logger=False, callbacks=callbacks):
                    pass
            except (MisconfigurationException, TypeError, ValueError, RuntimeError) as error:
                given = {**given, "callbacks": self.config.trainer.callbacks}
                if self.rank.world_size > 1:
                    given["strategy"] = self.config.trainer.strategy
                names = ", ".join(f"trainer.{key}={value}" for key, value in given.items() if value)
                raise ConfigError(f"{names}: {error}") from error

    def _limits(self) -> list[EarlyStop | TimeLimit]:
        """Limits that may end training before its last step; ``OptionError`` if it cannot work."""
        settings, limits = self.config.trainer, list[EarlyStop | TimeLimit]()
        if (given := settings.early_stopping) is not None:
            score = self.task.score
            ours = {"monitor": f"val/{score.name}", "mode": score.direction[:3]}
            options = {**(ours if "monitor" not in given else {}), **given}
            check_options(EARLY_STOPPING, EarlyStop, options, skip=0)
            if options["monitor"] not in (names := self.module.evaluation.log_names("val")):
                raise unknown(f"{EARLY_STOPPING}.monitor", options["monitor"], names)
            limits.append(EarlyStop(**options))
        if settings.max_time is not None:
            limits.append(TimeLimit(settings.max_time))
        return limits

    def _loggers(self, folder: Path, checkpoint: Path | None) -> list[Logger]:
        """``metrics.csv`` and the logs that the configuration names."""
        table = CsvLog(folder / METRICS)
        if checkpoint is not None:
            table.resume_at(read_step(checkpoint))
        named, settings = self.config.trainer.logger, to_values(self.config)
        others = build_loggers(named, folder, settings, checkpoint is None)
        return [table, *others]

    def _saved_weights(self, folder: Path) -> SavedWeights:
        options = self.config.trainer.checkpoint
        check_options(CHECKPOINT, SavedWeights, options, skip=2)
        return SavedWeights(folder, self.task.score, **options)

    def _route_records(self, folder: Path, record: Record) -> list[RecordRoutes]:
        """The callback that ``trainer.record_routes`` describes, if any."""
        options = self.config.trainer.record_routes
        if options is None:
            return []
        check_installed("pyarrow", "data", RECORD_ROUTES)
        check_options(RECORD_ROUTES, RecordRoutes, options, skip=5)
        if not routed_layers(self.module.backbone):
            raise OptionError.about(RECORD_ROUTES, ": the network has no routed layer; remove it")
        data, size = self.data, self.config.trainer.batch_size
        about: dict[str, Any] = {
            "task": self.config.task["name"],
            "router": self.config.router["name"],
        }
        about |= {"data": data.name, "data_sha256": data.sha256, "split_sha256": data.split_sha256}
        return [RecordRoutes(folder, data.val, size, record, about, **options)]

    def _start_lines(self) -> list[str]:
        parameters = num_parameters(self.module.backbone)
        about = start_lines(self.config, self.task, self.data, parameters, self.active_parameters)
        if self.chosen:
            about.append(f"chosen by the data: {' '.join(self.chosen)}")
        if self.config.baseline:
            about.append("baseline: fitted after the test; the expected time leaves it out")
        return about + load_warning()

    def _in_order(self, split: Batch, ranks: Sequence[Rank]) -> InOrder:
        return InOrder(split, self.config.trainer.batch_size, ranks)

    def _try_out(self, seen: tuple[Tensor, ...]) -> float:
        """One pass over a few samples, so that what cannot work fails before training.

        ``seen`` is what routers that read ids were prepared by. Returns the parameters that worked
        on a sample, on average.
        """
        few = {name: values[:2] for name, values in self.data.train.items()}
        routings: list[Routing] = []

        def forward() -> None:
            routings.extend(self.module.backbone(self.module.prepare_batch(few))[1])

        try:
            with torch.no_grad(), torch.random.fork_rng(devices=[]):
                self.module.eval()
                flops = count_flops(forward)
                self.module.auxiliary_loss(routings)
        except ConfigError:
            raise
        except ValueError as error:
            parts = (f"{key}={part_name(self.config, key)}" for key in PARTS)
            names = (f"task={self.config.task['name']}", *parts)
            raise ConfigError(f"{', '.join(names)}: these do not fit together: {error}") from error
        self.module.train()
        if self.config.trainer.threads == AUTO:
            rows = len(next(iter(few.values())))
            step = 3 * flops * self.config.trainer.batch_size / rows  # a backward pass costs two
            self.config.trainer.threads = choose_threads(step)
            torch.set_num_threads(self.config.trainer.threads)
            # as a run does that has this number from its stored configuration
            show_ids(self.module.backbone, seen)
        return active_parameters(self.module.backbone, routings)

    def _result(self) -> dict[str, Any]:
        config, module, score = self.config, self.module, self.task.score
        evaluation = module.evaluation
        test = self._in_order(self.data.test, self.rank.all())
        module.to("cpu").float()  # as the data is
        compute = measure(module, test)
        return {
            "format": FORMAT,
            "task": config.task["name"],
            "router": arm_name(config),
            "expert": part_name(config, "expert"),
            "seed": config.seed,
            "score": {
                "name": score.name,
                "value": evaluation.scores[score.name],
                "direction": score.direction,
                "split": "test",
            },
            "scores": {**evaluation.scores, **evaluation.scores_by_label},
            "load": evaluation.load_summary(),
            "layers": [
                {**_parts_of_layer(config, number), **result}
                for number, result in enumerate(evaluation.layer_results())
            ],
            "compute": asdict(compute),
            "matched_to": part_name(config, "router") if config.moe.control else None,
            "baseline": None,
            "versions": self.versions,
            "data": {
                "name": self.data.name,
                "sha256": self.data.sha256,
                "split_sha256": self.data.split_sha256,
                "rows": {name: num_rows(getattr(self.data, name)) for name in SPLITS},
            },
        }


def _parts_of_layer(config: Config, layer: int) -> dict[str, str]:
    """Names of the router, or the control, and of the expert of a layer."""
    settings = settings_of(config, layer)
    router = settings.router["name"] if config.moe.control is None else arm_name(config)
    return {"router": router, "expert": settings.expert["name"]}


def _total_steps(settings: TrainerConfig, batches: int) -> int:
    steps = settings.max_epochs * -(-batches // settings.accumulate_grad_batches)
    return steps if settings.max_steps < 0 else min(steps, settings.max_steps)
