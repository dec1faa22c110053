"""Every task trains with a fifth of the kinds of routers, every kind with a fifth of the tasks."""

import json
import math

import pytest

from tasks import TASKS, main
from tasks.conformance import check_task

from ..router_samples import layout, one_of_each, traits
from .cases import result_of, tiny
from .own_data import OWN_DATA

#: One of each layout, and one that reads ids; what reads a task is tried where there is one.
KINDS = one_of_each(
    lambda name: traits(name).needs_ids or layout(name), lambda name: not traits(name).needs_task
)


def small(task):
    """A small network of a task, with the usual batches and steps."""
    return [text for text in tiny(task) if "max_steps" not in text and "batch_size" not in text]


STEPS = ["trainer.max_steps=3", "trainer.max_epochs=3", "trainer.batch_size=64"]

#: What evaluates large splits sooner: shorter windows.
SOONER = {
    "language_model": ["task.length=64", "task.context=8"],
    "topics": ["task.length=64", "task.context=8"],
}


@pytest.fixture(scope="module")
def own_data(tmp_path_factory):
    """For each task what its command needs besides names."""
    folder = tmp_path_factory.mktemp("data")
    return {task: write(folder) for task, write in OWN_DATA.items()}


def causal_only(task):
    return TASKS.get_part(task).causal


#: Each task with every fifth kind, from the first, second, … fifth on in turn.
PAIRS = [
    (task, router)
    for number, task in enumerate(TASKS.available())
    for router in KINDS[number % 5 :: 5]
]


@pytest.mark.parametrize(("task", "router"), PAIRS)
def test_trains(tmp_path, capsys, own_data, task, router):
    command = [f"task={task}", f"router={router}", *own_data.get(task, []), *small(task)]
    command += [*STEPS, *SOONER.get(task, [])]
    code = main([*command, "expert.hidden=16", f"out={tmp_path / 'run'}"])
    if causal_only(task) and not traits(router).causal:
        assert code == 2
        assert "depend on later items" in capsys.readouterr().err
        assert not (tmp_path / "run").exists()
        return
    assert code == 0
    result = result_of(tmp_path / "run")
    assert (result["task"], result["router"]) == (task, router)
    assert math.isfinite(result["score"]["value"])
    assert result["score"]["value"] == result["scores"][result["score"]["name"]]
    assert min(result["data"]["rows"].values()) > 0
    for layer in result["layers"]:
        assert sum(layer["load"]) > 0
        assert all(0 <= value <= 1 for value in layer["nmi"].values())
    assert any(layer["nmi"] for layer in result["layers"]), "nothing says who does what"
    assert json.loads((tmp_path / "run" / "result.json").read_text()) == result


@pytest.mark.parametrize("task", TASKS.available())
def test_keeps_the_contract(own_data, task):
    check_task(task, *own_data.get(task, []), *small(task), *SOONER.get(task, []))


def test_every_task_that_needs_files_has_some():
    refused = [task for task in TASKS.available() if "data" in TASKS.options(task)]
    assert sorted(OWN_DATA) == refused


@pytest.mark.parametrize("task", OWN_DATA)
def test_own_data_is_asked_for(capsys, task):
    assert main([f"task={task}"]) == 2
    assert "give one, task.data.path=FILE_OR_FOLDER" in capsys.readouterr().err
