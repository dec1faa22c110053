"""Statistics of the training split: computed once for all backbones of a task."""

import torch

from tasks import Samples, build


def test_a_statistic_is_computed_once_for_equal_options():
    seen = []

    def total(train, factor):
        seen.append(factor)
        return float(train["x"].sum()) * factor

    samples = Samples("images", (1,), 2, {"x": torch.ones(3)})
    assert [samples.once(total, factor) for factor in (2, 2, 5, 2)] == [6.0, 6.0, 15.0, 6.0]
    assert seen == [2, 5]


def test_a_task_has_the_same_samples_for_every_backbone():
    task = build("char_names")
    assert task.samples is task.samples
