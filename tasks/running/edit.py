"""A trained run edited: the command ``edit``, and the start of a run by ``init.edits``."""

import os
import shlex
import shutil
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, fields, replace
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from omegaconf import OmegaConf

from routers import ConfigError

from .._task import Backbone, Batch
from ..assembly.build import routed_layers
from ..config.compose import CONFIG, to_yaml, user_path
from ..config.init import read_init
from ..config.overrides import load_yaml, parse
from ..config.schema import Config
from ..edits import Context, NamedEdit, apply_edits, read_edits
from ..loading.batches import Batches, InOrder
from ..training.parameter_names import freeze
from .run_dir import CHECKPOINT, COMMAND, EDITS, FORMAT, PROGRAM, RESULT, write_json, write_text
from .stored import leave_out_training, stored_config
from .teacher import add_teacher
from .trained import load, load_as
from .weights import LAST, PART, copy_weights

if TYPE_CHECKING:
    from ..loading.batches import Rank
    from .run import Run

#: Samples of the validation split on which networks are measured.
SAMPLES = 1024


@dataclass
class Edited:
    """An edited network, the configuration that describes it, and a record of each edit."""

    config: Config
    network: Backbone
    records: list[dict[str, Any]]

    def copy_to(self, network: Backbone) -> None:
        """Load the weights into a network that the configuration describes."""
        copy_weights(network, self.network.state_dict(), "edits")
        for own, other in zip(routed_layers(network), routed_layers(self.network), strict=True):
            if getattr(own, "topology", None) != getattr(other, "topology", None):
                raise ConfigError(
                    "edits: the experts of several gates would no longer be in the order that the "
                    "network of the task has for so many; keep the same number for each task"
                )


