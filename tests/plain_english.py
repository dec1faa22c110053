"""Lint of prose: docstrings, comments, messages and pages use plain technical English.

``python tests/plain_english.py [PATH …]`` prints each hit as ``file:line: word`` and exits with 1.
"""

import ast
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

#: Spoken, archaic or vague words, and what the field says instead.
WORDS = {
    r"told": "receives, is called with",
    r"tells? (?!apart)": "reports, states",
    r"mend(s|ed|ing)?": "fix",
    r"anew": "again",
    r"who(m)?ever": "name the agent",
    r"nobody": "no process, no caller",
    r"beside": "next to, besides",
    r"go(es|ing)? on": "continue",
    r"where (?-i:none)": "if there is none",
    r"allowed is": "expected",
    r"of (its|their|his) own": "own, separate",
    r"by lot": "at random",
    r"thereof|therein|whence|hence|lest|likewise": "plain words",
    r"parcel|zygote": "artifact, fork server",
    r"comes? about|came about": "happens",
    r"as many as": "the same number of",
}
#: A docstring begins with a noun phrase or an imperative verb.
OPENINGS = r"(What|Who|Whom|Whose|Which|Where|Why|Is|Are|Has|That)\b"

PATTERN = re.compile("|".join(rf"(?P<w{i}>\b(?:{word})\b)" for i, word in enumerate(WORDS)), re.I)


def hits(text: str) -> Iterator[tuple[str, str]]:
    """Each word of ``text`` that is on the list, with what to write instead.

    >>> list(hits("The queue is told."))
    [('told', 'receives, is called with')]
    """
    for found in PATTERN.finditer(re.sub(r"``.*?``|`[^`]*`", "", text)):
        index = int(next(name for name, value in found.groupdict().items() if value)[1:])
        yield found[0].strip(), list(WORDS.values())[index]


def prose_of_python(source: str) -> Iterator[tuple[int, str]]:
    """Comments and strings that hold a space, with the line on which each begins."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        is_prose = token.type == tokenize.COMMENT or (
            token.type in (tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", -1))
            and " " in token.string
        )
        if is_prose:
            yield from enumerate(token.string.splitlines(), token.start[0])


def bad_openings(source: str) -> Iterator[tuple[int, str]]:
    """Docstrings that begin with a relative clause."""
    kinds = ast.Module | ast.ClassDef | ast.FunctionDef
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, kinds) and re.match(OPENINGS, ast.get_docstring(node) or ""):
            yield getattr(node, "lineno", 1), (ast.get_docstring(node) or "").partition("\n")[0]


def lint(path: Path) -> list[str]:
    """One line for each hit in a file."""
    text = path.read_text(encoding="utf-8")
    is_python = path.suffix == ".py"
    prose = prose_of_python(text) if is_python else enumerate(text.splitlines(), 1)
    found = [
        f"{path.relative_to(ROOT)}:{line}: {word!r}: write {better}"
        for line, each in prose
        for word, better in hits(each)
    ]
    if is_python and path.relative_to(ROOT).parts[0] != "tests":
        found += [
            f"{path.relative_to(ROOT)}:{line}: docstring begins with a relative clause: {first!r}"
            for line, first in bad_openings(text)
        ]
    return found


def main(paths: Sequence[str]) -> int:
    """Print the hits in the files given, or in all files that git tracks."""
    tracked = ["git", "ls-files", "*.py", "*.md", "*.yaml", "*.html", "*.jinja"]
    listed = paths or subprocess.check_output(tracked, cwd=ROOT, text=True).split()
    files = [ROOT / name for name in listed if (ROOT / name).resolve() != Path(__file__).resolve()]
    found = [hit for file in files if file.exists() for hit in lint(file)]
    print("\n".join(found) or f"{len(files)} files: plain English")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
