"""Text classification: padding reaches nothing, scores are per group, bad input is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.metrics import accuracy_score, f1_score
from torch.nn.functional import normalize

import experts
import routers
import tasks
from routers import ConfigError
from tasks import RoutedModule, build_backbone, build_task, compose, prepare_routers
from tasks.backbones.bag import inverse_document_frequency
from tasks.backbones.wide_bag import _WIDE, tf_idf
from tasks.text.bytes import pad
from tasks.text.ngrams import character_grams
from tasks.text_classification import TextClassification

from ..router_samples import SELECTING, layout, one_of_each, traits
from .cases import TINY, result_of, train_any

GROUPS = ("here", "there", "yonder")
MODELS = ("encoder", "bag", "wide_bag")
WORDS = ("good", "fine", "bad", "awful", "so_so", "a", "ça", "geht", "نعم", "हाँ", "😂", "BÖSE")
SENTIMENT = Path(__file__).resolve().parents[3] / "shared/data/tweet_sentiment_multilingual"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Texts of one to twelve words, three classes, three groups."""
    path = tmp_path_factory.mktemp("texts")
    random = np.random.default_rng(0)
    for name, rows in (("train", 192), ("validation", 48), ("test", 48)):
        with (path / f"{name}.jsonl").open("w") as file:
            for row in range(rows):
                words = random.choice(WORDS, random.integers(1, 13))
                label, group = row % 3, GROUPS[row // 3 % 3]
                line = {"text": " ".join([*words, "xyz"[label]]), "label": label, "lang": group}
                file.write(json.dumps(line) + "\n")
    return path


def settings(folder, *overrides):
    data = (f"task.data.path={folder}", "task.data.group=lang", "task.score=macro_f1")
    model = ("task.model=encoder", "expert=mlp", "moe.num_experts=4")
    return (*TINY, "task=text_classification", *data, *model, *overrides)


def built(folder, *overrides):
    """Task, described few texts of many lengths, and a network in float64."""
    config = compose(list(settings(folder, *overrides)))
    task = build_task(config)
    data = task.data()
    backbone = build_backbone(config, task)
    prepare_routers(backbone, task, data.train)
    few = {name: values[:12] for name, values in data.train.items()}
    return config, task, backbone.double().eval(), few


@torch.no_grad()
def stirred(backbone):
    """As after some training: no part is 0 any more, so none hides what reaches it."""
    generator = torch.Generator().manual_seed(0)
    for values in backbone.parameters():
        values += 0.1 * torch.randn(values.shape, generator=generator)
    return backbone


@torch.no_grad()
def outcome(task, backbone, batch):
    """Output, loss and the load of each layer."""
    output, routings = backbone(task.describe(batch))
    return output, task.loss(output, batch), [routing.load for routing in routings]


@torch.no_grad()
def routed(router):
    """A router, with the number of groups if it takes one."""
    asks = "tasks" in routers.ROUTERS.options(router)
    return (f"router={router}", *([f"router.tasks={len(GROUPS)}"] if asks else []))


def plain(backbone, batch):
    """Output and loads of a batch without ids."""
    output, routings = backbone(batch)
    return output, [routing.load for routing in routings]


LAYOUTS = one_of_each(layout)

#: Each router with one of the backbones in turn, one of each layout with all of them.
PADDED = [
    (model, router)
    for number, router in enumerate(SELECTING)
    for place, model in enumerate(MODELS)
    if router in LAYOUTS or place == number % len(MODELS)
]


@pytest.mark.parametrize(("model", "router"), PADDED)
def test_padding_reaches_nothing(folder, router, model):
    """Longer padding, and garbage in it, at the network itself and through ``collate``."""
    given = (f"task.model={model}", *routed(router), "expert.hidden=16")
    _, task, backbone, few = built(folder, *given)
    stirred(backbone)
    batch = task.collate(few)
    output, loss, loads = outcome(task, backbone, batch)
    length = batch["x"].shape[1]
    mask = torch.nn.functional.pad(batch["mask"], (0, 7))
    noise = torch.randint(1, 256, mask.shape, dtype=torch.uint8)
    longer = torch.where(mask, torch.nn.functional.pad(batch["x"], (0, 7)), noise)
    assert (longer[:, :length] != batch["x"]).any()
    others = (
        {**batch, "x": longer, "mask": mask},
        task.collate({**few, "x": longer}),
    )
    for other in others:
        again, loss_again, loads_again = outcome(task, backbone, other)
        torch.testing.assert_close(again, output, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(loss_again, loss, rtol=1e-9, atol=1e-9)
        assert all(map(torch.equal, loads_again, loads))


@pytest.mark.parametrize("expert", [e for e in experts.available() if e != "conv"])
def test_padding_reaches_no_expert(folder, expert):
    _, task, backbone, few = built(folder, f"expert={expert}")
    stirred(backbone)
    batch = task.collate(few)
    output, loads = plain(backbone, batch)
    pad = torch.nn.functional.pad
    longer = {**batch, "x": pad(batch["x"], (0, 5), value=99), "mask": pad(batch["mask"], (0, 5))}
    again, loads_again = plain(backbone, longer)
    torch.testing.assert_close(again, output, rtol=1e-9, atol=1e-9)
    assert all(map(torch.equal, loads_again, loads))


def test_a_batch_is_as_long_as_its_longest_text(folder):
    _, task, _, few = built(folder, "task.max_length=40")
    batch = task.collate({name: values[:3] for name, values in few.items()})
    longest = max(min(len(text), 40) for text in task.texts.train.texts[:3])
    assert batch["x"].shape == batch["mask"].shape == (3, longest)
    assert few["length"].max() == 40
    assert bytes(few["x"][0][: few["length"][0]]) == task.texts.train.texts[0][:40]


#: One of each layout, without and with the task of a sample, with one of the backbones in turn.
PAIRS = [
    (MODELS[i % len(MODELS)], router)
    for i, router in enumerate(one_of_each(lambda name: (layout(name), traits(name).needs_task)))
]


@pytest.mark.parametrize(("model", "router"), PAIRS)
def test_trains(folder, tmp_path, model, router):
    given = (f"task.model={model}", *routed(router), "trainer.max_steps=2")
    train_any(tmp_path / "run", *settings(folder, *given, "expert.hidden=16"))
    result = result_of(tmp_path / "run")
    scores = result["scores"]
    assert {f"macro_f1/{group}" for group in GROUPS} < scores.keys()
    mean = sum(scores[f"macro_f1/{group}"] for group in GROUPS) / len(GROUPS)
    assert result["score"]["value"] == pytest.approx(mean)
    assert all(layer["nmi"].keys() == {"class", "lang"} for layer in result["layers"])


@pytest.mark.parametrize("control", ["iso_parameter", "iso_flop"])
@pytest.mark.parametrize("model", MODELS)
def test_static_arm(folder, tmp_path, model, control):
    given = (f"task.model={model}", f"moe.control={control}", "trainer.max_steps=2")
    arm = settings(folder, *given, "router=mapped", "expert.hidden=16")
    result = train_any(tmp_path / "run", *arm)
    assert result["matched_to"] == "mapped"


def test_measures_are_of_each_group_as_scikit_learn_has_them(folder):
    """Also where a batch has no row of a group."""
    config, task, backbone, _ = built(folder)
    losses = [{} for _ in tasks.routed_layers(backbone)]
    module = RoutedModule(task, backbone, losses, config.optimizer, total_steps=1)
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(48, 3, generator=generator)
    batch = task.data().test
    order = batch["task"].argsort(stable=True)
    for rows in order.split(7):
        few = {name: values[rows] for name, values in batch.items()}
        for measure in module.evaluation.measures.values():
            measure.metric.update(*measure.reads(outputs[rows], few))
    values = {name: float(m.metric.compute()) for name, m in module.evaluation.measures.items()}
    guess, y = outputs.argmax(-1).numpy(), batch["y"].numpy()
    f1 = []
    for place, group in enumerate(GROUPS):
        here = batch["task"].numpy() == place
        f1.append(f1_score(y[here], guess[here], average="macro"))
        assert values[f"macro_f1/{group}"] == pytest.approx(f1[-1])
        assert values[f"accuracy/{group}"] == pytest.approx(accuracy_score(y[here], guess[here]))
    assert values["accuracy"] == pytest.approx(accuracy_score(y, guess))
    assert task.overall(values) == pytest.approx(np.mean(f1))


def test_mapped_gives_each_group_its_expert(folder):
    _, task, backbone, few = built(folder, "router=mapped", "task.model=bag")
    batch = task.collate(few)
    _, routings = backbone(batch)
    for routing in routings:
        assert routing.num_assignments == len(batch["task"])
        assert torch.equal(batch["task"][routing.item], routing.expert)


def test_without_a_group_there_is_no_task(folder):
    options = settings(folder, "task.data.group=null", "router=mapped")
    config = compose(list(options))
    task = build_task(config)
    with pytest.raises(ConfigError, match="router=mapped: needs the task"):
        build_backbone(config, task)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model=bags", "did you mean 'bag'"),
        ("score=f1", "task.score=f1"),
        ("model.ngrams=[0,1]", "task.model.ngrams"),
        ("model.ngrams=[2,2]", "task.model.ngrams"),
        ("model.dim=12", "a multiple of 2 * heads=8"),
        ("max_length=0", "task.max_length=0"),
        ("model.buckets=0", "task.model.buckets=0"),
        ("model={name: bag, rare: 0}", "task.model.rare=0"),
        ("model.ngram_dropout=1.0", "task.model.ngram_dropout=1.0"),
        ("model.routed=[7]", "task.model.routed"),
        ("data.txt=x", "did you mean 'text'"),
        ("data.path=null", "task.data.path=FILE_OR_FOLDER"),
    ],
)
def test_bad_options(folder, override, message):
    with pytest.raises(ConfigError) as error:
        built(folder, f"task.{override}")
    assert message in str(error.value)


