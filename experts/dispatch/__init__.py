"""The execution of a routing on a bank; ``reference`` is the slow form of it."""

from .mix import check_merges, execution_flops, mix
from .reference import mix_reference

__all__ = ["check_merges", "execution_flops", "mix", "mix_reference"]
