"""What the command prints."""

import io
import re
from types import SimpleNamespace

import pytest
from omegaconf import OmegaConf
from rich.console import Console

import experts
import routers
from tasks import OPTIMIZERS, SCHEDULES, TASKS, compose, experiments, main, to_yaml
from tasks.running.result import print_result

from ..cases import NARROW, TINY, result_of, rows_of, signal_at, train


@pytest.fixture
def shown(capsys, monkeypatch):
    """Runs a command that must succeed and returns what it prints."""
    monkeypatch.setattr("tasks.running.run.load_warning", list)  # of other processes

    def run(*arguments):
        assert main(arguments) == 0
        captured = capsys.readouterr()
        assert not captured.err
        return captured.out

    return run


def test_help(shown):
    text = shown("--help")
    for words in ("python -m tasks task=NAME", "resume=DIR", "~key", "Exit codes", "max_epochs"):
        assert words in text
    for command in ("test DIR", "predict DIR", "routes DIR", "export DIR"):
        assert f"python -m tasks {command}" in text
    assert shown("-h") == text


def test_help_says_what_would_run(shown):
    text = shown("--help", "expert=glu")
    assert "conf/task/digits.yaml overrides it" in text
    assert text.rstrip().endswith(to_yaml(compose(["expert=glu"])).rstrip())


def test_configuration_of_a_resumed_run(shown, tmp_path):
    out = tmp_path / "run"
    shown(*TINY, NARROW, f"out={out}", "trainer.max_steps=1", "router=hash")
    printed = shown("--cfg", f"resume={out}", "trainer.threads=2")
    assert "name: hash" in printed
    assert "threads: 2" in printed
    assert printed.replace("threads: 2", "threads: 1") == (out / "config.yaml").read_text()


def test_help_on_a_part(shown):
    text = shown("--help", "router=hash", "expert=glu")
    assert "Roller et al. 2021" in text
    assert "table=random" in text
    assert "expert=glu" in text
    assert "hidden=None" in text or "hidden=null" in text
    assert ">>>" not in text


def test_help_on_a_part_of_a_layer(shown):
    text = shown("--help", "layers.0.router=hash")
    assert "layers.0.router=hash\nA fixed table maps" in text
    assert "\nrouter=" not in text


def test_help_on_a_part_from_outside(shown):
    assert "follows the load" in shown("--help", "router=spare_parts:Adapting")


def test_list(shown):
    text = shown("--list")
    names = [
        *routers.available(),
        *experts.available(),
        *TASKS.available(),
        *routers.LOSSES.available(),
        *routers.GATES.available(),
        *OPTIMIZERS.available(),
        *SCHEDULES.available(),
        *("tensorboard", "wandb", "mlflow"),
        *experiments(),
    ]
    lines = {line.split()[0] for line in text.splitlines() if line.startswith("  ")}
    assert set(names) <= lines
    callbacks = text.partition("trainer.callbacks\n")[2].partition("\n\n")[0]
    assert [line.split()[0] for line in callbacks.splitlines()] == ["backup", "revive"]


def test_cfg(shown, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = ("router=expert_choice", "optimizer.lr=1e-4", "trainer.threads=1")
    printed = OmegaConf.create(shown("--cfg", *settings))
    expected = OmegaConf.structured(compose(settings))
    printed.trainer.lightning, printed.optimizer.options, printed.auto = {}, {}, []
    assert expected == printed
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("flag", ["--help", "--cfg"])
def test_flags_check_names_too(capsys, flag):
    assert main([flag, "router=topkk"]) == 2
    assert "did you mean 'topk'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("router.k=9", "router.k=9 is invalid: expected an integer in [1, num_experts=8]"),
        ("trainer.max_epochs=0", "trainer.max_epochs=0 is invalid"),
        ("trainer.max_time=soon", "trainer.max_time=soon is invalid"),
        ("expert=conv", "expert=conv: its rows are"),
        ("out=used", "out=used: is not empty"),
    ],
)
def test_cfg_checks_what_a_run_checks(capsys, tmp_path, monkeypatch, setting, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "notes.txt").write_text("kept")
    assert main(["--cfg", *TINY, setting]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"error: {words}")
    assert not captured.out


