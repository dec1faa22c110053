"""Confirmed trials: every arm's best one, and the rest of the Pareto front."""

import json
from types import SimpleNamespace

import pytest
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState, create_trial

from routers import ConfigError
from sweeps import Objective
from sweeps.config.arms import Arm
from sweeps.config.confirm import ConfirmConfig
from sweeps.stages.confirmation import Candidate, ConfirmStage, select_candidates

OBJECTIVES = [Objective("score.value", "maximize"), Objective("load.cv", "minimize")]
A, B = (Arm(name, name, (), False, None, 0) for name in "ab")


def search(arm, *rows, constraints=(0.0,)):
    """A stage whose trials have these values; None for a failed one."""
    trials = [
        SimpleNamespace(
            number=number,
            values=values,
            state=TrialState.FAIL if values is None else TrialState.COMPLETE,
            constraints=dict(enumerate(constraints)),
            params={"x": number},
        )
        for number, values in enumerate(rows)
    ]
    queue = SimpleNamespace(trials=lambda: trials)
    return SimpleNamespace(arm=lambda trial: arm, overrides=lambda trial: [], queue=queue)


def found(*stages, objectives=OBJECTIVES):
    plan = SimpleNamespace(arms=[A, B], objectives=objectives)
    return [(each.slug, each.trial.number, each.pareto) for each in select_candidates(plan, stages)]


def test_the_best_by_the_first_objective_and_the_rest_of_the_front():
    a = search(A, None, [0.9, 0.5], [0.8, 0.1], [0.7, 0.6])
    b = search(B, [0.85, 0.6], [0.5, 0.05])
    assert found(a, b) == [
        ("a", 1, True),
        ("b", 0, False),
        ("a-0002", 2, True),
        ("b-0001", 1, True),
    ]


def test_an_equal_trial_is_not_confirmed_twice():
    rows = [[0.9], [0.9], [0.8]]
    assert found(search(A, *rows), objectives=OBJECTIVES[:1]) == [("a", 0, True)]


def test_trials_outside_the_constraints_are_not_candidates():
    assert found(search(A, [0.9, 0.1], constraints=(-1.0, 0.1)), search(B, [0.1, 0.9])) == [
        ("b", 0, True)
    ]


def confirmation(folder, storage):
    """A stage that confirms one candidate with seeds 1000 and 1001."""
    confirm = ConfirmConfig(seeds=2, first_seed=1000)
    config = SimpleNamespace(run=[], retries=0, confirm=confirm)
    plan = SimpleNamespace(name="s", folder=folder, config=config, objectives=OBJECTIVES[:1])
    plan.titled = str
    best = SimpleNamespace(number=0, values=[0.9], params={})
    return ConfirmStage(plan, storage, [Candidate("a", "a", A, best, [], True)])


def test_an_arm_file_has_a_format(tmp_path):
    confirmation(tmp_path, InMemoryStorage())
    assert json.loads((tmp_path / "confirmed" / "a" / "arm.json").read_text())["format"] == 1


@pytest.mark.parametrize(
    "attrs",
    [
        {"candidate": "a", "seed": "x/../../../../elsewhere/project"},
        {"candidate": "a", "seed": 7},
        {"candidate": "../../elsewhere", "seed": 1000},
        {"candidate": ["a"], "seed": 1000},
        {},
    ],
)
def test_runs_of_other_sweeps_are_refused(tmp_path, attrs):
    """Write access to the storage gives no access to the folders of this machine."""
    storage = InMemoryStorage()
    confirmation(tmp_path, storage)
    study = storage.get_study_id_from_name("s/confirmed")
    state = {"state": TrialState.COMPLETE, "value": 0.0}
    storage.create_new_trial(study, create_trial(**state, user_attrs=attrs))
    with pytest.raises(ConfigError, match="trial 2 of the study 's/confirmed' is of candidate"):
        confirmation(tmp_path, storage)
