"""What Optuna kept of the search: every trial, and which parameters mattered."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import optuna
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from routers import ConfigError

from ..config.arms import slug
from ..results.sweep_dir import read_sweep
from ..storage.connect import STUDY, open_storage

#: With fewer finished trials importance is noise.
ENOUGH_TRIALS = 10
_WORTH_SHOWING = 0.005


@dataclass(frozen=True)
class Searched:
    """One study.

    Attributes:
        folder: of its sweep.
        trials: all that began, by slug of their arm.
        importances: share of each parameter in the main objective's variance; empty where
            there are too few trials to say.
    """

    folder: Path
    trials: Mapping[str, Sequence[FrozenTrial]]
    importances: Mapping[str, float] = field(default_factory=dict)


def read_studies(folder: Path) -> list[Searched]:
    """The studies of a sweep's search; none where their storage is gone or cannot be reached."""
    config = read_sweep(folder).config
    url = config.get("storage")
    if url is None and not (folder / STUDY).exists():
        return []
    own = f"{config['sweep']}/"
    try:
        with open_storage(url, folder) as storage:
            names = [name for name in optuna.get_all_study_names(storage) if name.startswith(own)]
            studies = [optuna.load_study(study_name=name, storage=storage) for name in names]
            found = [_searched(folder.resolve(), study) for study in studies]
    except (ConfigError, SQLAlchemyError):
        return []
    return [each for each in found if each.trials]


def _searched(folder: Path, study: Study) -> Searched:
    trials: dict[str, list[FrozenTrial]] = {}
    for trial in study.get_trials(deepcopy=False):
        if "arm" in trial.user_attrs:  # drawn by the search; what confirms it has none
            trials.setdefault(slug(trial.user_attrs["arm"]), []).append(trial)
    return Searched(folder, trials, _importances(study) if trials else {})


def _importances(study: Study) -> dict[str, float]:
    done = study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])
    if len(done) < ENOUGH_TRIALS or len({trial.values[0] for trial in done}) < 2:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of experimental features
        try:
            shares = get_param_importances(
                study,
                evaluator=FanovaImportanceEvaluator(seed=0),
                target=lambda trial: trial.values[0],
            )
        except (ValueError, RuntimeError):  # no parameter that all trials share, or varies
            return {}
    return {name: share for name, share in shares.items() if share >= _WORTH_SHOWING}
