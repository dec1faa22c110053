"""A router is one idea: under forty lines of code, or it says why not."""

import ast
import io
import sys
import tokenize
from pathlib import Path

import pytest

import routers

MOST = 150
OURS = [n for n in routers.available() if routers.ROUTERS[n].__module__.startswith("routers.")]
HOLDS_NONE = {
    tokenize.COMMENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
    tokenize.INDENT,
    tokenize.NEWLINE,
    tokenize.NL,
}


def lines_of_code(text: str) -> int:
    """Lines beside docstrings, imports, comments and blank ones."""
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    filled = {
        line
        for token in tokens
        if token.type not in HOLDS_NONE
        for line in range(token.start[0], token.end[0] + 1)
    }
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import | ast.ImportFrom) or is_docstring(node):
            filled -= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(filled)


def is_docstring(node: ast.AST) -> bool:
    """A statement that is nothing but a text."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def test_what_counts():
    head = '"""Not\n\nthis."""\nimport nor\nfrom this import (\n    neither,\n)\n\n\n'
    body = '    # nor this\n    """Nor this."""\n    y = """yes\n    yes"""\n\n    return y\n'
    assert lines_of_code(head + "def f(\n    x,\n):  # three\n" + body) == 3 + 3


@pytest.mark.parametrize("name", OURS)
def test_a_router_is_short_or_says_why_not(name):
    module = sys.modules[routers.ROUTERS[name].__module__]
    length = lines_of_code(Path(module.__file__).read_text(encoding="utf-8"))
    if "\nLonger than most: " in module.__doc__:
        assert length > MOST, f"{length} lines: it no longer has to say why it is long"
    else:
        assert length <= MOST, (
            f"{length} lines of code beside docstrings and imports: move what is no part of the "
            "idea to a file of its own, with an underscore; or, where the algorithm itself is "
            "long, say so in the module's docstring: 'Longer than most: ...'"
        )
