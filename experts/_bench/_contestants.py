"""Everything a race can have, by name."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType

import torch

from ._contestant import Contestant, Factory, LeftOutError
from ._dense import dense
from ._loop import loop
from ._mixtral import mixtral_eager, mixtral_grouped_mm
from ._ours import expert_choice, soft_mixture, soft_moe, topk, topk_glu
from ._pytorch_mixtures import pytorch_mixtures
from ._shapes import Shape
from ._st_moe import st_moe

CONTESTANTS: Mapping[str, Factory] = MappingProxyType(
    {
        "dense": dense,
        "topk": topk,
        "topk_glu": topk_glu,
        "expert_choice": expert_choice,
        "soft_mixture": soft_mixture,
        "soft_moe": soft_moe,
        "loop": loop,
        "mixtral_eager": mixtral_eager,
        "mixtral_grouped_mm": mixtral_grouped_mm,
        "pytorch_mixtures": pytorch_mixtures,
        "st_moe": st_moe,
    }
)

#: In every race: what ratios are to, and what the project is about.
ALWAYS = ("dense", "topk")


def chosen(names: Iterable[str] | None, among: Iterable[str] = CONTESTANTS) -> list[str]:
    """The names to run, in the order of ``among``; None for all.

    >>> chosen(["loop"])
    ['dense', 'topk', 'loop']
    """
    wanted = set(among) if names is None else {*ALWAYS, *names}
    return [name for name in among if name in wanted]


def build(
    factories: Mapping[str, Factory],
    shape: Shape,
    dtype: torch.dtype,
    device: torch.device,
    seed: int,
) -> tuple[dict[str, Contestant], dict[str, str]]:
    """The contestants that can run, and why the others cannot, each by name."""
    built, absent = {}, {}
    for name, factory in factories.items():
        torch.manual_seed(seed)
        try:
            built[name] = factory(shape, dtype, device)
        except LeftOutError as reason:
            absent[name] = f"left out: {reason}"
        except Exception as error:  # another's package may raise anything
            absent[name] = failure(error)
    return built, absent


def failure(error: Exception) -> str:
    """An error on one line.

    >>> failure(ValueError("first\\nsecond"))
    'failed: ValueError: first'
    """
    first = (str(error).strip() or "no message").splitlines()[0]
    return f"failed: {type(error).__name__}: {first}"
