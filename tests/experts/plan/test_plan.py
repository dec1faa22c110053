"""``python -m experts plan``: what follows from a layer, rows and rates by hand."""

import json

import pytest
import torch

from experts.__main__ import main
from experts.plan import exchanged_bytes, parse, price_of

#: Rates of 1 per second, so that seconds are counts.
UNIT = [
    "expert=mlp",
    "dim=4",
    "hidden=8",
    "experts=4",
    "k=1",
    "tokens=10",
    "dtype=float32",
    "devices=2",
    "expert_parallel=2",
    "peak=1",
    "memory_bandwidth=1e12",
    "node_bandwidth=1",
    "latency=0",
]


def price(*changes):
    return price_of(parse([*UNIT, *changes]))


def test_flops_and_bytes_of_the_busiest_device():
    even, uneven = price(), price("skew=2.5")
    # 10 rows of 2 * 2 * 4 * 8 FLOPs, in three passes; half of them are exchanged in four trips
    assert even.seconds["experts"] == pytest.approx(10 * 128 * 3)
    assert even.seconds["exchange of rows"] == pytest.approx(4 * 5 * 16)
    assert even.seconds["router"] == 10 * 4 * 4 * 2 * 3
    assert even.exchanged == (2 * 10 * 16 + 16, 2 * 10 * 16 + 16)
    # 2.5 of 4 rows for the first expert, half a row for each other: 3 of 4 on the first device
    assert uneven.imbalance == pytest.approx(1.5)
    assert uneven.seconds["experts"] == pytest.approx(15 * 128 * 3)
    assert uneven.seconds["exchange of rows"] == pytest.approx(4 * 7.5 * 16)


def test_activations_follow_the_products():
    # an expert keeps a row, its hidden layer before and after the activation
    slow = price("activation_rate=1").seconds["experts"] - price().seconds["experts"]
    assert slow == pytest.approx(2 * 10 * (4 + 8 + 8) * 4)


def test_parts_of_other_nodes_travel_over_the_network():
    near, far = price(), price("devices_per_node=1", "network_bandwidth=0.5")
    assert far.seconds["exchange of rows"] == pytest.approx(2 * near.seconds["exchange of rows"])


def test_memory_falls_with_the_devices():
    alone = price("devices=1", "expert_parallel=1")
    split, sharded = price(), price("expert_parallel=1")
    experts = 4 * 4 * 2 * 4 * 8
    assert alone.memory["parameters"] == experts + 4 * 4 * 4
    assert split.memory["parameters"] == alone.memory["parameters"] / 2
    assert sharded.memory["parameters"] == alone.memory["parameters"] / 2
    assert sharded.memory["a gathered layer"] == alone.memory["parameters"]
    # an expert keeps a row, its hidden layer before and after the activation
    assert alone.memory["activations"] == pytest.approx(10 * (4 + 8 + 8) * 4 + 2 * 20 * 16)
    assert alone.memory["optimizer"] == 2 * alone.memory["parameters"]
    assert alone.exchanged == (0.0,)


def test_shared_experts_hide_an_exchange():
    hidden = price("shared=1")
    assert hidden.seconds["overlap"] == -min(5 * 16, 10 * 128)


def test_a_recorded_load_replaces_k_and_skew(tmp_path):
    by_device = [[9, 1, 0, 0], [1, 0, 2, 3]]
    files = {
        "devices.json": by_device,
        "experts.json": [10, 1, 2, 3],
        "result.json": {"layers": [{"load": [4, 4, 4, 4]}, {"load": [10, 1, 2, 3]}]},
    }
    found = {}
    for name, content in files.items():
        (tmp_path / name).write_text(json.dumps(content))
        found[name] = price(f"load={tmp_path / name}")
    assert found["devices.json"].exchanged == exchanged_bytes(torch.tensor(by_device), 16)
    assert found["devices.json"].imbalance == found["experts.json"].imbalance == 11 / 8
    assert found["experts.json"] == found["result.json"]


def test_the_bottleneck_is_named(capsys):
    assert main(["plan", *UNIT, "node_bandwidth=0.01"]) == 0
    assert "bottleneck: exchange of rows, " in capsys.readouterr().out
    assert main(["plan", *UNIT, "memory=10"]) == 0
    out = capsys.readouterr().out
    assert "bottleneck: experts, " in out
    assert "does not fit" in out


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("pek=1", "plan.pek: unknown; did you mean 'peak'?"),
        ("peak=fast", "plan.peak=fast: expected float, got str"),
        ("peak=0", "plan.peak=0 is invalid: expected a number above 0"),
        ("experts=6", "plan.experts=6 is invalid: expected a multiple of expert_parallel=4"),
        ("expert_parallel=3", "plan.expert_parallel=3 is invalid: expected a divisor of devices=4"),
        ("skew=99", "plan.skew=99 is invalid: expected a number in [1, experts=8]"),
        ("load=nowhere.json", "plan.load=nowhere.json is invalid: expected a JSON file"),
        ("expert=conv", "plan.expert=conv is invalid: expected experts of one form whose rows"),
        ("expert=glue", "expert=glue: unknown; did you mean 'glu'?"),
        ("expert=singleton", "Singleton cannot run without data"),
        ("dtype=int8", "plan.dtype=int8 is invalid: expected one of float32"),
        ("peak", "expected key=value"),
    ],
)
def test_bad_input_ends_with_2_and_a_cure(capsys, given, message):
    assert main(["plan", "experts=8", "devices=4", "expert_parallel=4", given]) == 2
    assert message in capsys.readouterr().err


def test_a_load_of_another_size_is_refused(capsys, tmp_path):
    path = tmp_path / "load.json"
    path.write_text("[1, 2, 3]")
    assert main(["plan", *UNIT, f"load={path}"]) == 2
    assert "expected a load of shape (4,) or (2, 4)" in capsys.readouterr().err