def test_nothing_at_the_path():
    with pytest.raises(ConfigError, match=r"task\.data\.path=/nowhere/at/all"):
        TextClassification(data={"path": "/nowhere/at/all"}).data()


# ---- n-grams of characters ----


def slow_grams(text, order):
    """Every n-gram of a decoded text, capitals of Latin-1 small, no space inside."""
    small = "".join(c.lower() if ord(c) < 256 else c for c in text)
    padded = f" {small} "
    found = (padded[i : i + order] for i in range(len(padded) - order + 1))
    return [gram for gram in found if " " not in gram[1:-1]]


def test_grams_are_those_of_the_characters():
    """Equal hashes where n-grams are equal, others where not; padding is not read."""
    texts = ["Ça va? ÉTÉ été", "a", "हाँ हाँ नहीं", "ok 😂😂 ok", "نعم لا", "AbÞ\u00d7÷ß  b"]
    names: dict[int, tuple[int, str]] = {}
    for order in (1, 2, 3, 5):
        coded = [text.encode() for text in texts]
        x = torch.full((len(texts), 50), 0xA9, dtype=torch.uint8)
        for row, text in enumerate(coded):
            x[row, : len(text)] = torch.tensor(list(text))
        mask = torch.arange(50) < torch.tensor([len(text) for text in coded]).unsqueeze(1)
        grams, real = character_grams(x, mask, (order,), 2**31)
        for text, row, keep in zip(texts, grams, real, strict=True):
            slow = slow_grams(text, order)
            assert len(slow) == int(keep.sum())
            for gram, number in zip(slow, row[keep].tolist(), strict=True):
                assert names.setdefault(number, (order, gram)) == (order, gram)
    assert len(names) == len(set(names.values()))


