"""Experts do the work: one architecture, one file, all experts of a layer in one bank."""

from switchyard_moe import check_packages

check_packages("experts")

from routers.plugins import import_parts

from ._bank import EXPERTS, Bank, check_dropout, check_hidden, stacked
from .accounting.flops import NoOpBank, count_flops, count_flops_of, skip_experts
from .dispatch import mix, mix_reference
from .kernels.allocator import tune_allocator
from .kernels.grouped import grouped_linear
from .layers.adaptation import Adaptation, adapt_on_step
from .layers.moe import MoE
from .layers.multi_gate import MultiGateMoE
from .layers.static import static_copy
from .layers.topology import GateBranch, GateTopology, cgc, cgc_shared, mmoe, views

register = EXPERTS.register
build = EXPERTS.build
available = EXPERTS.available

import_parts(__name__, __path__)

__all__ = [
    "EXPERTS",
    "Adaptation",
    "Bank",
    "GateBranch",
    "GateTopology",
    "MoE",
    "MultiGateMoE",
    "NoOpBank",
    "adapt_on_step",
    "available",
    "build",
    "cgc",
    "cgc_shared",
    "check_dropout",
    "check_hidden",
    "count_flops",
    "count_flops_of",
    "grouped_linear",
    "mix",
    "mix_reference",
    "mmoe",
    "register",
    "skip_experts",
    "stacked",
    "static_copy",
    "tune_allocator",
    "views",
]
