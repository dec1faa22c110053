"""A trained run is loaded: the same model, and nothing else under its name."""

import json
import shutil

import pytest
import torch

import tasks
from routers import ConfigError

from ..cases import checkpoint_of, result_of, train


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run with a router that is prepared from the training data."""
    out = tmp_path_factory.mktemp("trained") / "run"
    train(out, "router=hash", "router.table=clustered", "seed=1")
    return out


def files_of(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_weights_and_result_are_those_of_the_run(trained):
    before = files_of(trained)
    run = tasks.load(trained)
    assert not run.module.training
    saved = checkpoint_of(trained)["state_dict"]
    for name, values in run.module.backbone.state_dict().items():
        assert torch.equal(values, saved[f"backbone.{name}"]), name
    result, known = run.test(), result_of(trained)
    del known["score"]["validation"], known["score"]["best"], known["stopped"]
    for name in tasks.TrainingCompute.__dataclass_fields__:
        del known["compute"][name]
    assert result == known
    assert files_of(trained) == before


def test_other_settings_of_the_layer(trained):
    run = tasks.load(str(trained), "moe.capacity=0.5", "trainer.batch_size=32")
    assert run.test()["load"]["dropped"] > 0


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("moe.num_experts=4", ("moe.num_experts=4", "(8,", "(4,", "changes what was trained")),
        ("moe.shared=1", ("moe.shared=1", "absent in the checkpoint")),
        ("seed=2", ("seed=2", "no effect", "router")),
        ("trainer.max_epochs=2", ("trainer.max_epochs=2", "no effect", "trainer.precision")),
        ("moe.expert_dropout=0.5", ("expert_dropout=0.5: has no effect", "only training uses it")),
        ("task.augmentation=none", ("task.augmentation=none: has no effect", "only training")),
        ("task=two_digits", ("task=two_digits", "trained on task=digits")),
        ("router.tabel=random", ("router.tabel", "did you mean 'table'")),
    ],
)
def test_what_would_be_another_model_is_refused(trained, override, words):
    with pytest.raises(ConfigError) as caught:
        tasks.load(trained, override)
    assert all(word in str(caught.value) for word in words), caught.value


def test_a_folder_without_a_valid_run_is_refused(trained, tmp_path):
    with pytest.raises(ConfigError, match="no run is there"):
        tasks.load(tmp_path)
    shutil.copy(trained / "config.yaml", tmp_path)
    with pytest.raises(ConfigError, match=r"last\.ckpt is missing.*train first"):
        tasks.load(tmp_path)
    (tmp_path / "result.json").touch()  # of a sweep with checkpoints=none
    with pytest.raises(ConfigError, match=r"last\.ckpt is missing.*train again .*command\.txt"):
        tasks.load(tmp_path)
    (tmp_path / "result.json").unlink()
    checkpoint = tmp_path / "checkpoints" / "last.ckpt"
    checkpoint.parent.mkdir()
    checkpoint.write_bytes((trained / "checkpoints" / "last.ckpt").read_bytes()[:-100])
    with pytest.raises(ConfigError, match=r"cannot be read.*corrupt.*restore it"):
        tasks.load(tmp_path)
    shutil.copy(trained / "checkpoints" / "last.ckpt", checkpoint)
    result = result_of(trained)
    result["data"]["sha256"] = "0"
    (tmp_path / "result.json").write_text(json.dumps(result))
    with pytest.raises(ConfigError, match=r"is not that of the run: sha256.*changed since"):
        tasks.load(tmp_path)


def test_weights_in_double_precision_stay_so(tmp_path):
    train(tmp_path / "run", "trainer.precision=64-true", "trainer.max_steps=2")
    run, known = tasks.load(tmp_path / "run"), result_of(tmp_path / "run")
    assert run.test()["scores"] == known["scores"]
