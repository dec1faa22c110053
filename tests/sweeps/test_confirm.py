"""What is confirmed: every arm's best, and what else lies on the front."""

from types import SimpleNamespace

from optuna.trial import TrialState

from sweeps._arms import Arm
from sweeps._confirm import candidates
from sweeps._metrics import Objective

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
