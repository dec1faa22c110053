"""Labels of any kind, as numbers and names."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .error import DataError, listed, nearest
from .sheets import Place

Codes = npt.NDArray[np.int64]


def encode(
    what: str,
    labels: Sequence[Any],
    place: Place,
    parts: Mapping[str, int],
    declared: tuple[str, ...] = (),
) -> tuple[Codes, tuple[str, ...]]:
    """Numbers and names of labels.

    Names are those declared with the data, for labels 0, 1, …; else those of the training
    rows, sorted (whole numbers by their value).

    Args:
        what: what the labels are, for errors: ``label``.
        labels: ``(N,)`` integers or strings, training rows first.
        place: names a row.
        parts: rows of each split.
        declared: names of the labels 0, 1, ….

    Returns:
        ``(N,)`` places in the names, and the names.

    Raises:
        DataError: naming the row of a label that is missing, out of range, or in no training row.
    """
    texts = _texts(what, labels, place)
    known = {str(code): code for code in range(len(declared))}
    names = declared
    if not declared:
        names = sorted_names(set(texts[: parts["train"]]))
        known = {name: code for code, name in enumerate(names)}
    for row, text in enumerate(texts):
        if text not in known:
            raise DataError(f"{place(row)}: {_not_known(what, text, names, bool(declared))}")
    return np.array([known[text] for text in texts], np.int64), names


def encode_as(
    names: Sequence[str],
    what: str,
    labels: Sequence[Any],
    place: Place,
    declared: tuple[str, ...] = (),
) -> Codes:
    """Labels of other data as places in the names of a training, ``(N,)``.

    The other arguments are as for ``encode``; labels that other data declares in another order
    are found by their names.

    Raises:
        DataError: naming the row of a label that is missing, or is none of the names.

    >>> encode_as(("cat", "dog"), "label", [0, 1, 1], str, declared=("dog", "cat")).tolist()
    [1, 0, 0]
    """
    known = {name: code for code, name in enumerate(names)}
    named = {str(code): name for code, name in enumerate(declared)}
    texts = [named.get(text, text) for text in _texts(what, labels, place)]
    for row, text in enumerate(texts):
        if text not in known:
            raise DataError(
                f"{place(row)}: the {what} {text!r} is none that the model was trained on; "
                f"{nearest(text, names)}. Fix or remove the row"
            )
    return np.array([known[text] for text in texts], np.int64)


def _texts(what: str, labels: Sequence[Any], place: Place) -> list[str]:
    """Labels as text; ``DataError`` for the first that is missing or no label."""
    texts = []
    for row, label in enumerate(labels):
        text = label_text(label)
        if text is None:
            shown = "missing" if label in (None, "") else f"{label!r}"
            raise DataError(
                f"{place(row)}: the {what} is {shown}; give an integer or a name, or remove the row"
            )
        texts.append(text)
    return texts


def need_two(title: str, what: str, codes: npt.NDArray[Any], names: Sequence[str]) -> None:
    """Refuse training labels that are all the same."""
    if len(np.unique(codes)) < 2:
        raise DataError(
            f"{title}: every training row has the {what} {names[int(codes[0])]!r}; "
            "nothing can be learned: give rows of two or more classes"
        )


def check_classes(what: str, codes: Tensor, number: int, classes: Sequence[str]) -> None:
    """Check classes of samples: ``(number,)`` int64, each a place in ``classes`` or -1."""
    if codes.dtype != torch.int64 or tuple(codes.shape) != (number,):
        raise DataError(
            f"{what}: labels are {codes.dtype} of shape {tuple(codes.shape)}; "
            f"expected torch.int64 of shape ({number},)"
        )
    if number and not -1 <= int(codes.min()) <= int(codes.max()) < len(classes):
        raise DataError(
            f"{what}: labels from {int(codes.min())} to {int(codes.max())}; expected integers in "
            f"[0, {len(classes) - 1}], the places in {len(classes)} names"
        )


def label_text(label: Any) -> str | None:
    """A label as text; None where it is missing or no label.

    >>> label_text(3), label_text(3.0), label_text(" cat"), label_text(0.5), label_text("")
    ('3', '3', 'cat', None, None)
    """
    if isinstance(label, float):
        return str(int(label)) if label.is_integer() else None
    if isinstance(label, bytes):
        label = label.decode("utf-8", "surrogateescape")
    if isinstance(label, str):
        return printable(label.strip()) or None
    return str(int(label)) if isinstance(label, int | np.integer) else None


def printable(text: str) -> str:
    r"""Text with what is not UTF-8 written out, so that it can be printed and saved.

    >>> printable("caf\udce9")
    'caf\\xe9'
    """
    if text.isascii():
        return text
    return encode_text(text).decode("utf-8", "backslashreplace")


def encode_text(text: str) -> bytes:
    """The bytes a text was read from; halves of surrogate pairs, which JSON has, are kept."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def sorted_names(names: set[str]) -> tuple[str, ...]:
    """Names sorted, by value where all are whole numbers.

    >>> sorted_names({"10", "9"}), sorted_names({"b", "10"})
    (('9', '10'), ('10', 'b'))
    """
    whole = all(re.fullmatch(r"[+-]?[0-9]+", name) for name in names)
    return tuple(sorted(names, key=(lambda n: (int(n), n)) if whole else (lambda n: (0, n))))


def _not_known(what: str, text: str, names: Sequence[str], declared: bool) -> str:
    if declared:
        return (
            f"the {what} {text} is out of range; expected an integer in [0, {len(names) - 1}] "
            f"({listed(names)}): fix or remove the row"
        )
    return (
        f"the {what} {text!r} is in no training row; {nearest(text, names)}. "
        "Fix or remove the row, or add such rows to the training file"
    )
