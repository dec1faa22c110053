"""What is confirmed: every arm's best, and what else lies on the front."""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState, create_trial

from routers import ConfigError
from sweeps.config.arms import Arm
from sweeps.config.objectives import Objective
from sweeps.stages.confirmation import Candidate, ConfirmStage, candidates
from sweeps.workers.artifacts import RECORDS, pack

OBJECTIVES = [Objective("score.value", "maximize"), Objective("load.cv", "minimize")]
A, B = (Arm(name, name, (), False, None) for name in "ab")


def line(arm, *rows, constraints=(0.0,)):
    """A line whose trials came to these values; None for one that failed."""
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
    return SimpleNamespace(arm=lambda trial: arm, queue=queue)


def found(*lines, objectives=OBJECTIVES):
    plan = SimpleNamespace(arms=[A, B], objectives=objectives)
    return [(each.slug, each.trial.number, each.pareto) for each in candidates(plan, lines)]


def test_the_best_by_the_first_objective_and_the_rest_of_the_front():
    a = line(A, None, [0.9, 0.5], [0.8, 0.1], [0.7, 0.6])
    b = line(B, [0.85, 0.6], [0.5, 0.05])
    assert found(a, b) == [
        ("a", 1, True),
        ("b", 0, False),
        ("a-0002", 2, True),
        ("b-0001", 1, True),
    ]


def test_an_equal_trial_is_not_confirmed_twice():
    rows = [[0.9], [0.9], [0.8]]
    assert found(line(A, *rows), objectives=OBJECTIVES[:1]) == [("a", 0, True)]


def test_trials_outside_the_constraints_are_not_picked():
    assert found(line(A, [0.9, 0.1], constraints=(-1.0, 0.1)), line(B, [0.1, 0.9])) == [
        ("b", 0, True)
    ]


def confirmation(folder, storage):
    """A line that confirms one candidate with seeds 1000 and 1001."""
    confirm = SimpleNamespace(first_seed=1000, seeds=2)
    config = SimpleNamespace(run=[], retries=0, confirm=confirm)
    plan = SimpleNamespace(
        name="s", folder=folder, config=config, objectives=OBJECTIVES[:1], sends=True
    )
    best = SimpleNamespace(number=0, values=[0.9], params={}, user_attrs={"overrides": []})
    return ConfirmStage(plan, storage, nullcontext, [Candidate("a", "a", A, best, True)])


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
def test_what_is_no_run_of_the_sweep_is_written_nowhere(tmp_path, attrs):
    """Who may write to the storage says nothing about the folders of this machine."""
    storage, out = InMemoryStorage(), tmp_path / "sweeps" / "out"
    (out / "confirmed" / "a" / "seed-x").mkdir(parents=True)
    mine = tmp_path / "elsewhere" / "project"
    mine.mkdir(parents=True)
    (mine / "notes").write_text("precious")
    sent = tmp_path / "sent"
    sent.mkdir()
    (sent / "result.json").write_text("{}")
    line = confirmation(out, storage)
    study = storage.get_study_id_from_name("s/confirmed")
    state = {"state": TrialState.COMPLETE, "value": 0.0}
    attrs = {**attrs, **pack([sent], RECORDS)}
    storage.create_new_trial(study, create_trial(**state, user_attrs=attrs))
    before = sorted(tmp_path.rglob("*"))
    for act in (line.gather, line.upload_missing, lambda: confirmation(out, storage)):
        with pytest.raises(ConfigError, match="trial 2 of the study 's/confirmed' is of candidate"):
            act()
    assert [path for path in sorted(tmp_path.rglob("*")) if path not in before] == []
    assert (mine / "notes").read_text() == "precious"
