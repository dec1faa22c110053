"""Composing a configuration: what overrides what, and what is filled in."""

import pytest
from omegaconf import OmegaConf

import routers
from routers import ConfigError
from tasks import compose, experiments, to_yaml
from tasks.config.compose import load_yaml
from tasks.running import run

from ..cases import TINY

BASE = """\
task: {name: digits}
router: {name: topk}
expert: {name: mlp}
moe: {num_experts: 8, capacity: null, drop: position, renormalize: false, shared: 0,
      expert_dropout: 0.0, control: null}
losses: null
optimizer: {name: adamw, lr: 1.0, weight_decay: 1.0, warmup: 0.1, schedule: cosine}
trainer: {max_epochs: 1, max_steps: 1, batch_size: 1, accumulate_grad_batches: 1,
          gradient_clip_val: 1.0, accelerator: auto, precision: 32-true, threads: null,
          log_every_n_steps: 1, progress: true}
seed: 1
out: null
resume: null
plugins: []
"""


@pytest.fixture
def conf(tmp_path, monkeypatch):
    """A folder of configurations of our own."""
    monkeypatch.setattr("tasks.config.compose.CONF", tmp_path)
    (tmp_path / "task").mkdir()
    (tmp_path / "experiment").mkdir()
    (tmp_path / "base.yaml").write_text(BASE)
    return tmp_path


def test_later_layers_win(conf):
    (conf / "task" / "digits.yaml").write_text(
        "optimizer: {lr: 2, warmup: 0.2}\ntrainer: {max_epochs: 2, max_steps: 2}\n"
    )
    (conf / "experiment" / "trial.yaml").write_text(
        "optimizer: {warmup: 0.3}\ntrainer: {max_epochs: 3, max_steps: 3}\n"
    )
    config = compose(["experiment=trial", "trainer.max_epochs=4"])
    assert config.optimizer.weight_decay == 1.0  # the base alone
    assert config.optimizer.lr == 2.0  # the task over the base
    assert config.optimizer.warmup == 0.3  # the experiment over the task
    assert config.trainer.max_steps == 3
    assert config.trainer.max_epochs == 4  # the command line over all


def test_an_experiment_starts_from_its_base(conf):
    folder = conf / "experiment"
    (folder / "root.yaml").write_text("seed: 7\nrouter: {name: topk, k: 3}\nmoe: {shared: 1}\n")
    (folder / "same.yaml").write_text("base: root\nrouter: {k: 4}\n")
    (folder / "other.yaml").write_text("base: same\nrouter: {name: hash}\nmoe: {shared: 2}\n")
    same, other = compose(["experiment=same"]), compose(["experiment=other"])
    assert (same.seed, same.router["k"], same.moe.shared) == (7, 4, 1)
    assert (other.seed, other.router["name"], other.moe.shared) == (7, "hash", 2)
    assert "k" not in other.router or other.router["k"] != 4  # another router starts afresh


def test_a_circle_of_bases_is_refused(conf):
    (conf / "experiment" / "a.yaml").write_text("base: b\n")
    (conf / "experiment" / "b.yaml").write_text("base: a\n")
    with pytest.raises(ConfigError, match=r"a\.yaml: base leads back to this file"):
        compose(["experiment=a"])


def test_the_command_line_is_read_in_order(conf):
    assert compose(["seed=2", "seed=3"]).seed == 3


@pytest.mark.parametrize("name", ["router=hash", "router.name=hash", "router={name: hash}"])
def test_options_may_stand_before_their_part(name):
    for overrides in (["router.buckets=7", name], [name, "router.buckets=7"]):
        assert compose(overrides).router["buckets"] == 7
    assert compose(["router.buckets=7", name, "router.buckets=8"]).router["buckets"] == 8
    assert compose(["router=topk", name]).router["name"] == "hash"


def test_the_experiment_may_stand_anywhere(conf):
    (conf / "experiment" / "trial.yaml").write_text("seed: 5\n")
    assert compose(["seed=2", "experiment=trial"]).seed == 2


def test_an_experiment_chooses_the_task_whose_file_is_read(conf):
    (conf / "task" / "other.yaml").write_text("seed: 7\n")
    (conf / "experiment" / "trial.yaml").write_text("task: {name: other}\n")
    with pytest.raises(routers.ConfigError, match="task=other"):  # there is a file, but no task
        compose(["experiment=trial"])
    assert compose(["experiment=trial", "task=digits"]).seed == 1


def test_another_part_forgets_the_options_of_the_former(conf):
    (conf / "task" / "digits.yaml").write_text("expert: {name: mlp, hidden: 5}\n")
    assert compose([]).expert["hidden"] == 5
    assert compose(["expert=mlp"]).expert["hidden"] == 5
    assert compose(["expert=glu"]).expert["hidden"] is None
    assert compose(["expert.name=glu"]).expert["hidden"] is None
    assert compose(["expert=glu", "expert.hidden=3"]).expert["hidden"] == 3
    (conf / "experiment" / "trial.yaml").write_text("expert: {name: glu}\n")
    assert compose(["experiment=trial"]).expert["hidden"] is None


