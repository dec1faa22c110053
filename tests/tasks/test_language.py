"""Language models: nothing later is seen, every byte counts once, bad input is refused."""

import pytest
import torch

import experts
import routers
from routers import ConfigError
from tasks import build_backbone, build_task, compose, routed_layers
from tasks.bases.language import Language
from tasks.readers import Splits

from ..router_samples import SELECTING, layout, one_of_each
from .cases import TINY, result_of, train

SMALL = (*TINY, "task=topics")
LENGTH = 24


def causal(router):
    traits = routers.ROUTERS.get_part(router).traits
    return traits.causal and not traits.needs_task


ROUTERS = [name for name in SELECTING if causal(name)]
EXPERTS = [
    name for name in experts.available() if experts.EXPERTS.get_part(name).row_axes == ("D",)
]
GATES = [name for name in routers.GATES.available() if routers.GATES.get_part(name).causal]


def network(*overrides):
    """Task and network in float64, with no weight at its start, where it might hide a leak."""
    config = compose([*SMALL, *overrides])
    task = build_task(config)
    backbone = build_backbone(config, task).double().eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in backbone.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.add_(noise, alpha=0.3)
    return task, backbone


def largest_leak(task, backbone):
    """How far an earlier logit moves at most when later bytes change."""
    generator = torch.Generator().manual_seed(2)
    x = torch.randint(97, 123, (3, LENGTH), generator=generator)

    def logits(x):
        with torch.no_grad():
            return backbone(describe({"x": x}))[0]

    needs_ids = any(layer.router.traits.needs_ids for layer in routed_layers(backbone))
    describe = task.describe if needs_ids else dict
    before, worst = logits(x), 0.0
    for place in (1, 7, LENGTH - 1):
        for _ in range(4):
            other = x.clone()
            other[:, place:] = torch.randint(0, 256, (3, LENGTH - place), generator=generator)
            after = logits(other)
            assert not torch.allclose(after[:, place:], before[:, place:])
            worst = max(worst, (after - before)[:, :place].abs().max().item())
    return worst


#: All with dropped items, which read all that is read without them; few without.
CAPACITIES = [("0.5", router) for router in ROUTERS]
CAPACITIES += [("null", router) for router in one_of_each(layout, ROUTERS.__contains__)]


@pytest.mark.parametrize(("capacity", "router"), CAPACITIES)
def test_later_bytes_change_no_earlier_logit(router, capacity):
    task, backbone = network(f"router={router}", f"moe.capacity={capacity}")
    assert largest_leak(task, backbone) < 1e-9


@pytest.mark.parametrize("expert", EXPERTS)
def test_no_expert_leaks(expert):
    task, backbone = network(f"expert={expert}", "task.model.routed=[1]", "moe.shared=2")
    assert largest_leak(task, backbone) < 1e-9


@pytest.mark.parametrize("gate", GATES)
def test_no_gate_leaks(gate):
    task, backbone = network("router=topk", f"router.gate={gate}")
    assert largest_leak(task, backbone) < 1e-9


def test_capacity_was_short():
    """So that the alarm above met dropped items."""
    _, backbone = network("moe.capacity=0.5")
    x = torch.randint(97, 123, (3, LENGTH), generator=torch.Generator().manual_seed(2))
    for routing in backbone({"x": x})[1]:
        assert routing.load.sum() < routing.requested_load.sum() == 3 * LENGTH * 2


@pytest.mark.parametrize(
    "overrides",
    [
        ["router=expert_choice"],
        ["moe.capacity=0.5", "moe.drop=probability"],
        ["router=topk", "router.gate=attention"],
        ["expert=gru"],
    ],
)
def test_the_alarm_rings(monkeypatch, overrides):
    """What is refused would have leaked."""
    monkeypatch.setattr("tasks.assembly.build._check_fits", lambda *given: None)
    assert largest_leak(*network(*overrides)) > 1e-3


@pytest.mark.parametrize(
    ("overrides", "match"),
    [
        (["router=expert_choice"], "router=expert_choice: its routes depend on later items"),
        (["router=soft_moe"], "router=soft_moe: its routes depend on later items"),
        (["router=mapped"], "router=mapped: needs the task, language or domain of each sample"),
        (["router=topk", "router.gate=attention"], "router=topk: its routes depend on later"),
        (["expert=gru"], "expert=gru: works on whole sequences, later items included"),
        (["moe.capacity=1.0", "moe.drop=choice"], r"moe\.drop=choice: looks at later items"),
        (["task.model.routed=[2]"], r"task\.model\.routed=\[2\] is invalid: .*\[0, depth=2\)"),
        (["task.model.dim=12"], r"task\.model\.dim=12 is invalid: .* 2 \* heads=8"),
        (["task.length=1"], r"task\.length=1"),
        (["task.context=256"], r"task\.context=256 is invalid: .* \[0, length=256\)"),
        (["task.context=-1"], r"task\.context=-1"),
        (["task.model.ngrams=[]"], r"task\.model\.ngrams=\[\]"),
        (["task.model.ngrams=[0,1]"], r"task\.model\.ngrams=\[0, 1\]"),
        (["task.model.ngrams=[2,2]"], r"task\.model\.ngrams=\[2, 2\]"),
        (["task.model.buckets=0"], r"task\.model\.buckets=0"),
        (["task.model.dropout=1.0"], r"task\.model\.dropout=1\.0"),
        (["task.model.ngram_dropout=-0.1"], r"task\.model\.ngram_dropout=-0\.1"),
        (["task.ids=0"], r"task\.ids=0"),
    ],
)
def test_refused(overrides, match):
    config = compose([*SMALL, *overrides])
    with pytest.raises(ConfigError, match=match):
        build_backbone(config, build_task(config))


