"""Who does what: rows by kind, mass by task, and what a run leaves of it."""

import csv

import pytest
import torch
from sklearn.metrics import normalized_mutual_info_score

import routers
from routers import Items, Routing
from routers.comparison import normalized_mutual_information
from tasks import build
from tasks.loading.batches import InOrder
from tasks.metrics.specialization import mass_by_task, rows_by_kind

from ..cases import result_of, train


def table_one_by_one(routing, kind, kinds):
    table = torch.zeros(routing.num_experts, kinds, dtype=torch.float64)
    for item, expert in zip(routing.item.tolist(), routing.expert.tolist(), strict=True):
        table[expert, kind[item]] += 1
    return table


@pytest.mark.parametrize("masked", [False, True])
def test_rows_by_kind_of_samples(masked):
    torch.manual_seed(0)
    mask = torch.rand(20) > 0.4 if masked else None
    items = Items(torch.randn(20, 3), groups=4, mask=mask)
    routing = routers.build("topk", 3, 5)(items)
    kind = torch.tensor([2, 0, 1, 1])  # of four samples with five items each
    of_items = torch.tensor([[k] * 5 for k in kind]).flatten()
    table = rows_by_kind(routing, kind, 3)
    torch.testing.assert_close(table, table_one_by_one(routing, of_items, 3))
    torch.testing.assert_close(rows_by_kind(routing, of_items.view(4, 5), 3), table)


def test_slots_count_in_parts():
    torch.manual_seed(0)
    items = Items(torch.randn(12, 3), groups=2)
    routing = routers.build("soft_moe", 3, 2, slots=2)(items)
    kind = torch.randint(3, (12,))
    dispatch = routing.execution.dispatch.double()  # (2, 6, 4): slots 0 and 1 are expert 0's
    expected = torch.zeros(2, 3, dtype=torch.float64)
    for item in range(12):
        for slot in range(4):
            expected[slot // 2, kind[item]] += dispatch[item // 6, item % 6, slot]
    table = rows_by_kind(routing, kind, 3)
    torch.testing.assert_close(table, expected)
    torch.testing.assert_close(table.sum(1), routing.load.double(), rtol=1e-6, atol=0)


def test_mass_by_task():
    weight = torch.rand(3, 2, 2, dtype=torch.float64)  # three items, two experts, two tasks
    expert = torch.tensor([[0, 1], [2, 0], [1, 2]])
    routing = Routing.by_item(Items(torch.zeros(3, 1)), expert, weight, 3)
    expected = torch.zeros(3, 2, dtype=torch.float64)
    for item in range(3):
        for choice in range(2):
            expected[expert[item, choice]] += weight[item, choice]
    torch.testing.assert_close(mass_by_task(routing), expected)


def test_information_as_scikit_learn_has_it():
    generator = torch.Generator().manual_seed(0)
    expert = torch.randint(4, (200,), generator=generator)
    kind = (expert + torch.randint(2, (200,), generator=generator)) % 5
    table = torch.zeros(4, 5).index_put((expert, kind), torch.ones(200), accumulate=True)
    expected = normalized_mutual_info_score(expert.numpy(), kind.numpy())
    assert normalized_mutual_information(table) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("table", [torch.zeros(2, 3), torch.ones(1, 3), torch.ones(3, 1)])
def test_nothing_to_know_is_zero(table):
    assert normalized_mutual_information(table) == 0


def test_a_run_leaves_its_confusion(tmp_path):
    run = tmp_path / "run"
    train(run, "router=topk", "router.k=1", "router.weighting=probability", "moe.num_experts=4")
    with (run / "confusion.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 2 * 4 * 10  # layers, experts, classes
    layers = result_of(run)["layers"]
    labels = torch.cat([batch["y"] for batch in InOrder(build("digits").data().test, 64)])
    for number, layer in enumerate(layers):
        of_layer = [line for line in lines if line["layer"] == str(number)]
        for expert, load in enumerate(layer["load"]):
            rows = [float(line["rows"]) for line in of_layer if line["expert"] == str(expert)]
            assert sum(rows) == load
        for kind in range(10):  # sixteen patches of each image of the class
            rows = [float(line["rows"]) for line in of_layer if line["kind"] == str(kind)]
            assert sum(rows) == 16 * int((labels == kind).sum())
        table = torch.tensor([float(line["rows"]) for line in of_layer]).view(4, 10)
        assert layer["nmi"]["class"] == pytest.approx(normalized_mutual_information(table))
