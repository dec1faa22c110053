"""Every option of Lightning's ``Trainer`` passes through, or is refused with a reason."""

import inspect

import pytest
from lightning.pytorch import Trainer
from omegaconf import OmegaConf

import tasks
from routers import ConfigError
from tasks import Run, compose, main, to_yaml
from tasks.config.compose import load_yaml
from tasks.config.trainer_options import RESERVED

from ..cases import NARROW, TINY, checkpoint_of, result_of, rows_of, train

PARAMETERS = inspect.signature(Trainer).parameters
OWN = compose([]).trainer.__dataclass_fields__


@pytest.mark.parametrize("name", PARAMETERS)
def test_an_option_of_lightning(name):
    default = PARAMETERS[name].default
    setting = f"trainer.{name}={'null' if default is None else default}"
    if name in RESERVED:
        assert name not in OWN
        with pytest.raises(ConfigError) as caught:
            compose([setting])
        assert f"trainer.{name}=" in str(caught.value)
        assert str(caught.value).endswith(f" cannot be set: {RESERVED[name]}")
    elif name not in OWN:
        config = compose([setting])
        assert config.trainer.lightning == {name: default}
        assert OmegaConf.create(to_yaml(config)).trainer[name] == default
        assert compose([], base=OmegaConf.create(to_yaml(config))) == config


def test_what_is_reserved_exists():
    assert RESERVED.keys() <= PARAMETERS.keys()


OPTIONS = (
    "trainer.gradient_clip_algorithm=value",
    "trainer.limit_train_batches=5",
    "trainer.val_check_interval=2",
)


def test_options_reach_the_trainer(tmp_path, monkeypatch):
    made, fit = [], Trainer.fit

    def noting(trainer, *args, **options):
        made.append(trainer)
        fit(trainer, *args, **options)

    monkeypatch.setattr(Trainer, "fit", noting)
    train(tmp_path / "run", *OPTIONS, "trainer.max_steps=-1")
    assert made[0].gradient_clip_algorithm == "value"
    assert checkpoint_of(tmp_path / "run")["global_step"] == 5
    validated = [row["step"] for row in rows_of(tmp_path / "run") if row["val/accuracy"]]
    assert validated == ["2", "4", "5"]  # the last one after training
    written = load_yaml(tmp_path / "run" / "config.yaml").trainer
    assert (written.val_check_interval, written.limit_train_batches) == (2, 5)
    assert "lightning" not in written


def test_last_validation_of_an_epoch_is_reported(tmp_path):
    """Halving compares epochs, whatever the interval."""
    seen = []
    settings = (*TINY, NARROW, *OPTIONS, "trainer.max_epochs=2", "trainer.max_steps=-1")
    tasks.quiet()  # as a trial of a sweep does
    tasks.train(tmp_path / "run", settings, lambda epoch, values: seen.append((epoch, values)))
    rows = {row["step"]: row for row in rows_of(tmp_path / "run")}
    assert [epoch for epoch, _ in seen] == [1, 2]
    scores = [values["score.value"] for _, values in seen]
    assert scores == [float(rows[step]["val/accuracy"]) for step in ("4", "9")]
    assert result_of(tmp_path / "run")["stopped"] is None


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("determinstic=true", "trainer.determinstic: unknown; did you mean 'deterministic'?"),
        ("lightning={min_epochs: 1}", "trainer.lightning: unknown"),
        ("min_epochs=x", "trainer.min_epochs=x: expected int or null, got str"),
        ("gradient_clip_algorithm=norms", "trainer.gradient_clip_algorithm=norms: "),
        ("limit_train_batches=0", "trainer.limit_train_batches=0 is invalid: expected an integer"),
        ("limit_train_batches=0.001", "a fraction that leaves one of 19 batches"),
        ("limit_val_batches=0", "trainer.limit_val_batches=0 is invalid: expected an integer >= 1"),
        ("val_check_interval=20", "trainer.val_check_interval=20 is invalid: expected an integer"),
        ("val_check_interval=1.5", "trainer.val_check_interval=1.5: "),
    ],
)
def test_refused_before_work(tmp_path, capsys, setting, words):
    assert main([*TINY, f"out={tmp_path / 'run'}", f"trainer.{setting}"]) == 2
    assert words in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_limited_epochs_have_that_many_steps():
    run = Run(compose([*TINY, NARROW, "trainer.limit_train_batches=0.5", "trainer.max_steps=-1"]))
    assert run.module.total_steps == len(run.batches) == 9
