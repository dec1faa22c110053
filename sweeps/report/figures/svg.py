"""SVG as matplotlib writes it, made small, and cut into panels for the page."""

import re
from collections.abc import Callable, Mapping, Sequence
from xml.etree.ElementTree import Element, SubElement, fromstring, tostring

from .style import with_variables

#: Prefixes of the group ids (``Artist.set_gid``) that mark a panel, and a text shown on hover.
PANEL, TIP = "panel:", "tip:"

_FONTS = "Helvetica, Arial, Liberation Sans, sans-serif"
_SVG, _HREF = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}href"
_DROPPED = {"metadata", "style", "clipPath", "defs"}
_NUMBER = re.compile(r"-?\d+\.\d+")
_TURNED = re.compile(r"rotate\(-90 ([\d.]+) ([\d.]+)\)")
_SPACE = re.compile(r"\s*([A-Za-z])\s*")


def simplified(text: str) -> Element:
    """Parse what matplotlib wrote, without the groups, ids and digits that nothing needs.

    Markers are written out at each use: every panel then stands for itself.
    """
    root = fromstring(text)
    markers = {
        f"#{element.get('id')}": element
        for definitions in root.iter(f"{_SVG}defs")
        for element in definitions.iter(f"{_SVG}path")
    }
    svg = Element("svg")
    svg.extend(new for child in root for new in _simplify(child, markers))
    return svg


def document(svg: Element, width: float, height: float, title: str, description: str) -> str:
    """A file with light colours, for print; its size is in points."""
    wide, high = _short(width), _short(height)
    root = Element("svg", xmlns=_SVG[1:-1], viewBox=f"0 0 {wide} {high}")
    root.attrib |= {"width": f"{wide}pt", "height": f"{high}pt"}
    root.attrib |= {"font-family": _FONTS, "stroke-linejoin": "round"}
    SubElement(root, "title").text = title
    SubElement(root, "desc").text = description
    root.extend(svg)
    return tostring(root, encoding="unicode")


def panels(
    svg: Element, boxes: Sequence[tuple[float, float, float, float]], words: Sequence[str]
) -> list[str]:
    """Each panel of a simplified figure as an element for the page, in the colours of its theme.

    Boxes are left, top, width and height; words are the text alternatives.
    """
    groups = {group.get("id"): group for group in svg.iter("g")}
    found = []
    for number, (box, alt) in enumerate(zip(boxes, words, strict=True)):
        view = " ".join(map(_short, box))
        root = Element("svg", {"viewBox": view, "role": "img", "aria-label": alt})
        root.extend(groups[f"{PANEL}{number}"])
        for element in root.iter():
            if "style" in element.attrib:
                element.set("style", with_variables(element.attrib["style"]))
        found.append(tostring(root, encoding="unicode"))
    return found


def _simplify(element: Element, markers: Mapping[str, Element]) -> list[Element]:
    """Return the elements that replace one that matplotlib wrote."""
    tag = element.tag.removeprefix(_SVG)
    if tag in _DROPPED:
        return []
    if tag == "use":
        return [_marker(element, markers[element.attrib[_HREF]])]
    children = [new for child in element for new in _simplify(child, markers)]
    name = element.get("id", "")
    if tag == "g" and not name.startswith((PANEL, TIP)):
        return children
    new = Element(tag, {"id": name} if name.startswith(PANEL) else {})
    if name.startswith(TIP):
        SubElement(new, "title").text = name.removeprefix(TIP)
    new.text = (element.text or "").strip() or None
    new.extend(children)
    for key, shorten in _SHORTENED.items():
        if key in element.attrib and (value := shorten(element.attrib[key])):
            new.set(key, value)
    return [new]


def _marker(use: Element, path: Element) -> Element:
    place = ",".join(_short(float(use.attrib[key])) for key in ("x", "y"))
    style = _style(f"{path.get('style', '')};{use.get('style', '')}")
    outline = _path(path.attrib["d"], 2)
    return Element("path", {"d": outline, "transform": f"translate({place})", "style": style})


def _style(text: str) -> str:
    """Declarations without spaces, the last of each property; the font is that of the page."""
    pairs = (part.split(":", 1) for part in text.split(";") if ":" in part)
    found = {name.strip(): value.strip() for name, value in pairs}
    found.pop("font-family", None)
    return ";".join(f"{name}:{value}" for name, value in found.items())


def _path(commands: str, digits: int = 1) -> str:
    rounded = _NUMBER.sub(lambda m: _short(float(m[0]), digits), commands)
    return _SPACE.sub(r"\1", rounded).strip()


def _short(value: float | str, digits: int = 1) -> str:
    return f"{round(float(value), digits) + 0.0:g}"


def _turn(transform: str) -> str:
    """Return the rotation of a text; matplotlib writes one for upright texts too."""
    numbers = _TURNED.fullmatch(transform)
    return f"rotate(-90 {' '.join(map(_short, numbers.groups()))})" if numbers else ""


#: Attributes that are kept, in this order, and their short forms.
_SHORTENED: Mapping[str, Callable[[str], str]]
_SHORTENED = {"d": _path, "x": _short, "y": _short, "transform": _turn, "style": _style}
