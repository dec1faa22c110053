"""What the command prints."""

import io

import pytest
from omegaconf import OmegaConf
from rich.console import Console

import experts
import routers
from tasks import TASKS, compose, experiments, main, to_yaml
from tasks.running.result import print_result

from ..cases import NARROW, TINY, result_of, train


@pytest.fixture
def shown(capsys):
    """Runs a command that must succeed and returns what it prints."""

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
        *experiments(),
    ]
    lines = {line.split()[0] for line in text.splitlines() if line.startswith("  ")}
    assert set(names) <= lines


def test_cfg(shown, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    printed = OmegaConf.create(shown("--cfg", "router=expert_choice", "optimizer.lr=1e-4"))
    assert printed == OmegaConf.structured(compose(["router=expert_choice", "optimizer.lr=1e-4"]))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("flag", ["--help", "--cfg"])
def test_flags_check_names_too(capsys, flag):
    assert main([flag, "router=topkk"]) == 2
    assert "did you mean 'topk'" in capsys.readouterr().err


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
    print_result(console, result, tmp_path)
    assert "dense_iso_flop" in console.file.getvalue()


def test_table_of_a_score_that_is_no_number(tmp_path):
    """It is null in a finished run's ``result.json``."""
    result = train(tmp_path / "run", "trainer.max_steps=1")
    result["score"] |= {"value": None, "validation": None}
    console = Console(file=io.StringIO(), width=100)
    print_result(console, result, tmp_path)
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
    assert "training" in drawn
    assert "0/19" in drawn  # the batches of an epoch
    assert "validation accuracy" in drawn
    assert "test accuracy" in drawn


def test_progress_bar_where_nothing_is_left_to_train(terminal, tmp_path):
    out = tmp_path / "run"
    assert main([*TINY, NARROW, f"out={out}", "trainer.progress=true"]) == 0
    (out / "result.json").unlink()
    assert main([f"resume={out}"]) == 0
    assert (out / "result.json").exists()


def test_nothing_is_printed_to_a_file_but_the_table(shown, tmp_path):
    text = shown(*TINY, NARROW, f"out={tmp_path / 'run'}", "trainer.progress=true")
    assert text.startswith("digits · topk")
