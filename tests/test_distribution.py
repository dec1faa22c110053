"""The name of the distribution, in its metadata and in the commands that install it."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
FOLDERS = ("routers", "experts", "tasks", "sweeps", "docs")
FILES = [
    path
    for path in [*ROOT.glob("*.md"), *(p for name in FOLDERS for p in (ROOT / name).rglob("*.*"))]
    if path.suffix in (".md", ".py")
]


def test_commands_that_install_an_extra_name_the_distribution_and_an_extra_of_it():
    texts = "\n".join(path.read_text(encoding="utf-8") for path in FILES)
    named = re.findall(r"'([\w-]+)\[([\w{}]+)\]'", texts)
    assert {name for name, _ in named} == {PROJECT["name"]}
    assert {extra for _, extra in named} - {"{extra}"} <= PROJECT["optional-dependencies"].keys()
    assert len(named) >= 4


def test_the_license_is_the_apache_license():
    assert PROJECT["license"] == "Apache-2.0"
    (file,) = PROJECT["license-files"]
    assert (ROOT / file).read_text().strip().startswith("Apache License")
