"""The kinds of parts that have a template, and the files that each template gives."""

from collections.abc import Callable
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
        f"{prefix}{name}.py": Path(__file__)
        .with_name(f"{prefix}{kind}.py")
        .read_text(encoding="utf-8")
        .replace(f"my_{kind}", name)
        .replace(class_name(f"my_{kind}"), class_name(name))
        for prefix in ("", "test_")
    }
