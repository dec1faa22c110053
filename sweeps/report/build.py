"""Writing the report of a sweep: the page and the files of its figures."""

from collections.abc import Sequence
from pathlib import Path

from routers import ConfigError

from ..results.files import write_file
from ..results.sweep_dir import Sweep, read_sweeps

#: Names in the folder of a sweep.
REPORT, FIGURES = "report.html", "figures"


def write_report(folder: Path | Sequence[Path], to: Path | None = None) -> Path:
    """Write ``report.html`` and ``figures/`` of one sweep or of several; return the page's path.

    By default they are written to the folder of the sweep, for several to the current one.

    Raises:
        ConfigError: for a folder without a sweep, or sweeps that cannot be compared.
    """
    folders = [folder] if isinstance(folder, Path) else folder
    default = folders[0] if len(folders) == 1 else Path.cwd()
    return write_pages(read_sweeps(folders), to or default)


def write_pages(sweep: Sweep, folder: Path) -> Path:
    """Write the report of a sweep that was read, or of several merged into one."""
    # matplotlib and Jinja are imported only when a report is written
    from .data import collect
    from .figures.render import render
    from .page import render_page
    from .sections import make_sections

    data = collect(sweep)
    sections = make_sections(data)
    drawings = [render(figure) for section in sections for figure in section.figures]
    if (folder / FIGURES).is_symlink():
        raise ConfigError(f"{folder / FIGURES}: is a link to another folder; remove it")
    (folder / FIGURES).mkdir(parents=True, exist_ok=True)
    for drawing in drawings:
        path = folder / FIGURES / drawing.figure.name
        write_file(path.with_suffix(".svg"), drawing.svg)
        write_file(path.with_suffix(".pdf"), drawing.pdf)
    write_file(folder / REPORT, render_page(data, sections, drawings))
    return folder / REPORT
