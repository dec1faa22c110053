"""Kinds of targets: losses without missing labels, scores as scikit-learn has them."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, mean_absolute_error, recall_score, roc_auc_score
from torch.nn import functional as F

from routers import ConfigError
from tasks.bases.multi_target import MultiTask
from tasks.multi_target.targets import KINDS, Target, losses_of

TARGETS = (
    Target("yes", "binary", ("no", "yes")),
    Target("colour", "classes", ("red", "green", "blue"), complete=False),
    Target("price", "number", mean=5.0, scale=2.0, complete=False),
)
NAN = math.nan


class Three(MultiTask):
    """A task with a target of each kind, for its losses and scores."""

    outputs = ("yes", "colour", "price")
    targets = TARGETS

    def __init__(self, **options):
        given = {"sharing": "mmoe", "weighting": "fixed", "weights": {}, "dropout": 0.0}
        super().__init__(dim=8, depth=1, tower=4, **{**given, **options})

    def data(self):
        raise NotImplementedError

    def encoder(self):
        return torch.nn.Identity()


def sample(rows=200, missing=0.3, seed=0):
    """Outputs and labels, some of them missing."""
    generator = torch.Generator().manual_seed(seed)
    widths = [KINDS[target.kind].outputs(target) for target in TARGETS]
    logits = tuple(torch.randn(rows, w, generator=generator, dtype=torch.float64) for w in widths)
    labels = [
        torch.randint(2, (rows,), generator=generator).double(),
        torch.randint(3, (rows,), generator=generator).double(),
        torch.randn(rows, generator=generator, dtype=torch.float64) * 3 + 5,
    ]
    y = torch.stack(labels, 1)
    y[torch.rand(rows, 3, generator=generator) < missing] = NAN
    return logits, y


def outputs(logits):
    return SimpleNamespace(logits=logits)


def test_widths():
    assert [KINDS[target.kind].outputs(target) for target in TARGETS] == [1, 3, 1]


def test_losses_are_means_over_labelled_samples():
    logits, y = sample()
    found = losses_of(TARGETS, logits, y)
    rows = [column.nonzero().squeeze(1) for column in (~y.isnan()).unbind(1)]
    assert all(0 < len(known) < len(y) for known in rows)
    binary, classes, number = (y[known, t] for t, known in enumerate(rows))
    expected = [
        F.binary_cross_entropy_with_logits(logits[0][rows[0], 0], binary),
        F.cross_entropy(logits[1][rows[1]], classes.long()),
        (logits[2][rows[2], 0] - (number - 5) / 2).square().mean(),
    ]
    torch.testing.assert_close(found, torch.stack(expected))


def test_gradients_of_missing_labels_are_zero():
    logits, y = sample()
    logits = tuple(x.requires_grad_() for x in logits)
    gradients = torch.autograd.grad(losses_of(TARGETS, logits, y).sum(), logits)
    for t, gradient in enumerate(gradients):
        assert ((gradient != 0).any(1) == ~y[:, t].isnan()).all()


def test_no_label_at_all():
    """The other targets are learnt as ever."""
    logits, y = sample()
    y[:, 1] = NAN
    losses = losses_of(TARGETS, logits, y)
    assert losses[1] == 0
    assert losses.isfinite().all()


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_scores_against_scikit_learn(missing):
    logits, y = sample(missing=missing)
    measures = Three().measures()
    for rows in torch.arange(len(y)).split(64):  # as batches come
        for measure in measures.values():
            measure.metric.update(
                *measure.reads(outputs([x[rows] for x in logits]), {"y": y[rows]})
            )
    found = {name: measure.metric.compute() for name, measure in measures.items()}
    known = (~y.isnan()).numpy()
    labels = [y.numpy()[known[:, t], t] for t in range(3)]
    said = [logits[t].numpy()[known[:, t]] for t in range(3)]
    assert found.keys() == {
        "auc/yes",
        "accuracy/yes",
        "accuracy/colour",
        "recall/colour",
        "error/price",
    }
    assert float(found["auc/yes"]) == pytest.approx(roc_auc_score(labels[0], said[0]), abs=1e-6)
    expected = accuracy_score(labels[0], said[0][:, 0] > 0)
    assert float(found["accuracy/yes"]) == pytest.approx(expected, abs=1e-6)
    best = said[1].argmax(1)
    expected = accuracy_score(labels[1], best)
    assert float(found["accuracy/colour"]) == pytest.approx(expected, abs=1e-6)
    recalls = recall_score(labels[1], best, average=None)
    assert list(found["recall/colour"]) == ["red", "green", "blue"]
    np.testing.assert_allclose(list(found["recall/colour"].values()), recalls, atol=1e-6)
    expected = mean_absolute_error(labels[2], said[2][:, 0] * 2 + 5)
    assert float(found["error/price"]) == pytest.approx(expected)


def test_a_batch_without_labels_adds_nothing():
    logits, y = sample()
    for measure in Three().measures().values():
        measure.metric.update(*measure.reads(outputs(logits), {"y": y}))
        before = measure.metric.compute()
        measure.metric.update(*measure.reads(outputs(logits), {"y": y * NAN}))
        assert measure.metric.compute() == before


def test_auc_tells_confident_predictions_apart():
    """Probabilities that single precision rounds to 1 still have an order."""
    logits = (torch.tensor([[20.0], [25.0], [30.0]]), torch.zeros(3, 3), torch.zeros(3, 1))
    measure = Three().measures()["auc/yes"]
    y = torch.tensor([[0.0, NAN, NAN], [1.0, NAN, NAN], [1.0, NAN, NAN]])
    measure.metric.update(*measure.reads(outputs(logits), {"y": y}))
    assert measure.metric.compute() == 1


def test_overall_by_hand():
    values = {"auc/yes": 0.9, "accuracy/yes": 0.1, "accuracy/colour": 0.6, "error/price": 0.5}
    assert Three().overall(values) == pytest.approx((0.9 + 0.6 + (1 - 0.5 / 2)) / 3)


def test_weights_are_factors():
    logits, y = sample()
    shared = SimpleNamespace(logits=logits, shared=torch.zeros(1), weighting=lambda x, _: x.sum())
    losses = losses_of(TARGETS, logits, y)
    expected = losses[0] + 2.5 * losses[1] + losses[2]
    found = Three(weights={"colour": 2.5}).loss(shared, {"y": y})
    assert found.item() == pytest.approx(expected.item())


def test_kinds_have_a_place_for_no_label():
    yes, colour = Three().kinds()
    assert (yes.name, yes.names) == ("yes", ("no", "yes"))
    assert (colour.name, colour.names) == ("colour", ("red", "green", "blue", "unlabelled"))
    batch = {"y": torch.tensor([[1.0, NAN, 1.0], [0.0, 2.0, NAN]])}
    assert yes.of(batch).tolist() == [1, 0]
    assert colour.of(batch).tolist() == [3, 2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": {"color": 1.0}}, "weights.color: unknown; did you mean 'colour'"),
        (
            {"weights": {"colour": 0.0}},
            "weights.colour=0.0 is invalid: expected a finite number",
        ),
        (
            {"weights": {"colour": True}},
            "weights.colour=True is invalid: expected a finite number",
        ),
        ({"weighting": "mdga"}, "weighting=mdga: unknown; did you mean 'mgda'"),
        ({"sharing": "mmoes"}, "sharing=mmoes: unknown; did you mean 'mmoe'"),
        ({"dropout": 1.0}, "dropout=1.0 is invalid: expected"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ConfigError) as error:
        Three(**options)
    assert message in str(error.value)


def test_a_target_may_not_be_called_as_gates_are():
    class Gated(Three):
        outputs = ("yes", "gate", "price")

    with pytest.raises(ConfigError, match="target=gate is invalid: expected another name"):
        Gated()


@pytest.mark.parametrize(
    ("kind", "classes", "message"),
    [
        ("binery", (), "kind=binery: unknown; did you mean 'binary'"),
        ("classes", ("one",), "two or more different classes"),
    ],
)
def test_bad_targets(kind, classes, message):
    with pytest.raises(ConfigError) as error:
        Target("colour", kind, classes)
    assert message in str(error.value)
