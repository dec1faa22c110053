"""Values that the data chooses: by kind and size, once, and never against what is written."""

import json
from functools import cached_property

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

import tasks
from routers import ConfigError
from tasks import TASKS, choose, compose, main
from tasks.assembly.recipe import BUDGETS, OPTIMIZERS, seconds_per_step
from tasks.readers import DataSet, Images, Splits, Texts

from ..cases import result_of, signal_at
from ..own_data import OWN_DATA


@pytest.fixture(scope="module")
def own_data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    return {task: write(folder) for task, write in OWN_DATA.items()}


def resolved(own_data, name, *overrides):
    """The configuration of a task on small data, with what the data chose."""
    config = compose([f"task={name}", *own_data[name], *overrides])
    task = tasks.build_task(config)
    return choose(config, task)


class Given(DataSet):
    """Data with equal splits, which nothing reads."""

    def __init__(self, part):
        self.part = part

    def read(self):
        return Splits("given", "0", "0", self.part, self.part, self.part)


def images(rows, side, channels=1):
    x = torch.zeros(1, dtype=torch.uint8).expand(rows, channels, side, side)
    return tasks.build("image", data=Given(Images(x, torch.zeros(rows).long(), ("a", "b"))))


def texts(rows, lengths=(4,), classes=2):
    found = [b"x" * lengths[row % len(lengths)] for row in range(rows)]
    part = Texts(found, torch.zeros(rows).long(), tuple(map(str, range(classes))), None, ())
    return tasks.build("text_classification", data=Given(part))


def corpus(size):
    return tasks.build("language_model", data=Given(torch.zeros(1, dtype=torch.uint8).expand(size)))


@pytest.mark.parametrize(("rows", "side", "dim"), [(300, 8, 32), (8000, 28, 48), (45000, 32, 32)])
def test_images(rows, side, dim):
    recipe = images(rows, side).recipe(BUDGETS["normal"], {})
    assert recipe["task.model"]["name"] == "resnet"
    assert recipe["task.model"]["dim"] == dim
    assert recipe["expert"]["name"] == "conv"
    assert recipe["optimizer.name"] == "sgd"
    assert recipe["trainer.batch_size"] * 8 <= rows


def test_large_images_make_small_batches():
    task = images(5000, 512, 3)
    assert task.recipe(120.0, {})["trainer.batch_size"] == 8


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("given", [{}, {"task.model": "vit"}, {"task.model": "convnet"}])
def test_no_image_is_mirrored(budget, given):
    part = images(8000, 28).recipe(BUDGETS[budget], given)["task.augmentation"]
    name, options = part["name"], {k: v for k, v in part.items() if k != "name"}
    augment = tasks.AUGMENTATIONS.build(name, **{**options, "crop": 0.0})
    x = torch.arange(64.0).view(1, 1, 8, 8).expand(32, 1, 8, 8)
    assert torch.equal(augment(x), x)


@pytest.mark.parametrize("task", TASKS)
def test_no_task_mirrors_by_default(task):
    assert "flip" not in json.dumps(compose([f"task={task}"]).task.get("augmentation", ""))


def test_models_bring_their_experts():
    task = images(8000, 28)
    experts = {
        m: task.recipe(120.0, {"task.model": m})["expert"]["name"] for m in ("vit", "convnet")
    }
    assert experts == {"vit": "mlp", "convnet": "conv"}
    assert task.recipe(120.0, {"expert": "mlp"})["task.model"]["name"] == "vit"
    assert texts(100).recipe(120.0, {"expert": "gru"})["task.model"]["name"] == "encoder"


def test_texts():
    few, many = (texts(rows).recipe(120.0, {}) for rows in (100, 15000))
    assert few["task.model"]["name"] == many["task.model"]["name"] == "wide_bag"
    assert few["task.model"]["buckets"] < many["task.model"]["buckets"]
    assert few["trainer.batch_size"] < many["trainer.batch_size"]
    assert few["optimizer.weight_decay"] > many["optimizer.weight_decay"] == 0.0001
    assert texts(100).recipe(120.0, {"task.model": "encoder"})["optimizer.name"] == "adamw"


@pytest.mark.parametrize(
    ("lengths", "expected"), [([512], 512), ([513], 1024), ([9] * 99 + [2000], 512), ([9999], 4096)]
)
def test_length_of_texts(lengths, expected):
    task = texts(200, lengths)
    assert task.recipe(120.0, {})["task.max_length"] == expected
    assert task.recipe(120.0, {"task.model": "encoder"})["task.max_length"] == 512


