"""A frozen module with a mixture of experts added to its output, such as of low-rank maps."""

import hashlib
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import Any, Self

import torch
from torch import Tensor, nn

from routers import ConfigError

from .moe import MoE

#: Name under which a state dict has the digest of a base.
DIGEST = "base_digest"


class Adapted(nn.Module):
    """A frozen module plus a mixture of experts: ``y = base(x) + moe(x)``.

    It takes the place of the module and returns what that returned; ``experts.record`` has the
    routings, and the layer is ``moe``. The base is in evaluation, has no gradients, and is not in
    the state dict, which holds a digest of its values instead: ``load_state_dict`` raises
    ``ConfigError`` if the experts were trained around another base.

    Source: Zadouri et al. 2023, 2309.05444, section 3, where the experts are ``lora``.

    Args:
        base: any module from ``(..., D)`` to the width of the experts' outputs.
        moe: the layer that is added.

    >>> import experts, routers
    >>> bank = experts.build("lora", 8, 4, outputs=6, rank=2)
    >>> layer = Adapted(nn.Linear(8, 6), MoE(routers.build("topk", 8, 4), bank))
    >>> x = torch.randn(3, 8)
    >>> torch.equal(layer(x), layer.base(x))  # the maps begin at 0
    True
    >>> sorted(layer.state_dict())
    ['base_digest', 'moe.bank.down', 'moe.bank.up', 'moe.router.gate.weight']
    """

    def __init__(self, base: nn.Module, moe: MoE) -> None:
        super().__init__()
        if moe.num_gates > 1:
            raise ConfigError("moe: has several gates, and a module has one output; use MoE")
        self.base = base.requires_grad_(False).eval()
        self.moe = moe
        self.register_state_dict_post_hook(_without_base)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_pre_hook(_with_base)  # type: ignore[no-untyped-call]

    def forward(self, x: Tensor, **about: Any) -> Tensor:
        """The sum for items ``x``; ``about`` is what ``MoE.forward`` takes."""
        y: Tensor = self.base(x)
        return y + self.moe(x, **about)[0]

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        self.base.eval()
        return self

    def digest(self) -> Tensor:
        """A hash of names and values of the base, ``(4,)`` int64."""
        found = bytearray.fromhex(weights_digest(self.base.state_dict()))
        return torch.frombuffer(found, dtype=torch.int64)


def adapt_linears(
    model: nn.Module, patterns: str | list[str], layer: Callable[[nn.Linear], MoE]
) -> dict[str, Adapted]:
    """Freeze a model and put an ``Adapted`` in the place of some of its linear layers.

    Returns them by name. ``ConfigError`` if the patterns, such as ``"*.query"``, select no linear
    layer.

    Args:
        model: changed in place; all its parameters are frozen.
        patterns: of names of modules, with ``*``, ``?`` and ``[…]``.
        layer: builds the mixture to be added to a linear layer.

    >>> import experts, routers
    >>> def molora(linear):
    ...     d, outputs = linear.in_features, linear.out_features
    ...     bank = experts.build("lora", d, 4, outputs=outputs, rank=2)
    ...     return MoE(routers.build("topk", d, 4), bank)
    >>> model = nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3))
    >>> list(adapt_linears(model, "*", molora))
    ['0', '2']
    >>> [name for name, p in model.named_parameters() if p.requires_grad][:2]
    ['0.moe.router.gate.weight', '0.moe.bank.down']
    """
    wanted = [patterns] if isinstance(patterns, str) else patterns
    inside = [f"{name}." for name, m in model.named_modules() if isinstance(m, Adapted)]
    linears = {
        name: m
        for name, m in model.named_modules()
        if isinstance(m, nn.Linear) and not name.startswith(tuple(inside))
    }
    chosen = [name for name in linears if name and any(fnmatchcase(name, p) for p in wanted)]
    if not chosen:
        raise ConfigError(
            f"patterns={wanted}: select no linear layer; the model has "
            f"{', '.join(linears) or 'none'}"
        )
    model.requires_grad_(False)
    found = {name: Adapted(linears[name], layer(linears[name])) for name in chosen}
    for name, adapted in found.items():
        parent, _, own = name.rpartition(".")
        setattr(model.get_submodule(parent), own, adapted.train(model.training))
    return found


def weights_digest(weights: Mapping[str, Tensor]) -> str:
    """A hash of names and values, in any order.

    >>> len(weights_digest({"weight": torch.zeros(2)}))
    64
    """
    found = hashlib.sha256()
    for name, values in sorted(weights.items()):
        found.update(f"{name}{values.dtype}{tuple(values.shape)}".encode())
        flat = values.detach().cpu().contiguous().flatten()
        found.update(flat.view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def _without_base(module: nn.Module, state: dict[str, Tensor], prefix: str, *_: Any) -> None:
    assert isinstance(module, Adapted)
    for name in [name for name in state if name.startswith(f"{prefix}base.")]:
        del state[name]
    state[prefix + DIGEST] = module.digest()


def _with_base(module: nn.Module, state: dict[str, Tensor], prefix: str, *_: Any) -> None:
    assert isinstance(module, Adapted)
    given = state.pop(prefix + DIGEST, None)
    if given is not None and not torch.equal(given.cpu(), module.digest()):
        raise ConfigError(
            f"{prefix}base: has other values than the one around which these experts were trained; "
            "load that one first"
        )
    own = module.base.state_dict()
    state.update({f"{prefix}base.{name}": values for name, values in own.items()})