class GivenText(Language):
    """A language model of the given text."""

    def __init__(self, text, **options):
        super().__init__(**options)
        self.parts = text

    def corpus(self):
        parts = (torch.tensor(list(part), dtype=torch.uint8) for part in self.parts)
        return Splits("given", "", "", *parts)


def draw(seed, *sizes):
    generator = torch.Generator().manual_seed(seed)
    return [bytes(torch.randint(0, 256, (n,), generator=generator).tolist()) for n in sizes]


@pytest.mark.parametrize(("length", "context"), [(8, 0), (8, 4), (8, 7), (50, 49)])
@pytest.mark.parametrize("size", [2, 8, 9, 10, 37, 64])
def test_evaluation_scores_every_byte_but_the_first_once(length, context, size):
    text = draw(size, 60, size, size)
    task = GivenText(text, length=length, context=context)
    batch = task.collate(task.data().test)
    scored = batch["y"] >= 0
    assert batch["y"][scored].tolist() == list(text[2][1:])
    # with at least this much before it, but near the start
    before = scored.nonzero()[:, 1] + 1
    assert (before[min(length, size - 1) :] > min(context, size - 2)).all()


@pytest.mark.parametrize("part", ["train", "val", "test"])
def test_targets_are_the_bytes_after(part):
    task = GivenText(draw(0, 60, 30, 20), length=8, context=4)
    batch = getattr(task.data(), part)
    assert torch.equal(batch["x"][:, 1:], batch["y"][:, :-1])


def test_training_scores_every_byte_of_every_window():
    text = draw(0, 60, 20, 20)
    task = GivenText(text, length=8, context=6)
    train_split = task.data().train
    batch = task.collate(train_split)
    assert batch["y"].shape == (26, 8)  # (60 - 9) // 2 + 1 windows
    assert (batch["y"] >= 0).all()
    assert train_split["x"].untyped_storage().nbytes() == 60  # views of one text


def test_loss_and_score_agree():
    """The score is the loss in bits, over the bytes that count."""
    task = GivenText(draw(3, 60, 20, 20), length=8, context=4)
    batch = task.collate(task.data().test)
    logits = torch.randn(*batch["y"].shape, 256, generator=torch.Generator().manual_seed(0))
    metric = task.measures()["bits_per_byte"].metric
    metric.update(logits, batch["y"])
    loss = task.loss(logits, batch).item() / torch.tensor(2.0).log().item()
    assert metric.compute().item() == pytest.approx(loss, rel=1e-5)
    assert task.score.direction == "minimize"


@pytest.mark.parametrize(
    ("sizes", "match"),
    [((8, 9, 9), "train split has 8 bytes, .* needs 9"), ((9, 1, 9), "val split has 1 bytes")],
)
def test_too_little_text(sizes, match):
    with pytest.raises(ConfigError, match=match):
        GivenText(draw(0, *sizes), length=8, context=4).data()


def test_chosen_blocks_are_routed():
    _, backbone = network("task.model.depth=4", "task.model.routed=[1,3]")
    assert len(routed_layers(backbone)) == 2
    x = torch.randint(0, 256, (2, 8))
    assert len(backbone({"x": x})[1]) == 2


def test_ids_and_kinds_name_items():
    task = GivenText(draw(0, 60, 20, 20), length=8, context=4)
    batch = task.data().test
    described = task.describe(batch)
    assert torch.equal(described["ids"], batch["x"].long())
    assert task.features(batch).shape == (*batch["x"].shape, 14)
    (kinds,) = task.kinds()
    found = kinds.of(batch)
    assert found.shape == batch["x"].shape
    assert 0 <= found.min() <= found.max() < len(kinds.names)
    pairs = GivenText([], length=8, context=4, ids=2)
    same = pairs.describe({"x": torch.tensor([[5, 6, 7, 6, 5, 6]])})["ids"][0]
    assert same[1] == same[5] != same[3]


def test_own_text(tmp_path):
    text = tmp_path / "mine.txt"
    text.write_bytes(b"\xff\xfe nine wagons, \xe2\x82\xac 7 \x00 " * 90)
    out = tmp_path / "run"
    settings = [f"task.data.path={text}", "task.length=32", "task.context=16"]
    train(out, "task=language_model", *settings, "trainer.batch_size=8", "router=hash")
    result = result_of(out)
    assert result["data"]["name"] == "mine.txt"
    assert 0 < result["score"]["value"] < 8.5
    assert result["layers"][0]["nmi"].keys() == {"byte"}
