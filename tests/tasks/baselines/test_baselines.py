"""Simple models on the splits of a task, scored as the task scores its network."""

import dataclasses

import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

import tasks
from tasks.baselines.linear import linear_baseline

from ..cases import TINY, result_of
from ..own_data import OWN_DATA


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """Of each task that reads files, built for small data: its baseline."""

    def baseline(name, *overrides):
        folder = tmp_path_factory.mktemp(name)
        config = tasks.compose([f"task={name}", *OWN_DATA[name](folder), *overrides])
        task = tasks.build_task(config)
        return task.baseline(task.data())

    return baseline


@pytest.mark.parametrize(
    ("task", "name"),
    [
        ("image", "linear on pixels"),
        ("text_classification", "linear on TF-IDF of character n-grams"),
        ("multitask", "gradient boosting"),
    ],
)
def test_learns_small_data(own, task, name):
    found = own(task)
    assert found.name == name
    assert found.validation > 0.9
    assert found.test > 0.9


def test_long_texts_without_words(tmp_path):
    """They have n-grams of characters, not of the few words that no other text has."""
    rows = ("ab" * 200 if number % 2 else "cd" * 200 for number in range(1250))
    table = "".join(f"{row}{number}\t{number % 2}\n" for number, row in enumerate(rows))
    (tmp_path / "a.tsv").write_text(f"text\tlabel\n{table}")
    task = tasks.build("text_classification", data={"path": str(tmp_path / "a.tsv")})
    assert task.baseline(task.data()).test > 0.9


def test_ngrams_are_fitted_in_double_precision(own, monkeypatch):
    """In float32 the number of threads changes the score, as the solver amplifies last digits."""
    seen = []

    def record(*arguments):
        seen.extend(arguments)
        return linear_baseline(*arguments)

    monkeypatch.setattr("tasks.baselines.ngrams.linear_baseline", record)
    own("text_classification")
    assert [split.dtype for split in seen[3]] == ["float64"] * 3


def test_score_is_that_of_the_task(own):
    """Here macro F1 in each language, of which the mean is taken."""
    found = own("text_classification", "task.score=macro_f1")
    assert found.test > 0.9


def test_digits():
    """The accuracy is that of scikit-learn's own score."""
    task = tasks.build("digits")
    data = task.data()
    found = task.baseline(data)
    flat = [split["x"].flatten(1).numpy() for split in (data.train, data.val, data.test)]
    scaler = StandardScaler().fit(flat[0])
    x = [scaler.transform(each) for each in flat]
    models = [
        LogisticRegression(C=c, max_iter=100).fit(x[0], data.train["y"]) for c in (0.001, 0.01, 0.1)
    ]
    scores = [(m.score(x[1], data.val["y"]), m.score(x[2], data.test["y"])) for m in models]
    assert (found.validation, found.test) == pytest.approx(max(scores, key=lambda s: s[0]))
    # a class that is in no row to train on
    train = {name: values[data.train["y"] != 3] for name, values in data.train.items()}
    assert task.baseline(dataclasses.replace(data, train=train)).test < found.test


def test_result_shows_it(tmp_path, capsys):
    out = tmp_path / "run"
    assert tasks.main([*TINY, "expert.hidden=16", "baseline=true", f"out={out}"]) == 0
    found = result_of(out)["baseline"]
    assert found["name"] == "linear on pixels"
    assert 0.9 < found["validation"] < 1
    assert found["seconds"] > 0
    table = capsys.readouterr().out
    assert "baseline" in table
    assert f"{found['value']:.4f}" in table
    assert "linear on pixels, validation" in table


def test_without_one(capsys, tmp_path):
    assert tasks.main(["task=planted", "baseline=true", f"out={tmp_path / 'run'}"]) == 2
    assert "baseline=true: task=planted has no simple baseline" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
