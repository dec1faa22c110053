"""Search spaces: their sources, and errors."""

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from routers import ConfigError
from sweeps import compose as compose_sweep
from sweeps import make_plan
from sweeps.search.space import (
    as_overrides,
    check_keys,
    defaults,
    grid,
    join_spaces,
    read_space,
    suggest,
)
from tasks import compose, settings_of

from ..cases import TINY

LR = {"optimizer.lr": {"low": 1e-3, "high": 1e-2, "log": True}}


def space(written, *overrides):
    return read_space(written, compose(["task=digits", *overrides]))


def asked(given):
    """A trial of a separate study, as in a sweep."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    return study.ask()


def test_a_router_brings_its_own():
    found = {each.key: each for each in space({}, "router=soft_mixture")}
    assert found.keys() == {"router.temperature"}
    assert found["router.temperature"].distribution == FloatDistribution(0.1, 10.0, log=True)
    assert found["router.temperature"].default == 1.0


def test_the_space_of_a_router_contains_what_the_task_sets():
    found = {each.key: each for each in read_space({}, compose(["task=planted", "router=topk"]))}
    assert found["router.k"].default == 1
    assert found["router.k"].distribution == CategoricalDistribution([1, 2, 4])
    (temperature,) = space({}, "router=soft_mixture", "router.temperature=0.01")
    assert temperature.distribution == FloatDistribution(0.01, 10.0, log=True)


def test_the_sweep_widens_narrows_and_leaves_out():
    found = {
        each.key: each.distribution
        for each in space({**LR, "router.k": [1, 2, 4], "router.weighting": None}, "router=topk")
    }
    assert found["router.k"] == CategoricalDistribution([1, 2, 4])
    assert found.keys() == {"router.k", "optimizer.lr"}
    (whole,) = space({"trainer.batch_size": {"low": 16, "high": 64}}, "router=uniform")
    assert whole.distribution == IntDistribution(16, 64)


def test_ranges_of_other_arms_are_left_alone():
    assert [each.key for each in space({"router.k": [1, 2]}, "router=entmax")] == ["router.alpha"]


def test_a_dense_control_has_no_router_to_vary():
    found = space(LR, "router=topk", "moe.control=iso_flop")
    assert [each.key for each in found] == ["optimizer.lr"]


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ({"router.k": []}, "a list of choices"),
        ({"router.k": 3}, "a list of choices"),
        ({"router.k": {"low": 1}}, "a list of choices"),
        ({"router.k": [1, 4]}, "excludes the default 2"),
        ({"optimizer.lr": {"low": 0.5, "high": 0.1}}, "low"),
        ({"optimizer.lr": {"low": 0.5, "high": 1.0}}, "excludes the default 0.002"),
    ],
)
def test_refused(written, words):
    with pytest.raises(ConfigError, match=words):
        space(written, "router=topk")


def test_a_key_that_no_arm_has():
    runs = [compose(["router=topk"]), compose(["router=hash"])]
    check_keys({"router.table": ["random"]}, runs)
    with pytest.raises(ConfigError, match=r"router\.kk: no arm has it.*'router\.k'"):
        check_keys({"router.kk": [1]}, runs)


def test_values_become_overrides_that_a_run_takes():
    found = space({**LR, "losses.z": {"low": 0.0, "high": 0.1}}, "router=topk")
    values = suggest(found, asked(found))
    config = compose(["router=topk", *as_overrides(found, values)])
    assert config.optimizer.lr == values["optimizer.lr"]
    assert config.losses["z"] == values["losses.z"]
    assert config.router["k"] == values["router.k"]
    assert compose(["router=topk", *as_overrides(found, defaults(found))]).router["k"] == 2


def test_experts_may_be_chosen_too():
    found = space({"expert": ["mlp", "glu", "low_rank"]}, "router=uniform")
    assert defaults(found) == {"expert": "mlp"}
    values = suggest(found, asked(found))
    expected = compose(["router=uniform", *as_overrides(found, values)])
    assert expected.expert["name"] == values["expert"]


def test_parameters_of_other_arms_do_not_show_in_a_joint_study():
    spaces = {"a": space({}, "router=soft_mixture"), "b": space({}, "router=expert_choice")}
    whole = join_spaces(spaces)
    assert defaults(whole, {"arm": "b"}) == {"arm": "b", "b/router.factor": 2.0}
    values = suggest(whole, asked(whole))
    assert {name.partition("/")[0] for name in values if name != "arm"} == {values["arm"]}


def test_a_grid_begins_with_the_defaults():
    found = space({}, "router=topk")
    points = grid(found)
    assert points[0] == defaults(found)
    assert len(points) == 4
    assert len({tuple(point.items()) for point in points}) == 4
    with pytest.raises(ConfigError, match="not a range"):
        grid(space(LR, "router=topk"))


def test_ranges_of_single_layers():
    given = ["router=uniform", "expert.hidden=16", "layers.0.moe.num_experts=4"]
    ranges = {"layers.0.moe.num_experts": [4, 8], "layers.1-.expert": ["mlp", "glu"]}
    found = space(ranges, *given)
    start = defaults(found)
    assert start == {"layers.1-.expert": "mlp", "layers.0.moe.num_experts": 4}
    # naming the same expert again would take its options away
    assert as_overrides(found, start) == ["layers.0.moe.num_experts=4"]
    other = {"layers.1-.expert": "glu", "layers.0.moe.num_experts": 8}
    run = compose(["task=digits", *given, *as_overrides(found, other)])
    settings = [settings_of(run, layer) for layer in range(2)]
    assert [each.expert["name"] for each in settings] == ["mlp", "glu"]
    assert [each.moe.num_experts for each in settings] == [8, 8]


def test_the_router_of_a_layer_brings_its_own():
    (own,) = space({}, "router=uniform", "layers.1.router=soft_mixture")
    assert (own.key, own.default) == ("layers.1.router.temperature", 1.0)
    assert not space({}, "router=topk", "layers.0-.router=uniform")  # no layer has topk
    found = space({"layers.0.router": ["topk", "hash"]}, "router=topk", "router.k=4")
    names = {each.name for each in found}
    assert {"layers.0.router", "hash/layers.0.router.table", "router.k"} <= names
    hashed = as_overrides(found, {**defaults(found, {"layers.0.router": "hash"})})
    assert {"layers.0.router=hash", "layers.0.router.table=random"} <= set(hashed)


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("layers.0.moe.num_expert", r"no arm has it; unknown; did you mean 'layers\.0\.moe\.num_e"),
        ("layers.0.moe.control", "no arm has it"),
        ("layers.0-.moe.num_experts", r"different values in the first trial \(8, 4, 8\)"),
        ("layers.x.moe.num_experts", r"layers\.x: expected the number"),
    ],
)
def test_ranges_of_layers_that_cannot_work(key, words):
    run = compose(["task=digits", "router=uniform", "layers.1.moe.num_experts=4"])

    def read():
        check_keys({key: [4, 8]}, [run])
        read_space({key: [4, 8]}, run)

    with pytest.raises(ConfigError, match=words):
        read()


def test_a_range_of_a_layer_that_the_network_lacks_is_refused_before_work():
    given = [*TINY, "arms=[topk]", "controls=[]", "space={layers.5.moe.num_experts: [4, 8]}"]
    with pytest.raises(ConfigError, match=r"arm topk: layers\.5: 5 selects no layer.*has 2 rou"):
        make_plan(compose_sweep(given))
