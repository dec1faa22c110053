"""Experts by a given map, and the conformance check of task-based routing."""

import pytest
import torch

import routers
from routers import CheckError, ConfigError, Items, Traits
from routers.conformance.checks.traits import check_needs_task
from routers.conformance.harness import RouterUnderTest

TASK = torch.tensor([2, 0, 1, 2])


def routing_of(table, num_experts=4, task=TASK, **given):
    router = routers.build("mapped", 3, num_experts, table=table)
    return router(Items(torch.randn(len(task), 3), task=task, **given))


def test_by_default_tasks_take_experts_in_turn():
    routing = routing_of(None, num_experts=2, task=torch.tensor([0, 1, 2, 5]))
    assert routing.assigned_mask.int().tolist() == [[1, 0], [0, 1], [1, 0], [0, 1]]


def test_a_table_of_lists_shares_evenly():
    routing = routing_of([[3], [0, 1], [1, 2, 0]])
    expected = torch.tensor([[1 / 3, 1 / 3, 1 / 3, 0], [0, 0, 0, 1], [0.5, 0.5, 0, 0]])
    torch.testing.assert_close(routing.probs, expected[[0, 1, 2, 0]])
    assert routing.load.tolist() == [3, 3, 2, 1]


def test_a_plain_list_names_one_expert_per_task():
    assert routing_of([3, 3, 0]).assigned_mask.int().argmax(1).tolist() == [0, 3, 3, 0]


def test_the_task_of_padding_may_be_anything():
    task = torch.tensor([0, -1, 99])
    routing = routing_of([1], task=task, mask=torch.tensor([True, False, False]))
    assert (routing.item.tolist(), routing.expert.tolist()) == ([0], [1])


@pytest.mark.parametrize(
    ("table", "task", "message"),
    [
        ([0, 1], 2, r"task 2, but router.table has tasks in \[0, 2\)"),
        ([0, 1], -1, r"task -1, but router.table has tasks in \[0, 2\)"),
        (None, -3, "task -3, but router.table has tasks >= 0"),
    ],
)
def test_an_unknown_task_is_named(table, task, message):
    with pytest.raises(ConfigError, match=message):
        routing_of(table, task=torch.tensor([0, task]))


@pytest.mark.parametrize("table", [[], [[]], [4], [-1], [[0, 1], [2, 4]], [[1, 1]]])
def test_a_table_that_cannot_be_is_refused(table):
    with pytest.raises(ConfigError, match=r"router\.table=.*for each task"):
        routers.build("mapped", 3, 4, table=table)


@pytest.mark.parametrize("table", ["0", [0.5], [["a"]], 3, [True]])
def test_a_table_of_another_type_is_refused(table):
    with pytest.raises(ConfigError, match=r"router\.table=.*expected"):
        routers.build("mapped", 3, 4, table=table)


def test_the_kit_holds_for_tables_too():
    routers.check_router("mapped", table=[[0, 1], [2, 3]])


class Claims(routers.ROUTERS["topk"]):
    """Top-K that says it reads tasks."""

    traits = Traits(needs_task=True)


class ClaimsAndRefuses(Claims):
    def forward(self, items):
        if items.task is None:
            raise ConfigError("give the task of every item")
        return super().forward(items)


class Vague(routers.ROUTERS["mapped"]):
    def forward(self, items):
        if items.task is None:
            raise ConfigError("something is missing")
        return super().forward(items)


class Undeclared(routers.ROUTERS["mapped"]):
    traits = Traits(learned=False, has_logits=False)


class ReadsOthers(routers.ROUTERS["mapped"]):
    def forward(self, items):
        if items.task is None:
            return super().forward(items)
        shifted = Items(items.x, items.groups, items.mask, items.ids, items.task.roll(1))
        return super().forward(shifted)


class ReadsContent(routers.ROUTERS["mapped"]):
    def forward(self, items):
        if items.task is None:
            return super().forward(items)
        task = items.task + (items.x[:, 0] > 0)
        return super().forward(Items(items.x, items.groups, items.mask, items.ids, task))


@pytest.mark.parametrize(
    ("broken", "error", "message"),
    [
        (Claims, CheckError, "works without task"),
        (ClaimsAndRefuses, CheckError, "changed tasks do not change routes"),
        (Vague, CheckError, "does not name task"),
        (Undeclared, ConfigError, "needs the task"),
        (ReadsOthers, CheckError, "tasks of other items"),
        (ReadsContent, CheckError, "change with x or ids"),
    ],
)
def test_the_kit_catches(broken, error, message):
    with pytest.raises(error, match=message):
        check_needs_task(RouterUnderTest(broken, 8, 4))
