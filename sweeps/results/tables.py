"""Tables of columns in Markdown, LaTeX and plain text."""

import re
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """A column of the Markdown, LaTeX and plain tables; terminals do not show a ``wide`` one."""

    title: str
    cells: Sequence[str]
    right: bool = True
    wide: bool = False


def plain_table(columns: Sequence[Column]) -> str:
    """Table for a terminal, without wide columns.

    >>> print(plain_table([Column("arm", ["topk"], right=False), Column("MaxVio", ["0.5"])]))
    arm   MaxVio
    ------------
    topk     0.5
    <BLANKLINE>
    """
    aligned = []
    for column in columns:
        if not column.wide:
            width = max(map(len, (column.title, *column.cells)))
            align = str.rjust if column.right else str.ljust
            aligned.append([align(cell, width) for cell in (column.title, *column.cells)])
    table = ["  ".join(line).rstrip() for line in zip(*aligned, strict=True)]
    return "\n".join([table[0], "-" * max(map(len, table)), *table[1:]]) + "\n"


def markdown_table(columns: Sequence[Column]) -> str:
    r"""Table in Markdown.

    >>> print(markdown_table([Column("arm", ["top_k"], right=False)]))
    | arm |
    | :--- |
    | top\_k |
    <BLANKLINE>
    """
    rules = ["---:" if column.right else ":---" for column in columns]
    titles, *lines = (map(escape_markdown, line) for line in _lines(columns))
    return "".join(f"| {' | '.join(line)} |\n" for line in (titles, rules, *lines))


def latex_table(columns: Sequence[Column], notes: str) -> str:
    """LaTeX table for ``\\input`` with the rules of booktabs, and notes below it."""
    titles, *cells = map(_latex_row, _lines(columns))
    alignment = "".join("r" if column.right else "l" for column in columns)
    lines = [
        "% needs \\usepackage{booktabs}",
        rf"\begin{{tabular}}{{{alignment}}}",
        r"\toprule",
        titles,
        r"\midrule",
        *cells,
        r"\bottomrule",
        r"\end{tabular}",
        "",
        rf"\smallskip\footnotesize {escape_latex(notes)}",
    ]
    return "\n".join(lines) + "\n"


def escape_markdown(text: str) -> str:
    r"""Escape text for Markdown.

    >>> print(escape_markdown("a|b_c"))
    a\|b\_c
    """
    return re.sub(r"([\\`*_{}\[\]<>#|~])", r"\\\1", " ".join(text.split()))


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


def escape_latex(text: str) -> str:
    r"""Escape text for LaTeX.

    >>> print(escape_latex("50 % of a_b"))
    50 \% of a\_b
    """
    return text.translate(_LATEX_ESCAPES)


def _latex_row(cells: Sequence[str]) -> str:
    # LaTeX reads a bracket after \\ as its argument, so each line starts with an empty group
    return "{}" + " & ".join(map(escape_latex, cells)) + r" \\"


def _lines(shown: Sequence[Column]) -> list[tuple[str, ...]]:
    """The line of titles, and a line for each arm."""
    return list(zip(*([column.title, *column.cells] for column in shown), strict=True))
