"""Auxiliary losses in a configuration: weights, levels, repeated losses and errors."""

import pytest

from routers import ConfigError
from tasks import compose


def losses(*overrides):
    return compose(["task=digits", *overrides]).losses


def test_a_weight_alone_stays_a_number():
    assert losses("losses={switch: 1, z: 0.5}") == {"switch": 1.0, "z": 0.5}


def test_a_level_is_an_option():
    step = {"switch": {"weight": 0.1, "level": "step"}}
    assert losses("losses={switch: {weight: 0.1, level: step}}") == step
    assert losses("losses={switch: 0.1}", "losses.switch.level=step") == step
    assert losses("losses={switch: {weight: 0.1, level: batch}}") == {"switch": 0.1}
    assert losses("router=topk", "losses.switch.level=step") == {
        "switch": {"weight": 0.01, "level": "step"}
    }


def test_one_loss_at_several_levels():
    both = {"switch": [0.1, {"weight": 0.2, "level": "sequence"}]}
    assert losses("losses={switch: [0.1, {weight: 0.2, level: sequence}]}") == both


def test_a_loss_of_another_module():
    name = "routers.losses.entropy:entropy"
    assert losses(f"losses={{'{name}': 0.1}}") == {name: 0.1}


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("losses.swich=0.1", "losses.swich: unknown; did you mean 'switch'"),
        ("losses.switch_global=0.1", r"losses\.switch_global: .*switch=\{weight: …, level: step\}"),
        ("losses.importance_sequence=0.1", r"importance=\{weight: …, level: sequence\}"),
        ("losses.switch.level=stp", r"losses\.switch\.level=stp: unknown; did you mean 'step'"),
        ("losses={load: {weight: 1, level: sequence}}", r"load\.level=sequence: unknown.*batch, s"),
        ("losses={z: {weight: 1, level: step}}", r"losses\.z\.level: unknown"),
        ("losses={switch: {level: step}}", r"losses\.switch\.weight: required"),
        ("losses={switch: {weight: .inf}}", r"losses\.switch\.weight=inf is invalid.*finite"),
        ("losses={switch: text}", r"losses\.switch=text: expected float"),
        ("losses.switch=.nan", r"losses\.switch=nan is invalid: expected a finite number"),
    ],
)
def test_errors_name_the_key_and_the_cure(setting, message):
    with pytest.raises(ConfigError, match=message):
        losses(setting)
