"""Checks of a task's network: routings, loss, score, causality, predictions and checkpoints."""

import io
import math
import warnings
from typing import Any

import torch
from torch import Tensor, nn

from routers import ConfigError
from routers.conformance import CheckError, require

from .._task import Backbone, Batch
from ..assembly.build import routed_layers
from ..loading.batches import num_rows
from ..training.evaluation import Evaluation
from .harness import TaskUnderTest

#: Steps of a training on one batch, and their rate.
STEPS, RATE = 30, 3e-3

#: Of numbers in float32 that were computed in another order.
TOLERANCE = 1e-3

#: Routers that read ids, and the task of a sample.
BY_IDS, BY_TASK = "hash", "task_gate"


def check_routings(subject: TaskUnderTest) -> str | None:
    """The network returns the routing of each of its routed layers, in their order."""
    network = subject.network()
    layers, made = routed_layers(network), dict[nn.Module, list[Any]]()
    for layer in layers:
        layer.register_forward_hook(
            lambda layer, given, out: made.setdefault(layer, []).append(out[1])
        )
    with torch.no_grad():
        _, routings, _ = subject.run(network, subject.batch())
    hint = "return output, [routing of each layer], in the order in which they are registered"
    why = f"the network has {len(layers)} routed layers and returns {len(routings)} routings"
    require(len(routings) == len(layers), why, hint)
    for number, (layer, routing) in enumerate(zip(layers, routings, strict=True)):
        calls = made.get(layer, [])
        why = f"routed layer {number} was called {len(calls)} times"
        require(len(calls) == 1, why, "call each layer once; build one for each place")
        why = f"routing {number} is not the one that routed layer {number} made"
        require(calls[0] is routing, why, hint)
    return None if layers else "nothing is routed"


def check_ids_reach_layers(subject: TaskUnderTest) -> str | None:
    """If ``has_ids``: the network works with a router that reads ids."""
    if not subject.task.has_ids:
        return "not declared"
    hint = "pass ids=batch.get('ids') to every routed layer, as it routes: (B,) or (B, L)"
    return _runs_with(subject, BY_IDS, hint)


def check_tasks_reach_layers(subject: TaskUnderTest) -> str | None:
    """If ``has_tasks``: the network works with a router that reads the task of samples."""
    if not subject.task.has_tasks:
        return "not declared"
    hint = "name each sample's task in the column task, and pass task=batch.get('task') to layers"
    return _runs_with(subject, BY_TASK, hint)


def check_loss(subject: TaskUnderTest) -> None:
    """The loss is a finite scalar, of one sample too, with a gradient for every parameter."""
    network = subject.network().train()
    for rows in (1, 32):
        batch = subject.task.augment(subject.batch(rows=rows))
        output, _, ready = subject.run(network, batch)
        value = subject.task.loss(output, ready)
        why = f"the loss of {num_rows(batch)} samples is {value.tolist()}"
        require(value.dim() == 0, why, "return the mean over the samples")
        require(value.isfinite(), why, "average over what has a target; 0 if nothing has")
    require(value.requires_grad, "the loss has no gradient", "detach nothing")
    trained = {name: p for name, p in network.named_parameters() if p.requires_grad}
    slopes = torch.autograd.grad(value, list(trained.values()), allow_unused=True)
    hint = "use every parameter in forward: with several devices the others would wait for it"
    for name, slope in zip(trained, slopes, strict=True):
        require(slope is not None, f"{name} gets no gradient", hint)
        require(slope.isfinite().all(), f"the gradient of {name} is not finite", "divide by no 0")


def check_learning(subject: TaskUnderTest) -> str | None:
    """Training on one batch lowers the loss there, and moves the score in its direction."""
    network, batch = subject.network(), subject.batch()
    before = _evaluated(subject, network, batch)
    optimizer = torch.optim.Adam(network.parameters(), lr=RATE)
    network.train()
    for _ in range(STEPS):
        output, _, ready = subject.run(network, batch)
        optimizer.zero_grad()
        torch.autograd.backward(subject.task.loss(output, ready))
        optimizer.step()
    after = _evaluated(subject, network.eval(), batch)
    score = subject.task.score
    shown = f"from {before['loss']:.4g} to {after['loss']:.4g}"
    hint = "compare the outputs with batch['y'] in loss, and let the output depend on the input"
    learns = after["loss"] < before["loss"]
    require(learns, f"{STEPS} steps on one batch change the loss {shown}", hint)
    was, now = before[score.name], after[score.name]
    if not (math.isfinite(was) and math.isfinite(now)) or was == now:
        return f"loss falls; the score of one batch stays {now:.4g}"
    why = f"{score.name} goes from {was:.4g} to {now:.4g} as the loss goes {shown}"
    hint = f"score.direction is {score.direction}: is it the other one, or do its inputs differ?"
    require((now > was) == (score.direction == "maximize"), why, hint)
    return None


def check_samples_alone(subject: TaskUnderTest) -> str | None:
    """In evaluation, the predictions for a sample do not depend on the samples in its batch."""
    network = subject.network()
    if not all(layer.router.traits.per_item for layer in routed_layers(network)):
        return "the router looks at whole batches"
    if any(layer.capacity is not None for layer in routed_layers(network)):
        return "capacity depends on the batch"
    few = {name: values[:3] for name, values in subject.batch().items()}
    whole, alone = (_predicted(subject, network, each) for each in (subject.batch(), few))
    if whole is None or alone is None:
        return "no predictions"
    for name, column in alone.items():
        why = f"the prediction {name} of a sample is another in a smaller batch"
        hint = "let padding have a mask and affect nothing; compute no statistics over a batch"
        require(_near(column, whole[name][: len(column)]), why, hint)
    return None


