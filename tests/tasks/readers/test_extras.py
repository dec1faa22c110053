"""Optional packages are asked for by the name of their extra."""

import ast
import sys
from pathlib import Path

import pytest

import tasks.readers
from tasks.readers import DataError, ImageSource, TextSource

from .files import encoded, pixels, write, write_parquet

FOLDER = Path(tasks.readers.__file__).parent


def hide(monkeypatch, *modules):
    """As if they were not installed."""
    for name in [*sys.modules]:
        if name.split(".")[0] in modules:
            monkeypatch.delitem(sys.modules, name)
    for name in modules:
        monkeypatch.setitem(sys.modules, name, None)


def test_parquet_without_pyarrow(tmp_path, monkeypatch):
    path = write_parquet(tmp_path / "a.parquet", {"text": ["a"], "label": [0]})
    hide(monkeypatch, "pyarrow")
    with pytest.raises(
        DataError, match=r"a\.parquet: needs pyarrow; pip install 'switchyard-moe\[data\]'"
    ):
        TextSource(path=str(path)).read()


def test_images_without_pillow(tmp_path, monkeypatch):
    write(tmp_path / "a" / "1.png", encoded(pixels(1, 4, 4)[0]))
    hide(monkeypatch, "PIL")
    with pytest.raises(
        DataError, match=r"1\.png: needs pillow; pip install 'switchyard-moe\[data\]'"
    ):
        ImageSource(path=str(tmp_path)).read()


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.name)
def test_extras_are_imported_where_they_are_needed(path):
    """Only by ``needed``, which says what to install."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            names.add((node.module or "").partition(".")[0])
    assert not names & {"PIL", "pyarrow", "datasets"}
