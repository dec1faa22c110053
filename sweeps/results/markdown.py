"""A table in GitHub's Markdown."""

import re
from collections.abc import Sequence
from typing import Protocol


class Head(Protocol):
    """The head of a column."""

    @property
    def title(self) -> str: ...
    @property
    def right(self) -> bool: ...


def markdown_table(heads: Sequence[Head], rows: Sequence[Sequence[str]]) -> str:
    """The table, with its columns aligned, in lines that end."""
    rules = ["---:" if head.right else ":---" for head in heads]
    lines = [[escape(head.title) for head in heads], rules, *(map(escape, row) for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def escape(text: str) -> str:
    r"""Text that Markdown shows as it is.

    >>> print(escape("a|b_c"))
    a\|b\_c
    """
    return re.sub(r"([\\`*_{}\[\]<>#|~])", r"\\\1", " ".join(text.split()))
