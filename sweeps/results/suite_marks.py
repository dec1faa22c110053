"""Signs of verdicts in the tables and on the page of a suite."""

from collections.abc import Mapping
from dataclasses import dataclass

from ..statistics import Word
from .suite_comparison import SuiteComparison


@dataclass(frozen=True)
class Marks:
    """Signs of verdicts; those of ``weak`` hold in the benchmark's own family alone."""

    strong: Mapping[Word, str]
    weak: Mapping[Word, str]
    gap: str

    def of(self, word: Word, strict: bool) -> str:
        """The sign of a verdict."""
        return self.strong[word] if strict else self.weak.get(word, self.strong[word])


MARKS = Marks(
    {
        Word.BETTER: "\N{BLACK UP-POINTING TRIANGLE}",
        Word.WORSE: "\N{BLACK DOWN-POINTING TRIANGLE}",
        Word.EQUIVALENT: "\N{ALMOST EQUAL TO}",
        Word.UNCLEAR: "\N{MIDDLE DOT}",
        Word.TOO_FEW: "",
    },
    {
        Word.BETTER: "\N{WHITE UP-POINTING TRIANGLE}",
        Word.WORSE: "\N{WHITE DOWN-POINTING TRIANGLE}",
    },
    "\N{EN DASH}",
)
#: For LaTeX, whose fonts lack the others.
ASCII_MARKS = Marks(
    {
        Word.BETTER: "++",
        Word.WORSE: "--",
        Word.EQUIVALENT: "=",
        Word.UNCLEAR: ".",
        Word.TOO_FEW: "",
    },
    {Word.BETTER: "+", Word.WORSE: "-"},
    "gap",
)


def mark_in(comparison: SuiteComparison, benchmark: str, label: str, marks: Marks = MARKS) -> str:
    """The sign of the verdict on an arm against the control; empty where there is none."""
    control = comparison.control
    scores = comparison.complete.scores[benchmark]
    if control is None or label == control or label not in scores or control not in scores:
        return ""
    return marks.of(*comparison.word_in(benchmark, label, control))


def mark_over(comparison: SuiteComparison, label: str, marks: Marks = MARKS) -> str:
    """The sign of the verdict on an arm against the control over the suite."""
    control = comparison.control
    if control is None or label == control or label not in comparison.means:
        return ""
    return marks.of(comparison.word(label, control), True)
