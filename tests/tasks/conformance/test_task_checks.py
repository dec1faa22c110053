"""The kit of tasks: each check catches a faulty task; ``test_every_task`` checks ours."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from routers import CheckError
from routers.conformance import check_name
from tasks import TASKS, Backbone, Data, Labeling, MetricSpec, Score, Task, main
from tasks.conformance import KIT, check_task
from tasks.pictures import TextPicture
from tasks.planted import Planted


class Net(Backbone):
    """A routed layer and a linear head."""

    def __init__(self, layer, dim, classes):
        super().__init__()
        self.layer = layer((dim,))
        self.head = nn.Linear(dim, classes)

    def forward(self, batch):
        update, routing = self.layer(self.read(batch["x"]), ids=batch.get("ids"))
        return self.head(batch["x"] + update), [routing]

    def read(self, x):
        return x


class Sound(Planted):
    """Points, with another network."""

    net = Net

    def backbone(self, layer):
        return self.net(layer, self.dim, self.classes)


class Undocumented(Sound):
    __doc__ = None


class Sideways(Sound):
    """No direction."""

    score = Score("accuracy", "up")


class Unmeasured(Sound):
    """A score that nothing measures."""

    score = Score("f1", "maximize")


def changed(**splits):
    """A task whose splits are changed by functions of the data."""

    class Changed(Sound):
        """Changed."""

        def data(self):
            data = super().data()
            return replace(data, **{name: change(data) for name, change in splits.items()})

    return Changed


class Fickle(Sound):
    """Draws its data from the global generator."""

    def data(self):
        data = super().data()
        return replace(data, train={**data.train, "x": torch.rand_like(data.train["x"])})


class OtherData(Sound):
    """Hands on an option by which data differs."""

    def same_data(self):
        return {"classes": self.classes + 1}


class InPlace(Sound):
    """Scales the stored data."""

    def collate(self, batch):
        batch["x"].mul_(0.5)
        return batch


class NotFinite(Sound):
    """Divides by 0."""

    def collate(self, batch):
        return {**batch, "x": batch["x"] / 0}


class RandomCollate(Sound):
    """Noise outside of augment."""

    def collate(self, batch):
        return {**batch, "x": batch["x"] + torch.rand(())}


class LosesColumns(Sound):
    """An augmentation without targets."""

    def augment(self, batch):
        return {"x": batch["x"]}


class FloatIds(Sound):
    """Ids that are no integers."""

    def describe(self, batch):
        return {**batch, "ids": batch["x"][:, 0]}


class FlatFeatures(Sound):
    """A number instead of a vector."""

    def features(self, batch):
        return batch["x"][:, 0]


class TooManyLabels(Sound):
    """More labels than names."""

    def kinds(self):
        return (Labeling("cluster", ("one", "two"), lambda batch: batch["cluster"]),)


class FloatContent(Sound):
    """Content that is no integer."""

    def content(self, batch):
        return {"first": batch["x"][:, 0]}


class OnePicture(Sound):
    """A picture of the first sample alone."""

    def pictures(self, batch):
        return [TextPicture(b"first")]


class NoRouting(Net):
    def forward(self, batch):
        return super().forward(batch)[0], []


class Twice(Net):
    def forward(self, batch):
        self.layer(batch["x"])
        return super().forward(batch)


class WithoutIds(Net):
    def forward(self, batch):
        return super().forward({"x": batch["x"]})


class Spare(Net):
    def __init__(self, *given):
        super().__init__(*given)
        self.spare = nn.Linear(2, 2)


class Centred(Net):
    def read(self, x):
        return x - 5 * x.mean(0)


class Unseeded(Net):
    def __init__(self, *given):
        super().__init__(*given)
        self.head.weight.data[0, 0] = np.random.default_rng().random()


class Forgetful(Net):
    def __init__(self, *given):
        super().__init__(*given)
        self.shift = torch.rand(())

    def forward(self, batch):
        output, routings = super().forward(batch)
        return output + self.shift * torch.arange(output.shape[1]), routings


def with_net(kind):
    """A task with another network."""

    class WithNet(Sound):
        """Another network."""

        net = kind

    return WithNet


class Domains(Sound):
    """Declares tasks that batches do not name."""

    has_tasks = True


class Vector(Sound):
    """A loss for each sample."""

    def loss(self, output, batch):
        return F.cross_entropy(output, batch["y"], reduction="none")


class Contrary(Sound):
    """Learns to be wrong."""

    def loss(self, output, batch):
        return 0 * output.sum() + batch["x"].mean()


class WrongWay(Sound):
    """A score in the wrong direction."""

    score = Score("accuracy", "minimize")


class FewPredictions(Sound):
    """A prediction too few."""

    def predictions(self, output, batch):
        return {"class": output.argmax(1).tolist()[1:]}


class TensorPredictions(Sound):
    """Tensors."""

    def predictions(self, output, batch):
        return {"class": list(output.argmax(1))}


class Letters(Task):
    """The next of 5 letters, each one or two after the last."""

    score = Score("accuracy", "maximize")
    causal = True
    looks_ahead = False

    def data(self):
        steps = torch.randint(1, 3, (96, 9), generator=torch.Generator().manual_seed(0))
        text = steps.cumsum(1) % 5
        rows = {"x": text[:, :-1], "y": text[:, 1:]}
        splits = ({n: v[start : start + 32] for n, v in rows.items()} for start in (0, 32, 64))
        return Data("letters", "0" * 64, *splits)

    def backbone(self, layer):
        return _Letters(layer, self.looks_ahead)

    def loss(self, output, batch):
        return F.cross_entropy(output.flatten(0, 1), batch["y"].flatten())

    def measures(self):
        from torchmetrics.classification import MulticlassAccuracy

        metric = MulticlassAccuracy(5, average="micro")
        return {"accuracy": MetricSpec(metric, lambda output, b: (output.transpose(1, 2), b["y"]))}


class _Letters(Backbone):
    def __init__(self, layer, looks_ahead):
        super().__init__()
        self.embed = nn.Embedding(5, 16)
        self.layer = layer((8, 16))
        self.head = nn.Linear(16, 5)
        self.looks_ahead = looks_ahead

    def forward(self, batch):
        x = self.embed(batch["x"])
        update, routing = self.layer(x)
        x = x + update + (x.mean(1, keepdim=True) if self.looks_ahead else 0)
        return self.head(x), [routing]


class LooksAhead(Letters):
    """Sees the whole text."""

    looks_ahead = True


FAULTY = {
    "docstring": [(Undocumented, "there is no docstring")],
    "score": [(Sideways, "direction='up'"), (Unmeasured, "'f1' is none of the measures")],
    "splits": [
        (changed(val=lambda data: {"x": data.val["x"]}), "val has no column y"),
        (changed(test=lambda data: {**data.test, "x": data.test["x"].double()}), "float64"),
        (changed(val=lambda data: {**data.val, "y": data.val["y"][1:]}), "columns of val have"),
    ],
    "data_repeatable": [(Fickle, "the split train differs")],
    "same_data": [(OtherData, r"same_data \(classes\) has other data")],
    "splits_disjoint": [(changed(test=lambda data: data.train), "100.0% of the samples of test")],
    "collate": [
        (InPlace, "collate changes the batch"),
        (NotFinite, "after collate x is not finite"),
        (RandomCollate, "collate gives two results"),
    ],
    "augment": [(LosesColumns, "augment returns x for x, y, cluster")],
    "describe": [(FloatIds, "ids are torch.float32"), (FlatFeatures, "features have shape")],
    "labelings": [(TooManyLabels, r"labels of cluster are torch.int64 in \[0, 7\]")],
    "content": [
        (FloatContent, r"the column first of content is torch.float32"),
        (OnePicture, "1 pictures of"),
    ],
    "routings": [
        (with_net(NoRouting), "1 routed layers and returns 0 routings"),
        (with_net(Twice), "routed layer 0 was called 2 times"),
    ],
    "ids_reach_layers": [(with_net(WithoutIds), "with router=hash: ")],
    "tasks_reach_layers": [(Domains, "has_tasks|with router=task_gate: ")],
    "loss": [(Vector, "the loss of 1 samples is"), (with_net(Spare), "spare.weight gets no")],
    "learning": [(Contrary, "change the loss from"), (WrongWay, "accuracy goes from")],
    "samples_alone": [(with_net(Centred), "another in a smaller batch")],
    "predictions": [(FewPredictions, "has 31 predictions"), (TensorPredictions, "holds a Tensor")],
    "causal": [(LooksAhead, "before position 4 change")],
    "weights_seeded": [(with_net(Unseeded), "head.weight differ")],
    "checkpoint": [(with_net(Forgetful), "with loaded weights the loss")],
}


@pytest.fixture
def registered(monkeypatch):
    """Registers a task under a name for the time of a test."""
    monkeypatch.setattr(TASKS, "_parts", dict(TASKS._parts))

    def register(task):
        TASKS._parts["mine"] = task
        return "mine"

    return register


@pytest.mark.parametrize("task", [Sound, Letters])
def test_a_sound_task_passes(registered, task):
    check_task(registered(task))


@pytest.mark.parametrize(
    ("check", "task", "message"),
    [(check, *faulty) for check, all_of in FAULTY.items() for faulty in all_of],
)
def test_a_faulty_task_is_caught(registered, check, task, message):
    """The check alone, since a faulty task may fail others too."""
    (kit,) = (replace(KIT, checks=[c]) for c in KIT.checks if check_name(c) == check)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tasks.conformance.KIT", kit)
        with pytest.raises(CheckError) as found:
            check_task(registered(task))
    assert re.search(f"^{check}: .*({message})", str(found.value), re.MULTILINE)


def test_every_check_is_seen_to_fail():
    assert {check_name(check) for check in KIT.checks} == set(FAULTY)


def test_the_command(registered, capsys):
    assert main(["check", "planted", "task.clusters=4"]) == 0
    total = len(KIT.checks)
    assert f"planted task.clusters=4: {total} of {total} checks" in capsys.readouterr().out
    assert main(["check", registered(WrongWay)]) == 1
    assert "hint  score.direction is minimize" in capsys.readouterr().out
    for words, message in (
        (["plantd"], "did you mean 'planted'"),
        (["planted", "task.cluster=3"], "did you mean 'clusters'"),
        (["task.clusters=3"], "the name of a task is missing"),
        ([], "the name of a task is missing"),
    ):
        assert main(["check", *words]) == 2
        assert message in capsys.readouterr().err