def edit_run(
    folder: Path,
    config: Config,
    edits: Sequence[NamedEdit],
    *overrides: str,
    checkpoint: str = LAST,
) -> Edited:
    """The network of a run after edits, measured on its validation split where they need it.

    Args:
        folder: of the run.
        config: of the run, with ``overrides``; it stays as it is.
        edits: in their order.
        overrides: changes of the run's configuration, for errors.
        checkpoint: as for ``load``.
    """
    run = load_as(deepcopy(config), folder, *overrides, checkpoint=checkpoint)

    def batches() -> Iterator[Batch]:
        size = config.trainer.batch_size
        for batch in islice(InOrder(run.data.val, size), -(-SAMPLES // size)):
            yield run.module.prepare_batch(batch)

    def training_batches() -> Iterator[Batch]:
        batches = Batches(run.data.train, config.trainer.batch_size, config.seed)
        for epoch in count():
            batches.set_epoch(epoch)
            for batch in batches:
                yield run.module.prepare_batch(run.task.augment(batch))

    def other_run(place: str) -> Backbone:
        return load(place).module.backbone

    target = deepcopy(config)
    network = run.module.backbone
    context = Context(target, batches, other_run, training_batches, folder)
    records = apply_edits(edits, network, context)
    return Edited(target, network, records)


def edited_start(config: Config) -> Edited | None:
    """The edited network that a new run starts from; None without ``init.edits``.

    Its ``config`` is that of the new run. Router, experts and settings of layers are those of the
    edited run, except for keys whose values the new run has changed.
    """
    init = read_init(config.init)
    if init is None or not init.edits:
        return None
    folder = user_path(init.place)
    edits = read_edits("init.edits", init.edits)
    own = stored_config(folder)
    parent = deepcopy(own)
    is_dense = own.moe.control is not None or own.moe.num_experts == 1
    if not is_dense and config.router["name"] == own.router["name"]:
        parent.router = dict(config.router)  # such as a lower k, for fewer experts
    edited = edit_run(folder, parent, edits)
    target = edited.config
    moe = {field.name: getattr(config.moe, field.name) for field in fields(config.moe)}
    changed = {name: value for name, value in moe.items() if value != getattr(own.moe, name)}
    start = replace(
        config,
        router=_unless_changed(own.router, target.router, config.router),
        expert=_unless_changed(own.expert, target.expert, config.expert),
        moe=replace(target.moe, **changed),
        layers=_unless_changed(own.layers, target.layers, config.layers),
        freeze=[*config.freeze, *(name for name in target.freeze if name not in config.freeze)],
    )
    if target.router["name"] != config.router["name"]:
        start.losses = target.losses
    return Edited(start, edited.network, edited.records)


def new_run(config: Config, rank: "Rank | None" = None) -> "Run":
    """A run with its teacher, the weights that ``init`` names, and the shapes its edits leave."""
    from .run import Run

    edited = edited_start(config)
    run = Run(config if edited is None else edited.config, rank)
    initialize_run(run, edited)
    add_teacher(run)
    return run


def old_run(config: Config, rank: "Rank | None" = None) -> "Run":
    """A run to resume, with its teacher; its weights are in its checkpoint."""
    from .run import Run

    run = Run(config, rank)
    add_teacher(run)
    return run


def initialize_run(run: "Run", edited: Edited | None = None) -> None:
    """Load the weights that ``init`` names, after its edits; a resumed run has its own.

    ``edited`` is what ``edited_start`` returned for the run, if that is known already.
    """
    edited = edited or edited_start(run.config)
    if edited is None:
        run.initialize()
    else:
        edited.copy_to(run.module.backbone)


def _unless_changed(
    own: dict[str, Any], edited: dict[str, Any], given: dict[str, Any]
) -> dict[str, Any]:
    """The section of an edited run, unless the new run has changed that of the run itself."""
    return edited if given == own else given


def written_edits(words: Sequence[str]) -> tuple[list[NamedEdit], list[str]]:
    """The edits among the words of a command, and the other words; ``ConfigError`` without any."""
    given = [text for text in words if text.startswith("edits=")]
    others = [text for text in words if text not in given]
    if not given:
        raise ConfigError("edit: edits is missing, such as 'edits=[{prune: {keep: 4}}]'")
    _, _, written = parse(given[-1], texts=(), is_name=lambda key: False)
    return read_edits("edits", written), others


def edit_folder(folder: Path, words: Sequence[str], checkpoint: str, out: Path) -> dict[str, Any]:
    """Edit a run and write the result as the folder ``out``, whole or not at all.

    Returns what its ``result.json`` holds: scores of the edited network on the test split.
    """
    edits, overrides = written_edits(words)
    load_as_is = stored_config(folder, *overrides)
    check_overrides(folder, overrides)
    edited = edit_run(folder, load_as_is, edits, *overrides, checkpoint=checkpoint)
    run = _built(edited)
    result = run.test()
    config = replace(edited.config, out=str(out), resume=None, init=None)
    arguments = ["edit", str(folder), *words, f"checkpoint={checkpoint}", f"out={out}"]
    part = out.with_name(out.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    (part / CHECKPOINT).parent.mkdir(parents=True)
    weights = {PART + name: values for name, values in edited.network.state_dict().items()}
    torch.save({"state_dict": weights}, part / CHECKPOINT)
    write_text(part / CONFIG, to_yaml(config))
    write_text(part / COMMAND, shlex.join([*PROGRAM, *arguments]) + "\n")
    write_text(part / EDITS, _lineage(folder, checkpoint, edited.records))
    write_json(part / RESULT, result)
    os.replace(part, out)
    return result


def check_overrides(folder: Path, overrides: Sequence[str]) -> None:
    """Raise ``ConfigError`` for overrides of another task or other data than the run's."""
    for text in overrides:
        key = text.lstrip("+~").partition("=")[0]
        if not key.startswith(("router.", "moe.", "layers.", "trainer.", "plugins")):
            raise ConfigError(
                f"{text}: edit takes edits, checkpoint, out, and settings below router, moe, "
                "layers, trainer and plugins that keep the shapes of what was trained"
            )


def _built(edited: Edited) -> "Run":
    """The run that the configuration of an edited network describes, with its weights."""
    from .run import Run

    config = deepcopy(edited.config)
    leave_out_training(config)
    run = Run(config)
    edited.copy_to(run.module.backbone)
    freeze(run.module, edited.config.freeze)
    run.module.eval()
    return run


def _lineage(folder: Path, checkpoint: str, records: list[dict[str, Any]]) -> str:
    """The record of edits as YAML, with that of the run if it is an edited one."""
    before = folder / EDITS
    lines = {
        "format": FORMAT,
        "of": str(folder),
        "checkpoint": checkpoint,
        "edits": records,
        "before": OmegaConf.to_container(load_yaml(before)) if before.is_file() else None,
    }
    return OmegaConf.to_yaml(OmegaConf.create(lines))
