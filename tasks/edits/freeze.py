"""Parameters that stay as they are when the network is trained further."""

from collections.abc import Sequence
from typing import Any

from .._task import Backbone
from ._base import EDITS, Context, Edit


@EDITS.register("freeze")
class Freeze(Edit):
    """Exclude parameters from further training, in addition to those that are excluded already.

    Args:
        parameters: what the key ``freeze`` takes: ``router``, ``experts``, ``backbone``, or
            patterns of names.
    """

    def __init__(self, *, parameters: Sequence[str]) -> None:
        self.parameters = list(parameters)

    def apply(self, network: Backbone, context: Context) -> dict[str, Any]:
        frozen = context.config.freeze
        context.config.freeze = [*frozen, *(p for p in self.parameters if p not in frozen)]
        return {"freeze": context.config.freeze}
