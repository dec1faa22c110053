"""Losses and scores of single samples, against batches of one sample."""

import pytest
import torch

from tasks import Run, compose
from tasks.probe.sample_values import SampleScores, losses_by_sample

from ..cases import NARROW, tiny
from ..own_data import corpus, table, texts

SETTINGS = {
    "digits": lambda folder: tiny("digits"),
    "planted": lambda folder: tiny("planted"),
    "multitask": lambda folder: (*tiny("multitask"), *table(folder), "trainer.batch_size=16"),
    "text_classification": lambda folder: (*tiny("text_classification"), *texts(folder)),
    "language_model": lambda folder: (
        *("task.length=24", "task.context=8", *tiny("language_model")),
        *corpus(folder),
    ),
}


def outputs(name, folder, rows=70):
    """A task, and what an untrained network makes of two batches of its test split."""
    run = Run(compose([f"task={name}", *SETTINGS[name](folder), NARROW]))
    module, split = run.module.eval(), run.data.test
    rows = min(rows, len(next(iter(split.values()))))
    found = []
    with torch.no_grad():
        for part in (slice(0, rows // 2), slice(rows // 2, rows)):
            batch = module.prepare_batch({key: values[part] for key, values in split.items()})
            found.append((batch, module.backbone(batch)[0]))
    return run, found


@pytest.mark.parametrize("name", SETTINGS)
def test_losses_are_those_of_batches_of_one(name, tmp_path):
    run, ((batch, output), _) = outputs(name, tmp_path)
    found = losses_by_sample(run.task, output, batch)
    for row in (0, 3, len(found) - 1):
        one = {key: values[row : row + 1] for key, values in batch.items()}
        if name == "multitask":
            logits = tuple(each[row : row + 1] for each in output.logits)
            of_row = type(output)(logits, output.shared[row : row + 1], output.weighting)
        else:
            of_row = output[row : row + 1]
        torch.testing.assert_close(found[row], run.task.loss(of_row, one))


@pytest.mark.parametrize("name", ["digits", "planted"])
def test_accuracy_is_a_mean_over_samples(name, tmp_path):
    run, batches = outputs(name, tmp_path)
    scores = SampleScores(run.task)
    for batch, output in batches:
        scores.add(output, batch)
        assert scores.of(output, batch).tolist() == (output.argmax(1) == batch["y"]).tolist()
    assert scores.is_mean
    right = [(output.argmax(1) == batch["y"]).double() for batch, output in batches]
    assert scores.score == pytest.approx(float(torch.cat(right).mean()))


@pytest.mark.parametrize("name", ["multitask", "language_model"])
def test_scores_that_are_no_mean_over_samples(name, tmp_path):
    """An area under a curve; a mean over bytes, of which windows have different numbers."""
    run, batches = outputs(name, tmp_path)
    scores = SampleScores(run.task)
    for batch, output in batches:
        scores.add(output, batch)
    assert not scores.is_mean


def test_a_loss_with_a_branch_on_values_is_computed_one_by_one():
    class Branching:
        def loss(self, output, batch):
            wrong = (output - batch["y"]).abs().mean()
            return wrong if wrong > 1 else wrong.square()

    output, y = torch.tensor([1.0, 5.0]), torch.tensor([0.5, 2.0])
    assert losses_by_sample(Branching(), output, {"y": y}).tolist() == [0.25, 3.0]
