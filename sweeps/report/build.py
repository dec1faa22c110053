"""Writing the report of a sweep or a suite: the page and the files of its figures."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from routers import ConfigError, OptionError

from ..results.files import write_file
from ..results.ranking import Standing, standings
from ..results.sweep_dir import Sweep, read_sweeps

if TYPE_CHECKING:
    from ..results.suite_comparison import SuiteComparison
    from ..results.suite_costs import Cost
    from .page import PageData
    from .sections.section import Section

#: Names in the folder of a sweep.
REPORT, FIGURES = "report.html", "figures"

#: Widths of figures by name, in inches: a column, and the text, of a paper with two columns.
WIDTHS = {"single": 3.25, "double": 6.75}

_LEAST_WIDTH, _MOST_WIDTH = 2.0, 40.0


def inches(text: str) -> float:
    """Read the width of figures.

    Raises:
        OptionError: if it is neither a name nor a number of inches.

    >>> inches("single"), inches("5.5")
    (3.25, 5.5)
    """
    try:
        width = WIDTHS.get(text) or float(text)
    except ValueError:
        width = 0.0
    if not _LEAST_WIDTH <= width <= _MOST_WIDTH:
        names = " or ".join(f"{name} ({value})" for name, value in WIDTHS.items())
        expected = f"inches in [{_LEAST_WIDTH:g}, {_MOST_WIDTH:g}], {names}"
        raise OptionError("width", text, expected)
    return width


def write_report(
    folder: Path | Sequence[Path],
    to: Path | None = None,
    storage: str | None = None,
    width: float | None = None,
) -> Path:
    """Write ``report.html`` and ``figures/`` of one sweep or of several; return the page's path.

    Args:
        folder: of a sweep, or several of them.
        to: where to write; by default the folder of the sweep, for several the current one.
        storage: URL of the trials of sweeps that ran with ``storage=URL``: without it, none is
            opened outside of their folders.
        width: of the files of figures, in inches, for a paper; by default what they need.

    Raises:
        ConfigError: for a folder without a sweep, or sweeps that cannot be compared.
    """
    folders = [folder] if isinstance(folder, Path) else folder
    default = folders[0] if len(folders) == 1 else Path.cwd()
    sweep = read_sweeps(folders)
    return write_pages(sweep, standings(sweep), to or default, storage, width)


def write_pages(
    sweep: Sweep,
    rows: Sequence[Standing],
    folder: Path,
    storage: str | None = None,
    width: float | None = None,
) -> Path:
    """Write the report of a sweep that was read, or of several merged into one.

    ``rows`` are its standings; ``storage`` and ``width`` are as for `write_report`.
    """
    # matplotlib and Jinja are imported only when a report is written
    from .data import collect
    from .sections import make_sections
    from .sections.header import header

    data = collect(sweep, rows, storage)
    return _write(data, header(data), make_sections(data), folder, width)


def write_suite_pages(
    comparison: "SuiteComparison", costs: "Sequence[Cost]", folder: Path, width: float | None = None
) -> Path:
    """Write the report of a suite; it links to the reports of benchmarks that lie in the folder.

    ``width`` is as for `write_report`.
    """
    from .suite import collect_suite, make_suite_sections, suite_header

    links = {
        each.name: f"{quote(each.name)}/{REPORT}"
        for each in comparison.suite.benchmarks
        if (folder / each.name / REPORT).exists()
    }
    data = collect_suite(comparison, costs, links)
    return _write(data, suite_header(data), make_suite_sections(data), folder, width)


def _write(
    data: "PageData",
    header: "Section",
    sections: "Sequence[Section]",
    folder: Path,
    width: float | None,
) -> Path:
    """Write a page and the files of its figures."""
    from .figures.render import INCH, render
    from .page import render_page

    if (folder / FIGURES).is_symlink():
        raise ConfigError(f"{folder / FIGURES}: is a link to another folder; remove it")
    points = None if width is None else width * INCH
    drawings = [render(figure, points) for section in sections for figure in section.figures]
    (folder / FIGURES).mkdir(parents=True, exist_ok=True)
    for drawing in drawings:
        path = folder / FIGURES / drawing.figure.name
        write_file(path.with_suffix(".svg"), drawing.svg)
        write_file(path.with_suffix(".pdf"), drawing.pdf)
    write_file(folder / REPORT, render_page(data, header, sections, drawings))
    return folder / REPORT