def test_bytes_that_are_not_utf8_are_kept():
    x = torch.randint(0, 256, (4, 30), generator=torch.Generator().manual_seed(0))
    grams, real = character_grams(x, torch.ones_like(x).bool(), (1, 2, 3), 97)
    assert real.any(1).all()
    assert int(grams.min()) >= 0
    assert int(grams.max()) < 97


def test_rarity_counts_texts():
    generator = torch.Generator().manual_seed(0)
    letters = [torch.randint(97, 106, (n,), generator=generator).tolist() for n in (1, 5, 20, 3)]
    x, lengths = pad([bytes(text) for text in letters], 20)
    texts = {"x": x, "length": lengths}
    found = inverse_document_frequency(texts, (1,), 997)
    common = inverse_document_frequency(texts, (1,), 997, rare=2)
    for letter in range(97, 106):
        holding = sum(letter in text for text in letters)
        grams, real = character_grams(torch.tensor([[letter]]), torch.tensor([[True]]), (1,), 997)
        bucket = grams[0, 1]  # after the space at the start
        assert real[0, 1]
        expected = np.log(5 / (1 + holding)) + 1
        assert found[bucket].item() == pytest.approx(expected)
        assert common[bucket].item() == pytest.approx(expected if holding >= 2 else 0)


def test_weights_are_those_of_scikit_learn():
    """Sublinear TF-IDF of length 1, whatever the order and where the gaps are."""
    generator = torch.Generator().manual_seed(0)
    grams = torch.randint(0, 9, (20, 12), generator=generator)
    real = torch.rand(20, 12, generator=generator) < 0.7
    real[3] = False
    texts = [row[keep] for row, keep in zip(grams, real, strict=True)]
    holding = torch.stack([text.bincount(minlength=9) > 0 for text in texts]).sum(0)
    rarity = torch.log((1 + len(texts)) / (1 + holding.double())) + 1
    once, weight = tf_idf(grams, real, rarity)
    found = torch.zeros(20, 9).double().scatter_add(1, once, normalize(weight, dim=1))
    counts = np.stack([text.bincount(minlength=9).numpy() for text in texts])
    slow = TfidfTransformer(sublinear_tf=True).fit(counts).transform(counts).toarray()
    np.testing.assert_allclose(found.numpy(), slow, atol=1e-6)
    assert ((weight > 0).sum(1).numpy() == (counts > 0).sum(1)).all()


