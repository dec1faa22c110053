"""A table in LaTeX, with the rules of booktabs."""

from collections.abc import Sequence

from .markdown import Head

_ESCAPES = str.maketrans(
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


def latex_table(
    heads: Sequence[Head],
    rows: Sequence[Sequence[str]],
    notes: str,
    comments: Sequence[str],
) -> str:
    """The table, its notes below, and what a reader of the source should know above.

    Args:
        heads: of the columns.
        rows: cells as plain text.
        notes: as plain text.
        comments: lines of comment.
    """
    alignment = "".join("r" if head.right else "l" for head in heads)
    lines = [
        *(f"% {' '.join(comment.split())}" for comment in comments),
        "% needs \\usepackage{booktabs}",
        rf"\begin{{tabular}}{{{alignment}}}",
        r"\toprule",
        _row([head.title for head in heads]),
        r"\midrule",
        *map(_row, rows),
        r"\bottomrule",
        r"\end{tabular}",
        "",
        rf"\smallskip\footnotesize {escape(notes)}",
    ]
    return "\n".join(lines) + "\n"


def escape(text: str) -> str:
    r"""Text that LaTeX sets as it is.

    >>> print(escape("50 % of a_b"))
    50 \% of a\_b
    """
    return text.translate(_ESCAPES)


def _row(cells: Sequence[str]) -> str:
    # a bracket after \\ would be read as its argument, so each line starts with an empty group
    return "{}" + " & ".join(map(escape, cells)) + r" \\"
