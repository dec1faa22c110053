"""Another router with its initial parameters: the oracle of that router (2303.01610)."""

from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from typing import Any

import numpy as np

from ._case import Case

DEFAULTS = {
    "noisy_topk": {"k": 2},
    "soft_mixture": {"temperature": 1.0},
    "expert_choice": {"factor": 2.0},
}
OPTIONS: list[dict[str, Any]] = [
    {},
    *({"of": name} for name in DEFAULTS),
    {"of": "expert_choice", "options": {"factor": 1.0}},
]


def _said_by(what: str) -> Callable[[Case], np.ndarray]:
    def say(case: Case) -> np.ndarray:
        of = case.options["of"]
        oracle = import_module(f".{of}", __package__)
        state = {name.removeprefix("router."): value for name, value in case.state.items()}
        options = {**DEFAULTS[of], **(case.options["options"] or {})}
        return getattr(oracle, what)(replace(case, state=state, options=options))

    return say


weights, probs = _said_by("weights"), _said_by("probs")
