"""What README.md shows works as it stands."""

import importlib
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.config.compose import compose

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
ROUTER_FILE = re.search(r"complete:\n\n```python\n(.*?)```", README, re.DOTALL).group(1)
COMMANDS = [
    shlex.split(line, comments=True)[3:]
    for block in re.findall(r"^```\n(.*?)```", README, re.DOTALL | re.MULTILINE)
    for line in block.splitlines()
    if line.startswith("python -m tasks ") and "resume=" not in line and "plugins=" not in line
]


def run(folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_router_file_is_short():
    assert len(ROUTER_FILE.splitlines()) < 25


def test_the_router_file_passes_the_kit_and_trains(tmp_path):
    (tmp_path / "nearest.py").write_text(ROUTER_FILE)
    verdict = run(tmp_path, "routers", "check", "nearest:Nearest")
    assert re.search(r"(\d+) of \1 checks pass", verdict)
    small = ["task.model.dim=16", "expert.hidden=16", "trainer.max_epochs=1", "trainer.max_steps=3"]
    shown = run(
        tmp_path, "tasks", "task=digits", "router=nearest", "plugins=[nearest]", "out=o", *small
    )
    assert "digits · nearest · mlp" in shown
    assert (tmp_path / "o" / "result.json").exists()


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_commands_compose(command):
    compose(command)


def test_all_commands_were_found():
    assert len(COMMANDS) >= 4


def test_the_error_it_shows_is_the_one_people_get():
    shown = re.search(r"^error: (router=topp: .*), …$", README, re.MULTILINE).group(1)
    with pytest.raises(ValueError, match=re.escape(shown)):
        compose(["router=topp"])


@pytest.mark.parametrize(
    ("place", "script"),
    [
        ("digits", "digits_table"),
        ("tasks", "tasks_table"),
        ("cifar", "cifar_table"),
        ("census", "census_table"),
        ("views", "claims_views"),
        ("sentiment", "claims_sentiment"),
    ],
)
def test_a_table_is_what_its_script_makes_of_the_rows(monkeypatch, place, script):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    table = importlib.import_module(script).table()
    assert len(table.splitlines()) > 3
    start, end = f"<!-- {place}:start -->\n", f"<!-- {place}:end -->"
    assert README.partition(start)[2].partition(end)[0].startswith(table)


def test_the_table_of_speed_is_what_the_bench_left():
    script = runpy.run_path(str(ROOT / "benchmarks" / "engine_table.py"))
    rows = script["read_rows"]()
    assert {row["contestant"] for row in rows} >= {"dense", "topk", "expert_choice"}
    assert script["table"](rows) in README
    assert script["settings"](rows) in README
