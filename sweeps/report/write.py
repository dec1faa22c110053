"""From the folder of a sweep to its page and its figures."""

from collections.abc import Sequence
from pathlib import Path

from tasks import write_text

from ..results.sweep_dir import Sweep, read_sweep, read_sweeps
from .files import write_figures
from .material import gather
from .page import page, sections

#: In the folder of a sweep.
REPORT, FIGURES = "report.html", "figures"


def write_report(folder: Path | Sequence[Path], to: Path | None = None) -> Path:
    """Write ``report.html`` and ``figures/``; returns the page.

    Args:
        folder: of a sweep, or of several that become one report.
        to: where the page goes; the sweep's own folder by default, for several the current one.

    Raises:
        ConfigError: where a folder is no sweep's, or sweeps do not compare.
    """
    if isinstance(folder, Path):
        return write_pages(read_sweep(folder), to or folder)
    if len(folder) == 1:
        return write_report(folder[0], to)
    return write_pages(read_sweeps(folder), to or Path.cwd())


def write_pages(sweep: Sweep, folder: Path) -> Path:
    """The same for a sweep that was read, or several merged into one."""
    folder.mkdir(parents=True, exist_ok=True)
    material = gather(sweep)
    parts = sections(material)
    write_figures(folder / FIGURES, [figure for part in parts for figure in part.figures])
    write_text(folder / REPORT, page(material, parts))
    return folder / REPORT