def test_a_wide_bag_is_linear_at_first(folder):
    """What is routed starts at 0: logits are those of the n-grams' weights, by hand."""
    _, task, backbone, few = built(folder, "task.model=wide_bag", "task.model.ngrams=[1,2]")
    torch.nn.init.normal_(backbone.wide)
    batch = task.collate(few)
    output, _ = plain(backbone, batch)
    grams, real = character_grams(batch["x"], batch["mask"], (1, 2), task.options["buckets"])
    expected = []
    for row, keep in zip(grams, real, strict=True):
        found, times = row[keep].unique(return_counts=True)
        weight = (1 + times.double().log()) * backbone.rarity[found]
        expected.append(_WIDE * (weight / weight.norm()) @ backbone.wide[found])
    torch.testing.assert_close(output, torch.stack(expected))


# ---- real data ----


@pytest.mark.skipif(not SENTIMENT.exists(), reason=f"the tweets are not at {SENTIMENT}")
def test_sentiment_has_its_languages():
    config = compose(["experiment=sentiment_mapped", f"task.data.path={SENTIMENT}"])
    task = build_task(config)
    data = task.data()
    assert [len(split["y"]) for split in (data.train, data.val, data.test)] == [14712, 2592, 6960]
    assert len(task.texts.train.groups) == config.moe.num_experts == 8
    assert data.train["task"].bincount().tolist() == [1839] * 8
