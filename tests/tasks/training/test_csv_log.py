"""The metrics table: whole at any moment, and one table over several stops."""

import csv
import os

from hypothesis import given
from hypothesis import strategies as st

from tasks.training.csv_logger import CsvLog


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_columns_grow(tmp_path):
    log = CsvLog(tmp_path / "metrics.csv")
    log.log_metrics({"a": 1.0}, 1)
    log.save()
    log.log_metrics({"b": 2.0}, 2)
    log.log_metrics({"c": 3.0}, 2)  # one row per step
    log.save()
    assert rows(tmp_path / "metrics.csv") == [
        {"step": "1", "a": "1.0", "b": "", "c": ""},
        {"step": "2", "a": "", "b": "2.0", "c": "3.0"},
    ]


def test_steps_are_in_order(tmp_path):
    log = CsvLog(tmp_path / "metrics.csv")
    for step in (10, 2, 7):
        log.log_metrics({"a": step}, step)
    log.save()
    assert [row["step"] for row in rows(tmp_path / "metrics.csv")] == ["2", "7", "10"]


def test_nothing_logged_no_file(tmp_path):
    CsvLog(tmp_path / "metrics.csv").save()
    assert not list(tmp_path.iterdir())


def test_resume_keeps_rows_up_to_the_step(tmp_path):
    path = tmp_path / "metrics.csv"
    log = CsvLog(path)
    for step in (1, 2, 3):
        log.log_metrics({"a": 0.1 * step}, step)
    log.save()
    resumed = CsvLog(path)
    resumed.resume_at(2)
    resumed.log_metrics({"a": 9.0, "b": 1.0}, 4)
    resumed.save()
    assert [(row["step"], row["a"], row["b"]) for row in rows(path)] == [
        ("1", "0.1", ""),
        ("2", "0.2", ""),
        ("4", "9.0", "1.0"),
    ]


def test_resume_without_a_file(tmp_path):
    log = CsvLog(tmp_path / "metrics.csv")
    log.resume_at(5)
    assert log.rows == {}


@given(
    st.dictionaries(
        st.integers(1, 50),
        st.dictionaries(
            st.sampled_from("abc"), st.floats(allow_nan=False) | st.integers(), min_size=1
        ),
        min_size=1,
    )
)
def test_reading_back_and_writing_changes_nothing(tmp_path_factory, values):
    path = tmp_path_factory.mktemp("log") / "metrics.csv"
    log = CsvLog(path)
    for step, metrics in values.items():
        log.log_metrics(metrics, step)
    log.save()
    before = path.read_bytes()
    again = CsvLog(path)
    again.resume_at(max(values))
    again.save()
    assert path.read_bytes() == before


def test_the_file_is_whole_at_any_moment(tmp_path, monkeypatch):
    """It is only ever replaced, by a file that is already complete."""
    path = tmp_path / "metrics.csv"
    log = CsvLog(path)
    log.log_metrics({"a": 1.0}, 1)
    log.save()
    log.log_metrics({"a": 2.0}, 2)
    replace = os.replace

    def watch(source, target):
        assert len(rows(path)) == 1
        assert len(rows(source)) == 2
        replace(source, target)

    monkeypatch.setattr(os, "replace", watch)
    log.save()
    assert len(rows(path)) == 2
    assert [left.name for left in tmp_path.iterdir()] == ["metrics.csv"]