@pytest.mark.parametrize("name", routers.available())
def test_defaults_of_the_signature_are_filled_in(name):
    assert compose([f"router={name}"]).router == {"name": name, **routers.ROUTERS.options(name)}


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("optimizer.lr=1e-3", 0.001),
        ("optimizer.lr=1E-3", 0.001),
        ("optimizer.lr=3", 3.0),
        ("trainer.max_steps=-1", -1),
        ("trainer.threads=null", None),
        ("trainer.threads=2", 2),
        ("trainer.progress=false", False),
        ("moe.capacity=1", 1.0),
        ("out=runs/a=b", "runs/a=b"),
        ("seed=3", 3),
    ],
)
def test_values_have_the_types_of_the_schema(override, value):
    found = OmegaConf.select(
        OmegaConf.structured(compose([override])), override.partition("=")[0], throw_on_missing=True
    )
    assert found == value
    assert type(found) is type(value)


def test_dictionaries_as_values():
    assert compose(["losses={switch: 0.5, z: 1e-3}"]).losses == {"switch": 0.5, "z": 0.001}
    chosen = compose(["router={name: topk, k: 3}"]).router
    assert (chosen["name"], chosen["k"], chosen["jitter"]) == ("topk", 3, 0.0)
    assert compose(["router={name: hash}"]).router["table"] == "random"
    parts = compose(["expert=mixed", "expert.parts=[mlp, {name: glu, count: 2}]"]).expert["parts"]
    assert parts == ["mlp", {"name": "glu", "count": 2}]


def test_values_that_name_others():
    assert compose(["seed=3", "trainer.threads=${seed}"]).trainer.threads == 3


def test_a_part_called_null():
    assert compose(["expert=null"]).expert["name"] == "null"


def test_adding_and_removing():
    assert compose(["+router.k=3"]).router["k"] == 3
    assert compose(["expert.hidden=3", "~expert.hidden"]).expert["hidden"] is None


@pytest.mark.parametrize(
    ("overrides", "losses"),
    [
        ([], {"switch": 0.01}),
        (["losses=null"], {"switch": 0.01}),
        (["router=noisy_topk"], {"importance": 0.1, "load": 0.1}),
        (["router=hash"], {}),
        (["losses={}"], {}),
        (["~losses"], {}),
        (["~losses.switch"], {}),
        (["losses.switch=0.5"], {"switch": 0.5}),
        (["losses.z=0.5"], {"switch": 0.01, "z": 0.5}),
        (["+losses.z=0.5", "~losses.switch"], {"z": 0.5}),
        (["losses={z: 1}"], {"z": 1.0}),
        (["losses={z: 1}", "losses.entropy=2"], {"z": 1.0, "entropy": 2.0}),
        (["losses={}", "router=noisy_topk"], {}),
        (["losses.z=0.5", "router=noisy_topk"], {"importance": 0.1, "load": 0.1, "z": 0.5}),
    ],
)
def test_losses(overrides, losses):
    assert compose(overrides).losses == losses


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["experiment=digits_conv", "router=hash"],
        ["losses={}", "optimizer.lr=1e-5", "moe.capacity=1.25", "trainer.threads=1"],
        ["expert=null", "out=null", "seed=12"],
        ["expert=mixed", "expert.parts=[mlp, {name: glu, count: 2}]"],
    ],
)
def test_round_trip(tmp_path, overrides):
    config = compose(overrides)
    path = tmp_path / "config.yaml"
    path.write_text(to_yaml(config))
    assert to_yaml(compose([], base=load_yaml(path))) == to_yaml(config)


@pytest.mark.parametrize("name", ["base", *(f"experiment/{n}" for n in experiments())])
def test_the_files_that_ship_compose(name):
    chosen = [] if name == "base" else [f"experiment={name.partition('/')[2]}"]
    assert compose(chosen).seed == 0


@pytest.mark.parametrize(("asked", "calls"), [("false", 0), ("true", 1)])
def test_the_allocator_is_tuned_where_it_is_asked_for(monkeypatch, asked, calls):
    made = []
    monkeypatch.setattr(run, "tune_allocator", lambda: made.append(True) or True)
    run.Run(compose([*TINY, f"trainer.tune_allocator={asked}"]))
    assert len(made) == calls


def test_an_allocator_that_cannot_be_tuned_is_refused(monkeypatch):
    monkeypatch.setattr(run, "tune_allocator", lambda: False)
    with pytest.raises(ConfigError, match=r"trainer\.tune_allocator=true.*only glibc"):
        run.Run(compose([*TINY, "trainer.tune_allocator=true"]))
