"""A part of the page, and how figures and arms stand in it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .html import Safe, join, tag
from .inks import as_variable
from .marks import Dot, Figure, Panel
from .styles import Style
from .svg import svg

_SMALL = 250.0
#: Panels that are shown at once; arms come best first, the rest unfolds.
_MOST = 40
#: A figure of so few panels is kept together on paper.
_SHORT = 8


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        name: its anchor.
        title: its heading.
        body: markup below the heading.
        figures: those in it, to be written as files too.
    """

    name: str
    title: str
    body: Safe
    figures: Sequence[Figure] = field(default_factory=tuple)

    def html(self) -> Safe:
        """The section with its heading."""
        return tag("section", tag("h2", self.title), self.body, id=self.name)


def figure_html(figure: Figure, looks: Mapping[str, Style], *, heading: bool = True) -> Safe:
    """A figure whose panels flow as the page is wide; those of an arm carry its marker."""
    panels = [_panel(panel, looks) for panel in figure.panels]
    large = "panels large" if figure.panels[0].width > _SMALL else "panels"
    shown = [tag("div", *panels[:_MOST], class_=large)]
    if len(panels) > _MOST:
        rest = tag("div", *panels[_MOST:], class_=large)
        shown.append(tag("details", tag("summary", f"{len(panels) - _MOST} more"), rest))
    return tag(
        "figure",
        *([tag("h3", figure.title)] if heading else []),
        tag("figcaption", figure.caption),
        *shown,
        class_="short" if len(panels) <= _SHORT else None,
    )


def _panel(panel: Panel, looks: Mapping[str, Style]) -> Safe:
    head: list[Safe] = []
    if panel.title:
        look = looks.get(panel.key or "")
        head = [tag("h4", *([marker(look)] if look else []), panel.title)]
    return tag("div", *head, svg(panel, as_variable), class_="panel")


def marker(look: Style) -> Safe:
    """The small sign of an arm; hidden from readers, for the name stands beside it."""
    return svg(Panel(12, 12, "", "", [Dot(6, 6, look.shape, look.ink, 5)]), as_variable, "key")


def arm_name(label: str, look: Style, control: bool) -> Safe:
    """An arm's marker and label."""
    tagged = [tag("span", "control", class_="tagged")] if control else []
    return join(marker(look), tag("span", label, class_="arm"), *tagged)


def table(head: Sequence[Safe], rows: Sequence[Sequence[Safe]], class_: str) -> Safe:
    """A plain table that can be sorted."""
    return tag(
        "table",
        tag("thead", tag("tr", *head)),
        tag("tbody", *(tag("tr", *row) for row in rows)),
        class_=f"{class_} sortable",
    )


def heading(text: str, class_: str | None = None, title: str | None = None) -> Safe:
    """The head of a column that can be sorted."""
    return tag("th", text, scope="col", class_=class_, title=title, data_sort="")


def cell(text: str, *, class_: str = "n", value: object = None, label: str | None = None) -> Safe:
    """A table cell.

    Args:
        text: in it.
        class_: ``n`` for numbers.
        value: what the table sorts by, in full.
        label: what stands before it where the table is shown as cards.
    """
    exact = None if value is None else str(value)
    return tag("td", text, class_=class_, role="cell", data_value=exact, data_label=label)
