"""Shapes of the files in a sweep's folder, which may be damaged or sent by somebody else."""

from typing import Any

from ..config.objectives import DIRECTIONS

#: A type, a tuple of allowed values, a list of one shape, or shapes by key: an optional key ends
#: with ``?`` and may be null, and ``*`` stands for all other keys.
Shape = Any

NUMBER = int | float

#: Larger numbers cannot be averaged.
_MAX_NUMBER = 1e300

RESULT_SHAPE: Shape = {
    "score": {"name": str, "direction": tuple(DIRECTIONS)},
    "task?": str,
    "layers?": [
        {
            "load": [NUMBER],
            "nmi?": {"*": NUMBER | None},
            "routes?": {"steps": [int], "churn": [NUMBER], "saturation": [NUMBER]},
        }
    ],
    "data?": {"sha256?": str, "split_sha256?": str, "rows?": {"*": NUMBER}},
    "versions?": {"*": object},
}

ARM_SHAPE: Shape = {
    "arm?": str,
    "slug?": str,
    "overrides?": [str],
    "command?": str,
    "params?": {"*": object},
    "search?": {"*": NUMBER | None},
}

SWEEP_SHAPE: Shape = {
    "objectives": [object],
    "confirm": {"seeds": int | dict},
    "sweep?": str,
    "storage?": str,
    "run?": [str],
    "margin?": NUMBER,
    "constraints?": [str],
    "trials?": int,
    "seeds?": int,
    "pruner?": {"name?": str},
}

PROTOCOL_SHAPE: Shape = {
    "suite": str,
    "arms": {"*": {"overrides": [str], "control": bool}},
    "benchmarks": {
        "*": {"modality": str, "run": [str], "data": {"*": object}, "gaps": {"*": str}},
    },
    "amendments": [{"date": str, "change": str}],
}


def misfit(value: Any, shape: Shape, where: str = "") -> str:
    """Describe the first part of a value that does not have a shape; empty if the value fits.

    No number may be infinite, NaN or above 1e300.

    >>> misfit({"loads": [1, "x"]}, {"loads": [int]})
    'loads.1 is of type str'
    >>> misfit({}, {"name": str}), misfit({}, {"name?": str})
    ('name is missing', '')
    """
    if isinstance(shape, tuple):
        return "" if value in shape else f"{where} is none of {', '.join(shape)}"
    kind = type(shape) if isinstance(shape, dict | list) else shape
    if not isinstance(value, kind):
        return f"{where or 'content'} is of type {type(value).__name__}"
    if isinstance(value, int | float) and not abs(value) < _MAX_NUMBER:
        return f"{where} is not a finite number"
    parts: list[tuple[Any, Any, Shape]] = []
    if isinstance(value, dict):
        shapes = shape if isinstance(shape, dict) else {}
        for name in shapes:
            if name not in value and not name.endswith("?") and name != "*":
                return f"{where}.{name} is missing".lstrip(".")
        for key, inner in value.items():
            optional = shapes.get(f"{key}?", shapes.get("*", object))
            own = shapes.get(key, object if inner is None else optional)
            parts.append((key, inner, own))
    elif isinstance(value, list):
        of = shape[0] if isinstance(shape, list) else object
        parts = [(number, inner, of) for number, inner in enumerate(value)]
    found = (misfit(inner, of, f"{where}.{key}".lstrip(".")) for key, inner, of in parts)
    return next(filter(None, found), "")
