"""Tables in GitHub's Markdown and in LaTeX with the rules of booktabs."""

import re
from collections.abc import Sequence
from typing import Protocol

_LATEX_ESCAPES = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    }
)


class Header(Protocol):
    """The header of a column."""

    @property
    def title(self) -> str: ...
    @property
    def right(self) -> bool: ...


def markdown_table(headers: Sequence[Header], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table with aligned columns; its last line ends with a newline."""
    rules = ["---:" if header.right else ":---" for header in headers]
    titles = [escape_markdown(header.title) for header in headers]
    lines = [titles, rules, *(map(escape_markdown, row) for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def escape_markdown(text: str) -> str:
    r"""Escape text for Markdown.

    >>> print(escape_markdown("a|b_c"))
    a\|b\_c
    """
    return re.sub(r"([\\`*_{}\[\]<>#|~])", r"\\\1", " ".join(text.split()))


def latex_table(
    headers: Sequence[Header],
    rows: Sequence[Sequence[str]],
    notes: str,
    comments: Sequence[str],
) -> str:
    """A LaTeX table of plain text, with notes below it and lines of comment above it."""
    alignment = "".join("r" if header.right else "l" for header in headers)
    lines = [
        *(f"% {' '.join(comment.split())}" for comment in comments),
        "% needs \\usepackage{booktabs}",
        rf"\begin{{tabular}}{{{alignment}}}",
        r"\toprule",
        _latex_row([header.title for header in headers]),
        r"\midrule",
        *map(_latex_row, rows),
        r"\bottomrule",
        r"\end{tabular}",
        "",
        rf"\smallskip\footnotesize {escape_latex(notes)}",
    ]
    return "\n".join(lines) + "\n"


def escape_latex(text: str) -> str:
    r"""Escape text for LaTeX.

    >>> print(escape_latex("50 % of a_b"))
    50 \% of a\_b
    """
    return text.translate(_LATEX_ESCAPES)


def _latex_row(cells: Sequence[str]) -> str:
    # LaTeX reads a bracket after \\ as its argument, so each line starts with an empty group
    return "{}" + " & ".join(map(escape_latex, cells)) + r" \\"