def test_many_classes_make_fewer_buckets():
    buckets = [
        texts(5000, classes=classes).recipe(120.0, {})["task.model"]["buckets"]
        for classes in (2, 48, 150, 1000)
    ]
    assert buckets == [2**18, 2**18, 2**16, 2**14]


def test_longer_texts_are_seen_less_often(tmp_path):
    chosen = {}
    for length in (100, 500, 4000):
        rows = "".join(f"{'word ' * (length // 5)}{n},{'ab'[n % 2]}\n" for n in range(400))
        (tmp_path / f"{length}.csv").write_text("text,label\n" + rows)
        data = {"text_classification": [f"task.data.path={tmp_path / f'{length}.csv'}"]}
        config, task, values = resolved(data, "text_classification", "trainer.budget=quick")
        chosen[length] = (task.length, config.trainer.max_epochs)
        assert f"task.max_length={config.task['max_length']}" in values
    assert chosen[100][1] == chosen[500][1] > chosen[4000][1]
    assert chosen[4000][0] > 3900
    short = ("task.max_length=64", "trainer.budget=quick")
    config, task, _ = resolved(data, "text_classification", *short)
    assert (task.length, config.trainer.max_epochs) == (64, chosen[100][1])


def test_corpus():
    short, long = corpus(400).recipe(120.0, {}), corpus(10**6).recipe(120.0, {})
    assert short["task.length"] < long["task.length"] == 192
    assert short["trainer.batch_size"] <= long["trainer.batch_size"]
    assert long["task.model"]["depth"] == 1
    assert corpus(10**6).recipe(600.0, {})["task.model"]["depth"] == 2


@pytest.mark.parametrize("task", OWN_DATA)
def test_everything_is_chosen_from_data_read_once(own_data, task, monkeypatch):
    read, calls = DataSet.splits.func, []
    counted = cached_property(lambda source: calls.append(source) or read(source))
    counted.__set_name__(DataSet, "splits")
    monkeypatch.setattr(DataSet, "splits", counted)
    config, built, values = resolved(own_data, task)
    built.data()
    assert len(calls) == 1
    assert config.auto == []
    assert "auto" not in OmegaConf.create(tasks.to_yaml(config)).optimizer.values()
    # as written on the command line the values give the same run
    again = compose([f"task={task}", *own_data[task], *values])
    assert tasks.to_yaml(again) == tasks.to_yaml(config) or OmegaConf.create(
        tasks.to_yaml(again)
    ) == OmegaConf.create(tasks.to_yaml(config))


WRITTEN = (
    "optimizer.lr=0.5",
    "trainer.batch_size=7",
    "trainer.max_epochs=3",
    "moe.num_experts=2",
    "expert.hidden=5",
)


@pytest.mark.parametrize("task", OWN_DATA)
def test_what_is_written_stays(own_data, task):
    config, _, values = resolved(own_data, task, *WRITTEN)
    assert config.optimizer.lr == 0.5
    assert config.trainer.batch_size == 7
    assert (config.trainer.max_epochs, config.trainer.max_steps) == (3, -1)
    assert config.moe.num_experts == 2
    assert config.expert["hidden"] == 5
    assert not {"optimizer.lr", "trainer.batch_size"} & {v.partition("=")[0] for v in values}


def test_options_of_a_part_that_the_data_chooses(own_data):
    config, task, _ = resolved(own_data, "image", "task.model.dim=8")
    assert config.task["model"] == {"name": "resnet", "dim": 8, "depth": 1, "routed": None}
    assert task.options["dim"] == 8
    with pytest.raises(
        ConfigError, match=r"model\.patch: unknown.*the data chose task\.model=resnet"
    ):
        resolved(own_data, "image", "task.model.patch=4")


def test_the_rest_fits_to_what_is_written(own_data):
    few, many = (resolved(own_data, "image", f"trainer.batch_size={size}")[0] for size in (16, 64))
    assert many.optimizer.lr == 4 * few.optimizer.lr > 0
    short, *_ = resolved(own_data, "language_model", "task.length=12")
    assert (short.task["length"], short.task["context"]) == (12, 2)
    long, *_ = resolved(own_data, "language_model", "task.context=300")
    assert (long.task["length"], long.task["context"]) == (600, 300)


def test_another_optimizer_has_its_own_rates(own_data):
    config, *_ = resolved(own_data, "image", "optimizer.name=adamw")
    assert config.optimizer.lr == OPTIMIZERS["adamw"]["lr"]
    config, *_ = resolved(own_data, "text_classification", "optimizer.name=nadam")
    assert config.optimizer.lr == OPTIMIZERS["adamw"]["lr"]


