"""The execution of a routing on a bank, one file per form of execution."""

from . import combine, defaults, merge, slots  # noqa: F401  (each registers its form)
from .merge import check_merges
from .mix import execution_flops, mix, mix_with_outputs
from .reference import mix_reference
from .static import mix_static

__all__ = [
    "check_merges",
    "execution_flops",
    "mix",
    "mix_reference",
    "mix_static",
    "mix_with_outputs",
]