def test_list_continues_after_a_broken_plugin(capsys, monkeypatch):
    """It names the package to update or remove."""

    def load():
        raise ImportError("no such luck")

    package = SimpleNamespace(name="their-routers")
    entry = SimpleNamespace(name="broken", value="theirs:X", load=load, dist=package)
    installed = {"switchyard.routers": {"broken": entry}}
    monkeypatch.setattr(
        "routers.plugins.registry._installed", lambda group: installed.get(group, {})
    )
    assert main(["--list"]) == 0
    captured = capsys.readouterr()
    assert "  broken " in captured.out
    assert "  topk " in captured.out
    assert captured.err.startswith(
        "warning: router=broken (of the installed package their-routers): cannot be imported; "
    )
    assert len(captured.err.splitlines()) == 1


def test_list_continues_after_a_module_that_cannot_be_imported(capsys):
    assert main(["--list", "plugins=[no_such_module, spare_parts]"]) == 0
    captured = capsys.readouterr()
    assert "  topk " in captured.out
    assert captured.err.startswith("warning: plugins=no_such_module: no such module; ")
    assert len(captured.err.splitlines()) == 1
    assert main(["--list", "plugins=3"]) == 2
    assert capsys.readouterr().err.startswith("error: plugins=3: expected list of str")


def test_table_at_the_end(shown, tmp_path):
    out = tmp_path / "run"
    text = shown(*TINY, NARROW, f"out={out}")
    result = result_of(out)
    for words in (
        "digits · topk · mlp · seed 0",
        f"{result['score']['value']:.4f}",
        f"{result['load']['cv']:.3f}",
        f"{result['compute']['parameters']:,}",
        f"{result['compute']['flops_per_item']:,.0f}",
        "MaxVio",
        "dead experts",
        "NMI class",
        str(out),
    ):
        assert words in text.replace("\n", "") or words in text


def test_table_without_a_margin_or_balance(tmp_path):
    """A control arm has one expert; its table is printed all the same."""
    result = train(tmp_path / "run", "moe.control=iso_flop", "trainer.max_steps=1")
    console = Console(file=io.StringIO(), width=100)
    print_result(console, result)
    assert "dense_iso_flop" in console.file.getvalue()


def test_table_of_a_score_that_is_no_number(tmp_path):
    """It is null in a finished run's ``result.json``."""
    result = train(tmp_path / "run", "trainer.max_steps=1")
    result["score"] |= {"value": None, "validation": None}
    console = Console(file=io.StringIO(), width=100)
    print_result(console, result)
    assert "nan" in console.file.getvalue()


@pytest.fixture
def terminal(monkeypatch):
    """What is drawn on a terminal of 100 columns."""
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=100)
    monkeypatch.setattr("rich.console.Console", lambda: console)
    return file


def test_progress_bar_on_a_terminal(terminal, tmp_path):
    out = tmp_path / "run"
    assert main([*TINY, NARROW, f"out={out}", "trainer.progress=true", "trainer.max_steps=20"]) == 0
    drawn = terminal.getvalue()
    assert "training: steps 19, epochs 1, device cpu, threads 1" in drawn
    assert "train loss" not in drawn  # lines are for where there is no bar
    assert "0/19" in drawn  # the batches of an epoch
    assert "validation accuracy" in drawn
    assert "test accuracy" in drawn


def test_progress_bar_where_nothing_is_left_to_train(terminal, tmp_path):
    out = tmp_path / "run"
    assert main([*TINY, NARROW, f"out={out}", "trainer.progress=true"]) == 0
    (out / "result.json").unlink()
    assert main([f"resume={out}"]) == 0
    assert (out / "result.json").exists()


