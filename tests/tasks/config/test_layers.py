"""Settings of single layers: which layers an entry selects, which setting wins, and errors."""

import random
from dataclasses import replace

import pytest
from omegaconf import OmegaConf

from routers import ConfigError
from tasks import check_ranges, compose, settings_of, to_yaml
from tasks.config.layers import change_layers
from tasks.config.selectors import Selector

DEPTH = 4

SWITCH = {"switch": 0.01}
WIDE = [128, 128]
NOISY = {"importance": 0.1, "load": 0.1}


def value_of(config, layer, key):
    settings = settings_of(config, layer)
    section, _, name = key.partition(".")
    values = getattr(settings, section)
    return (values if isinstance(values, dict) else vars(values))[name] if name else values


@pytest.mark.parametrize(
    ("overrides", "key", "expected"),
    [
        ([], "router.k", [2, 2, 2, 2]),
        (["layers.1.router=hash"], "router.name", ["topk", "hash", "topk", "topk"]),
        (["layers.1-2.moe.num_experts=16"], "moe.num_experts", [8, 16, 16, 8]),
        (["layers.2-.moe.num_experts=16"], "moe.num_experts", [8, 8, 16, 16]),
        (["layers.-2.moe.num_experts=16"], "moe.num_experts", [16, 16, 16, 8]),
        (["layers.0,2-.moe.num_experts=16"], "moe.num_experts", [16, 8, 16, 16]),
        (["layers={0: {moe.shared: 1}, -1: {expert.hidden: 5}}"], "moe.shared", [1, 0, 0, 0]),
        (["layers={0: {moe.shared: 1}, -1: {expert.hidden: 5}}"], "expert.hidden", [5, 5, *WIDE]),
        (["layers.0={router: {k: 4}, moe: {shared: 1}}"], "router.k", [4, 2, 2, 2]),
        # a later entry wins, and a setting that is made again is later
        (["layers.-2.router.k=1", "layers.1-.router.k=4"], "router.k", [1, 4, 4, 4]),
        (["layers.1-.router.k=4", "layers.-2.router.k=1"], "router.k", [1, 1, 1, 4]),
        (["layers.1.router.k=1", "layers.0-.router.k=4"], "router.k", [4, 4, 4, 4]),
        (
            ["layers.1.router.k=1", "layers.0-.router.k=4", "layers.1.router.k=3"],
            "router.k",
            [4, 3, 4, 4],
        ),
        (["layers.0.router.k=4", "~layers.0.router.k"], "router.k", [2, 2, 2, 2]),
        (["layers.0.router.k=4", "~layers.0"], "router.k", [2, 2, 2, 2]),
        # what layers change is what holds for all, unless they name a part
        (["router.k=3", "layers.0.router.gate=mlp"], "router.k", [3, 3, 3, 3]),
        (["router.k=3", "layers.0.router=topk"], "router.k", [2, 3, 3, 3]),
        (["layers.0.router.k=3", "layers.0.router=topk"], "router.k", [3, 2, 2, 2]),
        (["router.gate={name: mlp, hidden: 4}", "layers.0.router.gate.hidden=6"], "router.gate", [
            {"name": "mlp", "hidden": 6}, *[{"name": "mlp", "hidden": 4}] * 3
        ]),
        (["seed=7", "layers.0.router=hash", "layers.0.router.seed=${seed}"], "seed", None),
        # losses are a router's own, unless they are given
        (["layers.0.router=hash", "layers.1.router=noisy_topk"], "losses", [
            {}, NOISY, SWITCH, SWITCH
        ]),
        (["losses.z=1", "layers.0.router=hash"], "losses", [
            {"z": 1.0}, *[{**SWITCH, "z": 1.0}] * 3
        ]),
        (["losses={z: 1}", "layers.0.router=hash"], "losses", [{"z": 1.0}] * 4),
        (["layers.0.router=noisy_topk", "layers.0.losses.z=1", "~layers.0.router"], "losses", [
            {**SWITCH, "z": 1}, SWITCH, SWITCH, SWITCH
        ]),
        (["layers.1.losses={z: 1}", "layers.2.losses.z=2", "layers.3.losses.switch.level=step"],
            "losses", [
            SWITCH, {"z": 1.0}, {**SWITCH, "z": 2}, {"switch": {"weight": 0.01, "level": "step"}}
        ]),
    ],
)  # fmt: skip
def test_settings_of_each_layer(overrides, key, expected):
    config = compose(["task=digits", *overrides])
    again = compose([], base=OmegaConf.create(to_yaml(config)))
    assert to_yaml(again) == to_yaml(config)
    for each in (config, again):
        if expected is None:
            assert settings_of(each, 0).router["seed"] == 7
        else:
            assert [value_of(each, layer, key) for layer in range(DEPTH)] == expected


