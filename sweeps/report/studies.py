"""Trials and parameter importances of the search, from the Optuna studies of a sweep."""

import logging
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from ..config.arms import slug
from ..results.suite_dir import is_suite
from ..results.sweep_dir import read_config
from ..storage.connect import STORAGE_ERRORS, STUDY, open_storage, study_url, without_password

_LOGGER = logging.getLogger(__name__)

#: With fewer finished trials importance is noise.
MIN_TRIALS = 10
_MIN_SHARE = 0.005


@dataclass(frozen=True)
class StudyData:
    """The started trials of one study, by slug of their arm; ``folder`` is that of the sweep.

    ``importances`` are the shares of the parameters in the variance of the main objective, empty
    with too few trials.
    """

    folder: Path
    trials: Mapping[str, Sequence[FrozenTrial]]
    importances: Mapping[str, float]


def read_studies(folder: Path, storage: str | None = None) -> list[StudyData]:
    """Read the studies of a sweep; none, with a warning, where their storage cannot be read.

    The studies of a benchmark are in the folder of its suite. The folder may come from somebody
    else: a storage outside of it is opened only if ``storage`` names it, whatever ``sweep.yaml``
    says.
    """
    config = read_config(folder)
    home = folder.parent if is_suite(folder.parent) else folder
    if (named := config.get("storage")) is None:
        files = list(home.glob(f"{STUDY}*"))  # opening a study writes to all of them
        if not (home / STUDY).exists() or any(file.is_symlink() for file in files):
            return []
        storage = None
    elif storage is None:
        _LOGGER.warning(
            "%r: the trials are in another storage, so the report shows none of their parameters; "
            "if you trust it, run: python -m sweeps report DIR storage=URL, where sweep.yaml "
            "names %r",
            *(str(folder), named),
        )
        return []
    own = f"{config.get('sweep')}/"
    try:
        with open_storage(storage, home) as opened:
            names = [name for name in optuna.get_all_study_names(opened) if name.startswith(own)]
            studies = [optuna.load_study(study_name=name, storage=opened) for name in names]
            found = [_read(folder.resolve(), study) for study in studies]
    except (*STORAGE_ERRORS, ValueError, LookupError, TypeError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        _LOGGER.warning("%s is left out: %s", without_password(study_url(storage, home)), reason)
        return []
    return [each for each in found if each.trials]


def _read(folder: Path, study: Study) -> StudyData:
    trials: dict[str, list[FrozenTrial]] = {}
    for trial in study.get_trials(deepcopy=False):
        if "arm" in trial.user_attrs:  # set by the search; confirmation runs have none
            trials.setdefault(slug(trial.user_attrs["arm"]), []).append(trial)
    return StudyData(folder, trials, _importances(study) if trials else {})


def _importances(study: Study) -> dict[str, float]:
    done = study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])
    if len(done) < MIN_TRIALS or len({trial.values[0] for trial in done}) < 2:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of experimental features
        try:
            evaluator = FanovaImportanceEvaluator(seed=0)
            shares = get_param_importances(study, evaluator=evaluator, target=lambda t: t.values[0])
        except (ValueError, RuntimeError):  # no parameter that all trials share, or varies
            return {}
    return {name: share for name, share in shares.items() if share >= _MIN_SHARE}
