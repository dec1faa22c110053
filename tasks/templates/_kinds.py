"""The kinds of parts that have a template, and the files that each template gives."""

import io
import tokenize
from collections.abc import Callable, Iterator
from doctest import DocTestParser
from pathlib import Path
from typing import Any, NamedTuple

import routers
from experts import EXPERTS
from routers.plugins import Registry

from .._task import BACKBONES, TASKS
from ..readers import DATA


class Kind(NamedTuple):
    """A kind of part.

    Attributes:
        registry: returns where its parts are registered; the one of metrics takes long to import.
        use: words of a training that uses a part.
        check: a command that checks one.

    In ``use`` and ``check``, ``NAME`` stands for the name of the part, ``CLASS`` for its class.
    """

    registry: Callable[[], Registry[Any]]
    use: str
    check: str


KINDS = {
    "router": Kind(lambda: routers.ROUTERS, "router=NAME", "python -m routers check NAME:CLASS"),
    "gate": Kind(
        lambda: routers.GATES, "router.gate=NAME", "python -m routers check gate NAME:CLASS"
    ),
    "expert": Kind(lambda: EXPERTS, "expert=NAME", "python -m experts check NAME:CLASS"),
    "loss": Kind(
        lambda: routers.LOSSES, "losses.NAME=0.01", "python -m routers check loss NAME:NAME"
    ),
    "metric": Kind(lambda: routers.METRICS, "", "python -m routers check metric NAME:CLASS"),
    "backbone": Kind(
        lambda: BACKBONES,
        "task=digits task.model=NAME",
        "python -m tasks check digits task.model=NAME plugins=[NAME]",
    ),
    "data": Kind(
        lambda: DATA,
        "task=image task.data=NAME",
        "python -m tasks check image task.data=NAME plugins=[NAME]",
    ),
    "task": Kind(lambda: TASKS, "task=NAME", "python -m tasks check NAME plugins=[NAME]"),
}


def class_name(name: str) -> str:
    """The name of a class for the name of a part.

    >>> class_name("noisy_topk")
    'NoisyTopk'
    """
    return "".join(word.capitalize() for word in name.split("_"))


def written(kind: str, name: str) -> dict[str, str]:
    """The files of a new part and its test: their texts by file name.

    >>> sorted(written("router", "nearest"))
    ['nearest.py', 'test_nearest.py']
    """
    return {
        f"{prefix}{name}.py": text.replace(f"my_{kind}", name).replace(
            class_name(f"my_{kind}"), class_name(name)
        )
        for prefix, text in _templates(kind).items()
    }


def used_names(kind: str) -> set[str]:
    """Names in the code of a template, its test and its doctests, which its part cannot have.

    >>> {"Router", "torch", "forward"} <= used_names("router"), "my_router" in used_names("router")
    (True, False)
    """
    found = {name for text in _templates(kind).values() for name in _names(text)}
    return found - {f"my_{kind}", class_name(f"my_{kind}")}


def _templates(kind: str) -> dict[str, str]:
    """The texts of a kind's part and of its test, by the start of their file names."""
    return {
        prefix: Path(__file__).with_name(f"{prefix}{kind}.py").read_text(encoding="utf-8")
        for prefix in ("", "test_")
    }


def _names(text: str) -> Iterator[str]:
    """The words of code, keywords included, also in doctests."""
    sources = [text, *(example.source for example in DocTestParser().get_examples(text))]
    for source in sources:
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type == tokenize.NAME:
                yield token.string
