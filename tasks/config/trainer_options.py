"""Options of Lightning's ``Trainer`` that a configuration passes on as they are."""

from collections.abc import Mapping
from typing import Any

from routers.plugins import OptionError, check_options, defaults, unknown_option

from .open_sections import OPEN_SECTIONS

#: Options of ``Trainer`` that a run sets itself, and why.
RESERVED = {
    "barebones": "it turns off checkpoints and logs, from which a run resumes",
    "default_root_dir": "the folder of a run is out",
    "enable_autolog_hparams": "config.yaml in the run's folder holds all settings",
    "enable_checkpointing": "a run always writes checkpoints/last.ckpt",
    "enable_model_summary": "a run prints its parameters at the start",
    "enable_progress_bar": "the progress is trainer.progress",
    "fast_dev_run": "it turns off checkpoints and logs; use trainer.max_steps",
    "limit_predict_batches": "a run predicts nothing",
    "limit_test_batches": "a result is that of the whole test split",
    "model_registry": "it belongs to Lightning's own checkpoints, which a run does not write",
    "num_sanity_val_steps": "every network is tried on two samples before training",
    "overfit_batches": "validation would read training rows; use trainer.limit_train_batches",
    "plugins": "modules to import are plugins, without trainer; precision is trainer.precision",
    "profiler": "its report goes to Lightning's log, which a run does not print",
    "reload_dataloaders_every_n_epochs": "the data is read once",
    "use_distributed_sampler": "every device already reads its share of each batch",
}

_OWN = OPEN_SECTIONS["trainer"].own


def check_trainer_options(options: Mapping[str, Any]) -> None:
    """Raise ``OptionError`` for an option that ``Trainer`` does not have, or that a run sets.

    >>> check_trainer_options({"fast_dev_run": True})
    Traceback (most recent call last):
    routers.plugins.errors.OptionError: trainer.fast_dev_run=True cannot be set: it turns off ...
    """
    if not options:  # so that Lightning, which takes seconds, is not imported
        return
    from lightning.pytorch import Trainer

    known = defaults(Trainer, skip=0).keys()
    for name, value in options.items():
        if name in RESERVED:
            problem = f"={value} cannot be set: {RESERVED[name]}"
            raise OptionError.about(f"trainer.{name}", problem)
        if name not in known:
            raise unknown_option(
                "trainer", name, [*sorted(_OWN), *sorted(known - _OWN - RESERVED.keys())]
            )
    check_options("trainer", Trainer, options, skip=0)
