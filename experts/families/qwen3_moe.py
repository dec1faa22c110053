"""Qwen3-MoE."""

from ._base import FAMILIES
from .olmoe import Olmoe


@FAMILIES.register("Qwen3MoeSparseMoeBlock")
class Qwen3Moe(Olmoe):
    """Router and experts of OLMoE's block, which has the same settings."""