def test_options_belong_to_the_optimizer_that_is_chosen(own_data):
    """A recipe for images takes SGD, not the optimizer of ``conf/base.yaml``."""
    settings = ["task=image", *own_data["image"], "trainer.threads=1"]
    run = tasks.Run(compose([*settings, "optimizer.momentum=0.8"]))
    optimizer = run.module.configure_optimizers()["optimizer"]
    assert {group["momentum"] for group in optimizer.param_groups} == {0.8}
    with pytest.raises(ConfigError, match=r"name=sgd has no such option; .*that has it: .*adamw"):
        tasks.Run(compose([*settings, "optimizer.betas=[0.9, 0.9]"]))


def test_an_option_that_no_optimizer_has_is_refused_before_data_is_read():
    config = compose(["task=image", "task.data.path=nowhere", "optimizer.momentun=0.8"])
    with pytest.raises(ConfigError, match=r"optimizer\.momentun: unknown; did you mean 'momentum'"):
        tasks.check_ranges(config)


def test_steps_that_are_written_are_all_taken(own_data):
    config, task, _ = resolved(own_data, "image", "trainer.max_steps=20000")
    batches = len(task.data().train["y"]) // config.trainer.batch_size
    assert config.trainer.max_epochs * batches >= 20000


def test_the_router_has_no_influence(own_data):
    plain, *_ = resolved(own_data, "image")
    soft, *_ = resolved(own_data, "image", "router=soft_mixture", "seed=7", "moe.control=iso_flop")
    assert (soft.trainer, soft.optimizer, soft.task) == (plain.trainer, plain.optimizer, plain.task)


def test_budgets_are_in_order(own_data, monkeypatch):
    """Steps of a fixed price, so that no budget reaches the most epochs."""
    monkeypatch.setattr("tasks.assembly.recipe.seconds_per_step", lambda *_: 1.0)
    limits = []
    for budget in BUDGETS:
        config, *_ = resolved(own_data, "multitask", f"trainer.budget={budget}")
        steps = config.trainer.max_epochs * (162 // config.trainer.batch_size)
        most = config.trainer.max_steps
        limits.append(steps if most < 0 else min(steps, most))
    quick, normal, thorough = limits
    assert quick < normal < thorough


def test_a_time_limit_replaces_the_budget(own_data, monkeypatch):
    monkeypatch.setattr("tasks.assembly.recipe.seconds_per_step", lambda *_: 1.0)
    for words in ("multitask", "image"):
        quick, *_ = resolved(own_data, words, "trainer.budget=quick")
        limit = ("trainer.budget=thorough", "trainer.max_time=00:00:00:20")
        limited, *_ = resolved(own_data, words, *limit)
        assert limited.task == quick.task
        assert limited.trainer.max_epochs == quick.trainer.max_epochs
        assert limited.trainer.max_steps == quick.trainer.max_steps
    with pytest.raises(ConfigError, match=r"trainer\.max_time=soon is invalid"):
        resolved(own_data, "image", "trainer.max_time=soon")


def test_limits_of_an_epoch_count(own_data, monkeypatch):
    """Epochs of two batches and one of validation, which takes a third of their time."""
    monkeypatch.setattr("tasks.assembly.recipe.seconds_per_step", lambda *_: 1.0)
    limits = ("trainer.limit_train_batches=2", "trainer.limit_val_batches=1")
    config, *_ = resolved(own_data, "multitask", "trainer.budget=quick", *limits)
    assert config.trainer.max_epochs == int(20 / (2 + 1 / 3))
    config, *_ = resolved(own_data, "multitask", "trainer.max_steps=100", *limits)
    assert config.trainer.max_epochs == 50


def test_less_than_an_epoch_limits_the_steps(own_data, monkeypatch):
    monkeypatch.setattr("tasks.assembly.recipe.seconds_per_step", lambda *_: 5.0)
    config, *_ = resolved(own_data, "multitask", "trainer.budget=quick")
    assert (config.trainer.max_epochs, config.trainer.max_steps) == (1, 4)


def test_time_of_a_step_follows_from_its_work(own_data):
    config, task, _ = resolved(own_data, "image")
    train = task.data().train
    narrow = seconds_per_step(config, task, train)
    wide_config, wide, _ = resolved(own_data, "image", "task.model.dim=64")
    assert narrow < seconds_per_step(wide_config, wide, train) < 100 * narrow


def test_samples_are_those_that_were_chosen(own_data, tmp_path):
    """The length of windows is chosen after the text is read."""
    config, task, _ = resolved(own_data, "language_model")
    assert task.data().train["x"].shape[1] == config.task["length"] == 192
    run = tasks.Run(compose(["task=language_model", *own_data["language_model"]]))
    assert run.data.train["x"].shape[1] == 192
    (tmp_path / "short.txt").write_text("few words " * 30)
    short = {"language_model": [f"task.data.path={tmp_path / 'short.txt'}"]}
    config, task, _ = resolved(short, "language_model")
    assert task.data().train["x"].shape[1] == config.task["length"] == 16


def test_run_stores_what_was_chosen_and_resumes(own_data, tmp_path, capsys):
    out = tmp_path / "run"
    command = ["task=multitask", *own_data["multitask"], "trainer.max_epochs=2", f"out={out}"]
    with signal_at(3):
        assert main(command) == 130
    assert "chosen by the data: expert={name: mlp, hidden: 64}" in capsys.readouterr().out
    stored = OmegaConf.load(out / "config.yaml")
    assert stored.optimizer.lr == 0.002
    assert "auto" not in stored
    assert main([f"resume={out}"]) == 0
    assert result_of(out)["baseline"] is None
    assert tasks.load(out).config.trainer.batch_size == stored.trainer.batch_size


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (
            "task.model=vit expert=conv",
            "choose an expert that fits (glu, gru, lora, low_rank",
        ),
        ("task.model=resnet expert=mlp", "or a task.model for this one (mlp, vit)"),
        ("expert=gru task.model=resnet", "expert=gru: its rows are (L, D), but task.model=resnet"),
    ],
)
def test_mismatch_is_refused_before_data_is_read(command, words):
    with pytest.raises(ConfigError, match="its rows are") as error:
        compose(["task=image", "task.data.path=nowhere", *command.split()])
    assert words in str(error.value)


