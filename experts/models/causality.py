"""Models in which no item may depend on later ones, and layers that would break this."""

from torch import nn

from routers import ConfigError

from ..layers.moe import MoE


def is_causal(model: nn.Module, name: str) -> bool:
    """Whether the attention that is nearest to a module is causal, by its ``is_causal``.

    The nearest one is in the innermost module around both. Networks of transformers have this
    attribute; those of ``nn.Transformer`` get a mask when they run.
    """
    while name:
        name = name.rpartition(".")[0]
        found = [getattr(each, "is_causal", None) for each in model.get_submodule(name).modules()]
        flags = [each for each in found if isinstance(each, bool)]
        if flags:
            return any(flags)
    return False


def check_causal(layer: MoE) -> None:
    """Raise ``ConfigError`` if an item's output would depend on later items of its group."""
    if not layer.router.traits.causal:
        raise ConfigError(
            f"routes of {type(layer.router).__name__} depend on later items, and the model "
            "predicts them; choose a router (and gate) with the trait causal, such as topk"
        )
    if len(layer.bank.row_axes) > 1:
        raise ConfigError(
            "the experts work on whole sequences, later items included, and the model predicts "
            "them; route modules that process single tokens"
        )
    if layer.capacity is not None and layer.drop != "position":
        raise ConfigError(
            f"drop={layer.drop}: looks at later items, and the model predicts them; use "
            "drop=position or capacity=None"
        )
