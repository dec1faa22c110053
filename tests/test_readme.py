"""What README.md and the pages under docs/ show works as it stands."""

import importlib
import re
import shlex
import sys
from pathlib import Path

import pytest

from routers import ROUTERS
from tasks import compose, main

from .test_imports import LAYERS

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXTS = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in PAGES}
ROUTER_FILE = re.search(r"complete:\n\n```python\n(.*?)```", README, re.DOTALL).group(1)
COMMANDS = [
    shlex.split(line, comments=True)[3:]
    for text in TEXTS.values()
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    for line in block.splitlines()
    if not language and line.startswith("python -m tasks ")
    if not any(key in line for key in ("resume=", "plugins=", "init.edits="))
    if not re.match(
        r"python -m tasks (test|predict|routes|probe|edit|export|new|check) ", line
    )  # no training
]


def test_the_readme_is_short():
    assert len(README.splitlines()) < 200


def test_the_python_example_runs(capsys):
    (example,) = re.findall(r"## In Python\n\n```python\n(.*?)```", README, re.DOTALL)
    exec(example, {})
    assert capsys.readouterr().out.startswith("tensor([")


def test_the_router_file_is_short():
    assert len(ROUTER_FILE.splitlines()) < 25


def test_the_router_file_trains(tmp_path, monkeypatch, capsys):
    """It passes the kit in ``routers/test_command.py``."""
    (tmp_path / "nearest.py").write_text(ROUTER_FILE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(ROUTERS, "_parts", dict(ROUTERS._parts))
    small = ["task.model.dim=16", "expert.hidden=16", "trainer.max_epochs=1", "trainer.max_steps=3"]
    try:
        code = main(["task=digits", "router=nearest", "plugins=[nearest]", "out=o", *small])
    finally:
        sys.modules.pop("nearest", None)
    assert code == 0
    assert "digits · nearest · mlp" in capsys.readouterr().out
    assert (tmp_path / "o" / "result.json").exists()


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_commands_compose(command):
    compose(command)


def test_all_commands_were_found():
    assert len(COMMANDS) >= 10


def test_the_error_it_shows_is_the_one_people_get():
    shown = re.search(r"^error: (router=topp.*), …$", README, re.MULTILINE).group(1)
    with pytest.raises(ValueError, match=re.escape(shown)):
        compose(["router=topp"])


@pytest.mark.parametrize("page", TEXTS)
def test_links_and_scripts_exist(page):
    text, folder = TEXTS[page], (ROOT / page).parent
    links = [
        link.partition("#")[0]
        for link in re.findall(r"\]\(([^)]+)\)", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
        if not link.startswith(("http", "#"))
    ]
    assert [link for link in links if not (folder / link).exists()] == []
    scripts = re.findall(r"\bbenchmarks/[\w/]+\.\w+", text)
    assert [script for script in scripts if not (ROOT / script).exists()] == []


def test_the_map_of_the_code_is_complete():
    """CONTRIBUTING.md lists the rooms in their order, and every file it names exists."""
    text = TEXTS["CONTRIBUTING.md"]
    for package, layers in LAYERS.items():
        table = text.partition(f"\n### {package}: ")[2].partition("\n#")[0]
        rooms = [name for name in layers.split() if (ROOT / package / name).is_dir()]
        assert re.findall(r"^\| `(\w+)/` \|", table, re.MULTILINE) == rooms
    files = re.findall(r"`((?:routers|experts|tasks|sweeps|tests)/[\w/]+(?:\.py)?)`", text)
    assert len(files) > 20
    missing = [file for file in files if "NAME" not in file and not (ROOT / file).exists()]
    assert missing == []
    assert [file for file in files if not (ROOT / file).parent.exists()] == []


@pytest.mark.parametrize(
    ("page", "name", "script"),
    [
        ("results_digits", "digits", "readme_tables.digits"),
        ("results_strategies", "strategies", "readme_tables.strategies"),
        ("tasks", "tasks", "readme_tables.default_training"),
        ("data", "own_data", "readme_tables.own_data"),
        ("worked_cases", "cifar", "readme_tables.cifar"),
        ("worked_cases", "census", "readme_tables.census"),
        ("worked_cases", "views", "claims.views"),
        ("worked_cases", "sentiment", "claims.sentiment"),
        ("scale", "scale", "overhead.expert_parallel"),
        ("edits", "skipping", "overhead.skipping"),
        ("edits", "lost_experts", "claims.lost_experts"),
        ("edits", "distilling", "edits.distilling"),
        ("edits", "pruning", "edits.pruning"),
        ("edits", "growing", "edits.growing"),
        ("edits", "reviving", "edits.reviving"),
    ],
)
def test_a_table_is_what_its_script_makes_of_the_rows(page, name, script):
    table = importlib.import_module(f"benchmarks.{script}").table()
    assert len(table.splitlines()) > 3
    assert between(page, name).startswith(table)


def test_the_table_of_speed_is_what_the_bench_left():
    script = importlib.import_module("benchmarks.readme_tables.engine")
    rows = script.read_rows()
    assert {row["candidate"] for row in rows} >= {"dense", "topk", "expert_choice"}
    assert between("engine", "engine") == f"{script.table(rows)}\n\n{script.settings(rows)}\n"


def between(page: str, name: str) -> str:
    """The text between two markers of a page."""
    text = TEXTS[f"docs/{page}.md"]
    return text.partition(f"<!-- {name}:start -->\n")[2].partition(f"<!-- {name}:end -->")[0]