def test_settings_are_made_in_order():
    """Random settings, one after another, against a table of layers and keys."""
    draw, config, refused = random.Random(0), compose(["router=topk"]), 0
    selectors = ["0", "1", "3", "-1", "1-2", "2-", "0,2-", "0-"]
    defaults = {"moe.num_experts": 8, "moe.shared": 0, "router.k": 2}
    for _ in range(300):
        expected = [dict(defaults) for _ in range(DEPTH)]
        changes = []
        for value in range(10, 16):
            text, key = draw.choice(selectors), draw.choice([*defaults])
            changes.append(("", f"layers.{text}.{key}", value))
            for layer in range(DEPTH):
                if Selector.read(text).selects(layer):
                    expected[layer][key] = value
        try:
            made = replace(config, layers=change_layers({}, changes))
        except ConfigError:  # no order of entries has this result
            refused += 1
            continue
        found = [{key: value_of(made, n, key) for key in defaults} for n in range(DEPTH)]
        assert found == expected, changes
    assert refused < 100


def test_a_file_is_changed_by_the_next_and_by_the_command_line(tmp_path):
    (tmp_path / "a.yaml").write_text("layers: {0: {router: hash}, 1-: {moe: {num_experts: 4}}}\n")
    path = tmp_path / "b.yaml"
    path.write_text(f"base: {tmp_path / 'a.yaml'}\nlayers: {{1: {{moe.num_experts: 16}}}}\n")
    config = compose([f"experiment={path}", "layers.0.router.seed=3", "layers.3.router.k=1"])
    assert [value_of(config, layer, "moe.num_experts") for layer in range(3)] == [8, 16, 4]
    assert value_of(config, 0, "router")["seed"] == 3
    assert [value_of(config, layer, "router.name") for layer in (0, 3)] == ["hash", "topk"]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("layers.a.router=hash", "layers.a: expected the number of a layer, from 0, a range"),
        ("layers.-.router=hash", "layers.-: expected"),
        ("layers.3-1.router=hash", "layers.3-1: expected"),
        ("layers.0,.router=hash", "layers.0,: expected"),
        ("layers.0.ruoter=hash", "layers.0.ruoter: unknown; did you mean 'router'?"),
        ("layers.0.task=digits", "layers.0.task: unknown. Allowed: router, expert, moe, losses"),
        ("layers={0: {moe.experts: 4}}", "layers.0.moe.experts: unknown; did you mean 'num_exp"),
        ("layers.0.router=hahs", "layers.0.router=hahs: unknown; did you mean 'hash'?"),
        ("layers.2-.router.kk=1", "layers.2-.router.kk: unknown; did you mean 'k'?"),
        ("layers.0.router.k=two", "layers.0.router.k=two: expected int, got str"),
        ("layers.0.expert.hiden=2", "layers.0.expert.hiden: unknown; did you mean 'hidden'?"),
        ("layers.0.moe.num_experts=two", "layers.0.moe.num_experts=two: expected int"),
        ("layers.0.moe.num_experts=0", "layers.0.moe.num_experts=0 is invalid: expected an int"),
        ("layers.0.moe.drop=positon", "layers.0.moe.drop=positon: unknown; did you mean 'pos"),
        ("layers.0.moe.control=iso_flop", "layers.0.moe.control: a control replaces all"),
        ("layers.0.losses.swich=1", "layers.0.losses.swich: unknown; did you mean 'switch'?"),
        ("layers.0.losses.switch=x", "layers.0.losses.switch=x: expected float"),
        ("layers.0.losses={switch: {level: step}}", "layers.0.losses.switch.weight: required"),
        ("layers=3", "layers=3: expected dict"),
        ("layers.0=3", "layers.0=3 is invalid: expected settings such as {router: hash"),
        ("~layers.0.router", "~layers.0.router: there is no such key"),
        ("layers.0.expert=conv", "layers.0.expert=conv: its rows are (D, H, W), but task.model"),
        ("layerss.0.router=hash", "layerss.0.router: unknown; did you mean 'layers'?"),
    ],
)
def test_errors_name_the_key_and_the_cure(setting, message):
    with pytest.raises(ConfigError) as caught:
        check_ranges(compose(["router=topk", setting]))
    assert str(caught.value).startswith(message)


def test_a_setting_that_would_take_others_with_it_is_refused():
    both = ["layers.0={moe: {shared: 1, num_experts: 4}}", "layers.0-={moe: {shared: 2}}"]
    config = compose([*both, "layers.0.moe.shared=3"])
    assert [value_of(config, layer, "moe.shared") for layer in range(2)] == [3, 2]
    problem = r"layers\.0\.moe\.shared: cannot win over the later layers\.0- without"
    with pytest.raises(ConfigError, match=problem):
        compose([*both, "layers.0-.moe.num_experts=16", "layers.0.moe.shared=3"])


def test_an_option_of_the_former_router_is_refused_where_the_layer_has_another():
    with pytest.raises(ConfigError, match=r"^layers\.0-\.router\.jitter: unknown.*buckets"):
        compose(["router=topk", "layers.0.router=hash", "layers.0-.router.jitter=0.1"])
