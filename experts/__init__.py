"""Experts do the work: one architecture, one file, all experts of a layer in one bank."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from switchyard_moe import check_packages

check_packages("experts")

from routers.plugins import import_parts

from ._bank import EXPERTS, Bank, check_dropout, check_hidden, stacked
from .accounting.flops import NoOpBank, count_flops, count_flops_of, skip_experts
from .dispatch import mix, mix_reference
from .families import (
    FAMILIES,
    Family,
    from_transformers,
    model_from_transformers,
    model_to_transformers,
    to_transformers,
)
from .interventions import INTERVENTIONS, Intervention, drop_experts, intervene, leave_out
from .kernels.allocator import tune_allocator
from .kernels.grouped import grouped_linear
from .layers.adaptation import Adaptation, adapt_on_step
from .layers.adapted import Adapted, adapt_linears, weights_digest
from .layers.attend import Attend, attend_to_all, attend_to_past, rotary
from .layers.attention import AttentionHeads, MixtureOfAttentionHeads
from .layers.latent import Latent
from .layers.moe import MoE
from .layers.multi_gate import MultiGateMoE
from .layers.rounds import RoundsMoE
from .layers.routed_attention import RoutedAttention
from .layers.static import static_copy
from .layers.sub_tokens import SubTokenMoE
from .layers.switch_head import SwitchHead
from .layers.topology import GateBranch, GateTopology, cgc, cgc_shared, mmoe, views
from .models.collect import collect
from .models.collection import Collection
from .models.handle import RoutedModel, unroute
from .models.route import route
from .models.routed import Routed
from .models.shapes import Rows
from .models.swap import swap_router
from .models.upcycle import copies_of
from .recording.record import record
from .recording.replay import replay
from .surgery.copies import Copies, copy_experts, lost_experts, restore_experts
from .surgery.criteria import CRITERIA, Criterion, RouteSimilarity, measured
from .surgery.neurons import Neurons, aligned, find_neurons, join_experts, take_neurons
from .surgery.noise import perturb_experts, router_entries, router_noise
from .surgery.take import take_experts, take_router

if TYPE_CHECKING:
    from .parallel import check_split, clip_grad_norm_, fully_shard_layers, parallelize

register = EXPERTS.register
build = EXPERTS.build
available = EXPERTS.available

import_parts(__name__, __path__)

#: Names of the room ``parallel``, which is loaded at their first use: it imports DTensor and FSDP2.
_LAZY = ("check_split", "clip_grad_norm_", "fully_shard_layers", "parallelize")


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(".parallel", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "CRITERIA",
    "EXPERTS",
    "FAMILIES",
    "INTERVENTIONS",
    "Adaptation",
    "Adapted",
    "Attend",
    "AttentionHeads",
    "Bank",
    "Collection",
    "Copies",
    "Criterion",
    "Family",
    "GateBranch",
    "GateTopology",
    "Intervention",
    "Latent",
    "MixtureOfAttentionHeads",
    "MoE",
    "MultiGateMoE",
    "Neurons",
    "NoOpBank",
    "RoundsMoE",
    "RouteSimilarity",
    "Routed",
    "RoutedAttention",
    "RoutedModel",
    "Rows",
    "SubTokenMoE",
    "SwitchHead",
    "adapt_linears",
    "adapt_on_step",
    "aligned",
    "attend_to_all",
    "attend_to_past",
    "available",
    "build",
    "cgc",
    "cgc_shared",
    "check_dropout",
    "check_hidden",
    "check_split",
    "clip_grad_norm_",
    "collect",
    "copies_of",
    "copy_experts",
    "count_flops",
    "count_flops_of",
    "drop_experts",
    "find_neurons",
    "from_transformers",
    "fully_shard_layers",
    "grouped_linear",
    "intervene",
    "join_experts",
    "leave_out",
    "lost_experts",
    "measured",
    "mix",
    "mix_reference",
    "mmoe",
    "model_from_transformers",
    "model_to_transformers",
    "parallelize",
    "perturb_experts",
    "record",
    "register",
    "replay",
    "restore_experts",
    "rotary",
    "route",
    "router_entries",
    "router_noise",
    "skip_experts",
    "stacked",
    "static_copy",
    "swap_router",
    "take_experts",
    "take_neurons",
    "take_router",
    "to_transformers",
    "tune_allocator",
    "unroute",
    "views",
    "weights_digest",
]
