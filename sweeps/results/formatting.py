"""Formatting of numbers in tables."""

import math
import re
from collections.abc import Iterable, Sequence

from ..statistics.intervals import Interval

#: Text of a missing value.
NONE = "-"

#: Control characters, which terminals obey, and halves of surrogate pairs, which no file can hold.
_FORBIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def printable(text: str) -> str:
    """Replace characters that HTML and XML forbid, and that terminals obey.

    >>> ascii(printable("a\\x07b"))
    "'a\\\\ufffdb'"
    """
    return _FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", text)


def one_line(text: str) -> str:
    """Return printable text without line breaks.

    >>> one_line("a\\nb")
    'a b'
    """
    return printable(" ".join(text.split()))


def cell_text(text: str) -> str:
    """Printable text that no spreadsheet reads as a formula.

    >>> cell_text("=1+1")
    "'=1+1"
    """
    return printable(f"'{text}" if text.startswith(tuple("=+-@\t\r")) else text)


def decimals(widths: Iterable[float]) -> int:
    """Decimal places of a column: two significant digits of half its shortest interval.

    >>> decimals([0.06, 0.03])
    3
    """
    shown = [width / 2 for width in widths if width > 0 and math.isfinite(width)]
    return min(6, max(0, 1 - math.floor(math.log10(min(shown))))) if shown else 4


def with_interval(mean: float | None, interval: Interval, digits: int) -> str:
    """A mean with its interval, or a dash if it is missing.

    >>> with_interval(0.95, Interval(0.9252, 0.9748), 3)
    '0.950 [0.925, 0.975]'
    """
    if mean is None or math.isnan(mean):
        return NONE
    if math.isnan(interval.low):
        return f"{mean:.{digits}f}"
    return f"{mean:.{digits}f} [{interval.low:.{digits}f}, {interval.high:.{digits}f}]"


def compact(value: float) -> str:
    """Three significant digits and a unit.

    >>> compact(3_343_616), compact(1024), compact(0.5)
    ('3.34M', '1.02k', '0.5')
    """
    if math.isnan(value):
        return NONE
    if value and abs(value) < 1e-3:
        return f"{value:.2e}"
    units = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""))
    size, unit = next((each for each in units if abs(value) >= 0.9995 * each[0]), units[-1])
    scaled = value / size
    return f"{scaled:.3g}{unit}" if abs(scaled) < 999.5 else f"{scaled:.0f}{unit}"


def listed(names: Sequence[str]) -> str:
    """Join names for a sentence.

    >>> listed(["a"]), listed(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    return " and ".join(part for part in (", ".join(names[:-1]), *names[-1:]) if part)
