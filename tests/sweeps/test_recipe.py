"""Values that the data chooses are the same for all arms, except what an arm sets."""

import pytest

from sweeps import compose, make_plan

from ..tasks.own_data import corpus, images


def plan(run, arms, *more):
    text = ", ".join(f'"{override}"' for override in run)
    return make_plan(compose([f"run=[{text}]", f"arms={arms}", "controls=[]", *more]))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return images(tmp_path_factory.mktemp("data"))


def test_arms_share_what_the_data_chose(data):
    arms = "{a: [router=topk], b: [router=soft_mixture], c: [router=topk, optimizer.lr=0.03]}"
    made = plan(["task=image", *data], arms, "trials=1")
    a, b, c = (arm.run for arm in made.arms)
    assert a.auto == b.auto == c.auto == []
    assert (a.task, a.trainer, a.optimizer, a.expert) == (b.task, b.trainer, b.optimizer, b.expert)
    assert (a.task, a.trainer, a.expert) == (c.task, c.trainer, c.expert)
    assert c.optimizer.lr == 0.03 != a.optimizer.lr
    assert f"optimizer.lr={a.optimizer.lr}" in made.config.run  # and so in every trial
    assert made.to_dict() == plan(["task=image", *data], arms, "trials=1").to_dict()


def test_a_space_varies_what_the_data_chose(data):
    space = "space={optimizer.lr: {low: 1e-3, high: 1.0, log: true}}"
    made = plan(["task=image", *data], "[topk, soft_mixture]", "trials=2", space)
    for arm in made.arms:
        [rate] = [each for each in made.spaces[arm.label] if each.key == "optimizer.lr"]
        assert rate.default == arm.run.optimizer.lr


def test_data_of_an_arm(tmp_path):
    """Arms that name their data have their own values."""
    [path] = corpus(tmp_path)
    made = plan(["task=language_model"], f"{{a: [{path}]}}", "trials=1")
    assert made.config.run == ["task=language_model"]
    assert made.arms[0].run.auto == []
    assert made.arms[0].run.task["length"] == 192
    assert not made.notes
    both = plan(["task=language_model"], f"{{a: [{path}], b: [{path}, router=hash]}}", "trials=1")
    (note,) = both.notes
    assert "each arm, which may differ: run alone cannot work (task.data: neither of path" in note
