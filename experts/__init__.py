"""Experts do the work: one architecture, one file, all experts of a layer in one bank."""

from routers import import_parts

from ._bank import Bank, banks, check_dropout, check_hidden, stacked
from .accounting.flops import count_flops, count_flops_of
from .accounting.skip_experts import Idle, idle_experts
from .dispatch.mix import mix
from .dispatch.reference import mix_reference
from .kernels.allocator import tune_allocator
from .kernels.grouped import grouped_linear
from .layers.moe import MoE
from .layers.multi_gate import MultiGateMoE
from .layers.topology import Branch, Wiring, cgc, cgc_shared, mmoe, views

register = banks.register
build = banks.build
available = banks.available

import_parts(__name__, __path__)

__all__ = [
    "Bank",
    "Branch",
    "Idle",
    "MoE",
    "MultiGateMoE",
    "Wiring",
    "available",
    "banks",
    "build",
    "cgc",
    "cgc_shared",
    "check_dropout",
    "check_hidden",
    "count_flops",
    "count_flops_of",
    "grouped_linear",
    "idle_experts",
    "mix",
    "mix_reference",
    "mmoe",
    "register",
    "stacked",
    "tune_allocator",
    "views",
]
