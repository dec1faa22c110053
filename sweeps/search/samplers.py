"""Samplers by name, seeded separately for every trial."""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

#: Factories of samplers from a seed. The points of a grid are enqueued, so its sampler draws
#: nothing.
SAMPLERS: dict[str, Callable[[int], BaseSampler]] = {
    "tpe": lambda seed: TPESampler(seed=seed, multivariate=True, group=True),
    "nsgaii": lambda seed: NSGAIISampler(seed=seed, population_size=20),
    "gp": lambda seed: GPSampler(seed=seed, deterministic_objective=False),
    "random": lambda seed: RandomSampler(seed=seed),
    "grid": lambda seed: RandomSampler(seed=seed),
}


class ReseededSampler(BaseSampler):
    """A new sampler for every trial, seeded by the trial's number.

    Suggestions depend only on the seed of the sweep, the name of the study, the trial number and
    the finished trials; resuming a sweep does not change them.
    """

    def __init__(self, name: str, seed: int, study: str) -> None:
        self._make = SAMPLERS[name]
        self._key = (seed, study)
        self._inner: BaseSampler = RandomSampler(seed=0)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        self._inner = self._sampler(trial)
        self._inner.before_trial(study, trial)

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return self._inner.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self._inner.sample_relative(study, trial, search_space)

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        # a trial that died between two suggestions resumes with the next one
        sampler = self._sampler(trial, param_name)
        return sampler.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self,
        study: Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        self._sampler(trial).after_trial(study, trial, state, values)

    def _sampler(self, trial: FrozenTrial, param: str = "") -> BaseSampler:
        text = repr((*self._key, trial.number, param)).encode()
        seed = int.from_bytes(hashlib.sha256(text).digest()[:4])
        return self._make(seed)