def test_a_model_that_is_named_brings_its_expert():
    assert compose(["task=digits", "task.model=convnet"]).expert["name"] == "conv"
    assert compose(["task=digits", "task.model=vit"]).expert == compose(["task=digits"]).expert


def test_mixed_experts_may_be_of_images():
    compose(["task=digits", "task.model=convnet", "expert={name: mixed, parts: [conv]}"])


@pytest.mark.parametrize("setting", ["auto=[optimizer.lr]", "router=auto", "trainer.budget=fast"])
def test_refused(setting, capsys):
    assert main(["--cfg", setting]) == 2
    assert setting.partition("=")[0] in capsys.readouterr().err


@pytest.mark.parametrize("option", ["task.model.dimm", "task.augmentation.fliip", "expert.hiden"])
def test_an_option_that_no_part_has(option):
    with pytest.raises(ConfigError, match=f"{option}: unknown; did you mean"):
        compose(["task=image", f"{option}=1"])


def test_a_network_waits_for_the_choice():
    config = compose(["task=digits", "expert=auto"])
    with pytest.raises(ConfigError, match=r"expert=auto: .* tasks\.choose"):
        tasks.build_backbone(config, tasks.build_task(config))


def test_auto_without_a_recipe_is_the_default():
    assert compose(["optimizer.lr=auto"]).auto == ["optimizer.lr"]
    config = compose(["optimizer.lr=auto", "expert=auto"])
    task = tasks.build_task(config)
    config, *_ = choose(config, task)
    assert (config.optimizer.lr, config.expert["name"]) == (0.002, "mlp")


def test_labels_are_no_part_of_the_choice(tmp_path):
    """Nothing depends on scores, of the test split least of all."""
    chosen = []
    for number in range(2):
        folder = tmp_path / str(number)
        folder.mkdir()
        x = np.random.default_rng(0).integers(0, 255, (60, 8, 8), dtype=np.uint8)
        np.savez(folder / "images.npz", x=x, y=(np.arange(60) + number) % 2)
        data = {"image": [f"task.data.path={folder / 'images.npz'}"]}
        chosen.append(resolved(data, "image")[2])
    assert chosen[0] == chosen[1]


def test_a_split_of_experts_is_checked_once_their_number_is_chosen():
    shared = ["task=image", "trainer.strategy={name: expert_parallel, size: 3}"]
    shared += ["trainer.devices=3", "trainer.batch_size=30"]
    tasks.check_ranges(compose(shared))
    with pytest.raises(ConfigError, match=r"size=3 is invalid: expected a divisor of moe\.num_exp"):
        tasks.check_ranges(compose([*shared, "moe.num_experts=8"]))
