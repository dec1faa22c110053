"""Experts do the work: one architecture, one file, all experts of a layer in one bank."""

from routers import import_parts

from ._bank import Bank, banks, check_dropout, check_hidden, stacked
from ._flops import count_flops
from ._grouped import grouped_linear
from ._layer import MoE, expert_flops
from ._mix import mix
from ._reference import mix_reference

register = banks.register
build = banks.build
available = banks.available

import_parts(__name__, __path__)

__all__ = [
    "Bank",
    "MoE",
    "available",
    "banks",
    "build",
    "check_dropout",
    "check_hidden",
    "count_flops",
    "expert_flops",
    "grouped_linear",
    "mix",
    "mix_reference",
    "register",
    "stacked",
]
