"""Unicode character names with properties of the characters: real text that ships with Python."""

import hashlib
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

#: Prefixes of names that follow from the code point by a rule, and so carry no information.
_BY_RULE = ("CJK UNIFIED IDEOGRAPH-", "CJK COMPATIBILITY IDEOGRAPH-", "HANGUL SYLLABLE ")

#: Of the names, for validation and for test each.
_SHARE = 0.1

_UCD = unicodedata.ucd_3_2_0
_PROPERTIES = {
    "category": _UCD.category,
    "bidirectional": _UCD.bidirectional,
    "width": _UCD.east_asian_width,
}


@dataclass(frozen=True)
class Property:
    """A property of every character: places ``(N,)`` int64 in the sorted names of its values."""

    y: Tensor
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Names:
    """Character names.

    Attributes:
        names: N different names, in the order of their code points.
        properties: ``category`` (26 values), ``bidirectional`` (18) and East Asian ``width`` (6).
        train, val, test: places in ``names``, int64: 80, 10 and 10%.
        sha256: of names and properties.
        split_sha256: of which name went where.
    """

    names: list[bytes]
    properties: Mapping[str, Property]
    train: Tensor
    val: Tensor
    test: Tensor
    sha256: str
    split_sha256: str


@cache
def read_names() -> Names:
    """The 12,886 names of Unicode 3.2 that are not made by rule; the same on every Python.

    Names are split by a hash of each, so a name is on the same side whatever else is there.

    >>> found = read_names()
    >>> len(found.names), found.names[0]
    (12886, b'SPACE')
    >>> {name: len(prop.classes) for name, prop in found.properties.items()}
    {'category': 26, 'bidirectional': 18, 'width': 6}
    """
    named = ((character, _UCD.name(character, "")) for character in map(chr, range(0x110000)))
    characters = {c: name for c, name in named if name and not name.startswith(_BY_RULE)}
    names = [name.encode() for name in characters.values()]
    values = {p: [of(character) for character in characters] for p, of in _PROPERTIES.items()}
    order = sorted(range(len(names)), key=lambda place: hashlib.sha256(names[place]).digest())
    held_out = round(_SHARE * len(names))
    cuts = (0, len(names) - 2 * held_out, len(names) - held_out, len(names))
    train, val, test = (torch.tensor(sorted(order[a:b])) for a, b in pairwise(cuts))
    lines = [b"\n".join(names), *("\n".join(each).encode() for each in values.values())]
    return Names(
        names,
        {name: _property(each) for name, each in values.items()},
        train,
        val,
        test,
        hashlib.sha256(b"\n\n".join(lines)).hexdigest(),
        hashlib.sha256(torch.cat([train, val, test]).numpy().tobytes()).hexdigest(),
    )


def _property(values: list[str]) -> Property:
    classes, y = np.unique(values, return_inverse=True)
    return Property(torch.from_numpy(y), tuple(classes.tolist()))