LINES = ("trainer.progress=true", "trainer.batch_size=300", "trainer.max_steps=6")


def test_lines_where_there_is_no_terminal(shown, tmp_path):
    """They hold what was read and what trains, then the values of ``metrics.csv``."""
    epochs = ("trainer.max_epochs=2", "trainer.log_every_n_steps=1")
    out = tmp_path / "run"
    text = shown(*TINY, NARROW, f"out={out}", *LINES, *epochs)
    data, model, training, *validations = text[: text.index("digits · topk")].splitlines()
    result = result_of(out)
    assert data == (
        "data: digits, 1,257 train, 180 val, 360 test samples (splits as given); "
        f"labels: class (10); sha256 {result['data']['sha256'][:12]}"
    )
    compute = result["compute"]
    assert model.startswith(f"model: digits, vit, topk, mlp, {compute['parameters']:,} parameters")
    active = int(re.search(r"about ([\d,]+) active", model)[1].replace(",", ""))
    assert active == round(compute["active_parameters"])  # each item has k experts
    assert training == "training: steps 6, epochs 2, device cpu, threads 1"
    rows = rows_of(out)
    scores = [float(row["val/accuracy"]) for row in rows if row["val/accuracy"]]
    losses = [float(row["train/loss"]) for row in rows if row["train/loss"]]
    for line, epoch, step, since, score in zip(
        validations, (1, 2), (4, 6), (0, 4), scores, strict=True
    ):
        loss = sum(losses[since:step]) / (step - since)
        assert line.startswith(
            f"epoch {epoch}, step {step}: train loss {loss:.4f}, validation accuracy {score:.4f}, "
            "load CV "
        )
        assert re.search(r"dead experts \d+, [\d,]+ samples per second, \d:\d\d:\d\d left$", line)


@pytest.mark.parametrize(("limit", "most"), [("null", 100), ("{seconds: 9}", 9)])
def test_the_time_is_expected_from_the_first_steps(shown, tmp_path, monkeypatch, limit, most):
    """A batch takes a second of this clock; three are not timed, two more are."""
    now = 0

    def monotonic():
        nonlocal now
        now += 1
        return now

    said = {}
    monkeypatch.setattr("tasks.training.progress.time", SimpleNamespace(monotonic=monotonic))
    monkeypatch.setattr("tasks.running.run.time", SimpleNamespace(monotonic=monotonic))
    monkeypatch.setattr(
        "tasks.training.progress.Progress.say", lambda self, line: said.setdefault(line, now)
    )
    epochs = ("trainer.max_epochs=5", "trainer.max_steps=20", f"trainer.max_time={limit}")
    shown(*TINY, NARROW, f"out={tmp_path / 'run'}", *LINES, *epochs)
    [(line, when)] = [each for each in said.items() if each[0].startswith("expected time: ")]
    assert line.endswith(" with reading, validations and test, 1.000 s a batch")
    left = min(15 + 0.4 * 15 / 4, most)  # an epoch has four batches and one of validation
    test = 0.4 * 2 * 2  # two batches, and the count of their FLOPs
    whole = int(line.split(":")[3][:2])  # seconds
    assert whole == pytest.approx(when - 1 + left + test, abs=1)


def test_lines_of_a_resumed_run(shown, capsys, tmp_path):
    with signal_at(2):
        assert main([*TINY, NARROW, f"out={tmp_path}", *LINES]) == 130
    capsys.readouterr()
    text = shown(f"resume={tmp_path}")
    assert "threads 1, resumed after step 3" in text
    assert re.search("step 4: train loss .* samples per second", text)


def test_no_progress_is_printed_if_it_is_off(shown, tmp_path):
    text = shown(*TINY, NARROW, f"out={tmp_path}", *LINES, "trainer.progress=false")
    assert text.startswith("digits · topk")
