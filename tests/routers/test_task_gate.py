"""A gate per task: the gate in use, all experts or the top K, and invalid options."""

import pytest
import torch

import routers
from routers import ConfigError, Items

TASK = torch.tensor([1, 0, 1])
X = torch.eye(3)[[0, 0, 2]]

#: Scores (task, expert) of an item that is the first unit vector, and of one that is the last.
FIRST = torch.tensor([[1.0, 3.0, 6.0, 0.5], [6.0, 1.0, 1.0, 3.0]]).log()
LAST = torch.tensor([[1.0, 1.0, 1.0, 1.0], [2.0, 5.0, 1.0, 1.0]]).log()


def router_of(**options: object) -> routers.Router:
    router = routers.build("task_gate", 3, 4, tasks=2, **options)
    with torch.no_grad():
        router.gate.weight.copy_(torch.stack([FIRST, torch.zeros(2, 4), LAST], -1).flatten(0, 1))
    return router


def test_each_item_goes_by_the_gate_of_its_task():
    routing = router_of()(Items(X, task=TASK))
    expected = torch.stack([FIRST[1], FIRST[0], LAST[1]]).softmax(-1)
    torch.testing.assert_close(routing.probs, expected)
    assert routing.is_dense
    torch.testing.assert_close(routing.weight.view(4, 3).t(), expected)


def test_the_k_best_share_among_themselves():
    routing = router_of(k=2)(Items(X, task=TASK))
    assert routing.expert.view(3, 2).tolist() == [[0, 3], [2, 1], [1, 0]]
    expected = torch.tensor([[2 / 3, 1 / 3], [2 / 3, 1 / 3], [5 / 7, 2 / 7]])
    torch.testing.assert_close(routing.weight.view(3, 2), expected)


def test_a_task_teaches_its_own_gate_alone():
    router = router_of(k=2)
    routing = router(Items(X[:2], task=torch.tensor([1, 1])))
    (routing.weight * torch.arange(4.0)).sum().backward()
    of_task = router.gate.weight.grad.view(2, 4, 3)
    assert of_task[0].abs().sum() == 0 < of_task[1].abs().sum()


def test_the_task_of_padding_may_be_anything():
    task = torch.tensor([1, -5, 99])
    routing = router_of()(Items(X, task=task, mask=torch.tensor([True, False, False])))
    assert routing.item.tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("task", [-1, 2])
def test_an_unknown_task_is_named(task):
    with pytest.raises(ConfigError, match=rf"has task {task}: .*\[0, tasks=2\)"):
        router_of()(Items(X, task=torch.tensor([0, 1, task])))


def test_without_tasks_it_says_what_to_do():
    with pytest.raises(ConfigError, match=r"router=task_gate: needs the task.*task=\.\.\."):
        router_of()(Items(X))


@pytest.mark.parametrize(
    ("options", "key"), [({"k": 1}, "k"), ({"k": 5}, "k"), ({"tasks": 0}, "tasks")]
)
def test_options_out_of_range(options, key):
    with pytest.raises(ConfigError, match=rf"router\.{key}="):
        routers.build("task_gate", 3, 4, **options)