def check_predictions(subject: TaskUnderTest) -> str | None:
    """``predictions`` has the same columns for every batch, with a plain value for each sample."""
    network, names = subject.network(), None
    for split in ("val", "test"):
        batch = subject.batch(split)
        columns = _predicted(subject, network, batch)
        if columns is None:
            return "not defined"
        names = names or list(columns)
        why = f"columns of predictions are {', '.join(columns)}, and before {', '.join(names)}"
        require(names == list(columns), why, "return the same columns for every batch")
        for name, column in columns.items():
            why = f"{name} has {len(column)} predictions for {num_rows(batch)} samples"
            require(len(column) == num_rows(batch), why, "return a value for each sample")
            plain = all(isinstance(value, str | int | float | bool) for value in column)
            require(plain, f"{name} holds a {type(column[0]).__name__}", "use values.tolist()")
            finite = all(math.isfinite(value) for value in column if isinstance(value, float))
            require(finite, f"{name} is not finite", "divide by no 0")
    return None


def check_causal(subject: TaskUnderTest) -> str | None:
    """If ``causal``: outputs do not depend on later inputs."""
    if not subject.task.causal:
        return "not declared"
    network = subject.network()
    batch = subject.task.collate(subject.batch(rows=4))
    x = batch["x"]
    middle = x.shape[1] // 2
    later = torch.cat([x[:, :middle], x.roll(1, 0)[:, middle:]], 1)
    outputs = []
    with torch.no_grad():
        for each in (x, later):
            output, _ = network(_described(subject, network, {**batch, "x": each}))
            why = f"the output is a {type(output).__name__}"
            placed = isinstance(output, Tensor) and output.shape[:2] == x.shape[:2]
            require(placed, why, "return (B, L, …): an output for each position")
            outputs.append(output[:, :middle])
    why = f"outputs before position {middle} change with inputs from there on"
    hint = "mask attention, pad convolutions on the left, and take no mean over positions"
    one, other = outputs
    require(torch.allclose(one, other, rtol=TOLERANCE, atol=TOLERANCE), why, hint)
    return None


def check_weights_seeded(subject: TaskUnderTest) -> None:
    """Two networks built with one seed have the same weights."""
    one, other = (subject.build().state_dict() for _ in range(2))
    differ = [name for name in one if not torch.equal(one[name], other[name])]
    hint = "draw weights from torch's global generator, which a run seeds, and from no other"
    require(not differ, f"{', '.join(differ[:3])} differ between two networks of one seed", hint)


def check_checkpoint(subject: TaskUnderTest) -> None:
    """A network of another seed that loads the weights gives the same loss and predictions."""
    network, fresh = subject.network(), subject.build(seed=subject.config.seed + 1)
    stream = io.BytesIO()
    torch.save(network.state_dict(), stream)
    stream.seek(0)
    fresh.load_state_dict(torch.load(stream, weights_only=True))
    batch = subject.batch()
    hint = "keep every tensor of its state in a Parameter or with register_buffer"
    one, other = (_evaluated(subject, each, batch)["loss"] for each in (network, fresh))
    require(_near([one], [other]), f"with loaded weights the loss is {other}, not {one}", hint)
    columns = [_predicted(subject, each, batch) for each in (network, fresh)]
    for name in columns[0] or {}:
        near = all(columns) and _near(*(each[name] for each in columns if each))
        require(near, f"with loaded weights the predictions {name} differ", hint)


def _runs_with(subject: TaskUnderTest, router: str, hint: str) -> str | None:
    """Require that the network runs with a router; a note if the backbone refuses it."""
    try:
        network = subject.build(router)
    except ConfigError as error:
        return f"refused: {error}"
    try:
        with torch.no_grad():
            subject.run(network, subject.batch())
    except Exception as error:
        raise CheckError(f"with router={router}: {type(error).__name__}: {error}", hint) from error
    return None


def _described(subject: TaskUnderTest, network: Backbone, batch: Batch) -> Batch:
    needs_ids = any(layer.router.traits.needs_ids for layer in routed_layers(network))
    return subject.task.describe(batch) if needs_ids else batch


@torch.no_grad()
def _evaluated(subject: TaskUnderTest, network: Backbone, batch: Batch) -> dict[str, float]:
    """Loss and scores of a batch."""
    evaluation = Evaluation(subject.task, routed_layers(network))
    output, routings, ready = subject.run(network, batch)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of metrics, that a batch lacks some class
        evaluation.update(output, ready, routings)
        evaluation.finish()
    return evaluation.scores


@torch.no_grad()
def _predicted(
    subject: TaskUnderTest, network: Backbone, batch: Batch
) -> dict[str, list[Any]] | None:
    """Columns of predictions; None if the task defines none."""
    output, _, ready = subject.run(network, batch)
    try:
        return subject.task.predictions(output, ready)
    except ConfigError:
        return None


def _near(one: list[Any], other: list[Any]) -> bool:
    return len(one) == len(other) and all(
        math.isclose(a, b, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
        if isinstance(a, float) and isinstance(b, float)
        else a == b
        for a, b in zip(one, other, strict=True)
    )
