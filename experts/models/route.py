"""Routed layers put in place of modules of any model."""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import nn

import routers
from routers import ConfigError, OptionError, Router
from routers.plugins import unknown_option

from .._bank import EXPERTS, Bank
from ..layers.moe import MoE
from .causality import check_causal, is_causal
from .feed_forward import Parts, parts_of
from .handle import RoutedModel, Swap, first_parameter, versions
from .places import Where, find_places
from .routed import Routed
from .shapes import Rows, example_inputs, rows_of
from .upcycle import copies_of

#: A part as its name, a mapping ``{name, **options}``, or a function of ``dim, num_experts``.
Part = str | Mapping[str, Any] | Callable[[int, int], Any]

#: Keyword arguments of ``MoE`` that ``route`` passes on.
_LAYER = {*inspect.signature(MoE).parameters} - {"router", "bank", "shared"}


@dataclass(frozen=True)
class Place:
    """A module to replace.

    Attributes:
        name: of the routed layer.
        module: what the layer replaces.
        parts: the modules of a feed-forward network that is several modules; None otherwise.
        owner: holds the module, or its parts.
        settings: of the routed layer.
    """

    name: str
    module: nn.Module
    parts: Parts | None
    owner: nn.Module
    settings: Mapping[str, Any]


def route(
    model: nn.Module,
    where: Where = "*.mlp",
    *,
    router: Part = "topk",
    num_experts: int = 4,
    upcycle: bool = True,
    expert: Part | None = None,
    shared: int = 0,
    dim: int | None = None,
    example: Any = None,
    causal: bool | None = None,
    layer: Callable[[nn.Module, Rows], MoE] | None = None,
    **settings: Any,
) -> RoutedModel:
    """Replace modules of a model by routed layers, in place.

    The model runs as before: each layer maps a tensor to a tensor of the same shape. Device, type,
    mode and frozen parameters are those of the replaced modules. Losses, and masks for padding,
    are for ``experts.collect``.

    Args:
        model: any module.
        where: the modules to replace: a pattern of names such as ``"*.mlp"``, or several; a type
            or several; a function of name and module; or settings by pattern, which override
            these arguments: ``{"blocks.[0-3].mlp": {"router": "hash", "num_experts": 16}}``. Of
            settings that hold for one module later ones win, and a mapping without ``name`` adds
            options. Of modules in one another the outermost is replaced. The feed-forward network
            of a layer of ``nn.Transformer`` or of BERT is not one module; name the layer, or its
            type, and see ``experts.models.feed_forward``.
        router: its name, ``{"name": "topk", "k": 1}``, or a function of ``dim, num_experts``.
        num_experts: ``E``.
        upcycle: experts are copies of the replaced module. With a router whose weights sum to 1,
            outputs are then as before, up to rounding, if no assignment is dropped. Source:
            sparse upcycling, Komatsuzaki et al. 2022, 2212.05055.
        expert: without ``upcycle``, the experts, as ``router``; ``mlp`` if None.
        shared: without ``upcycle``, the number of experts that work on every item.
        dim: ``D``, if it cannot be read off the first linear or convolutional layer of a module.
        example: an input of the model, from which widths are read instead: one argument, a tuple
            of several, or a mapping of named ones.
        causal: whether the modules must not look at later items of a sequence. None to find it
            out by ``is_causal`` of the attention next to a module, as in transformers.
        layer: a function that builds the layer for a module from the width and axes of its rows,
            instead of by the other arguments.
        settings: of ``MoE``: ``capacity``, ``drop``, ``renormalize``, ``rounding``,
            ``expert_dropout`` and ``skip``.

    Raises:
        ConfigError: before anything is replaced, if nothing matches, a module is routed already,
            takes or returns anything else than one tensor of one shape, or does not fit to the
            router or the experts.

    >>> import experts, torch
    >>> model = nn.Sequential(nn.Linear(4, 8), nn.Sequential(nn.Linear(8, 8), nn.ReLU()))
    >>> x = torch.randn(3, 4)
    >>> y = model(x)
    >>> handle = route(model, "1", router={"name": "topk", "k": 2}, num_experts=8)
    >>> handle
    1 routed layers
      1: TopK to 8 experts ModuleBank
    >>> torch.allclose(model(x), y, atol=1e-6)
    True
    """
    common = {
        "router": router,
        "num_experts": num_experts,
        "upcycle": upcycle,
        "expert": expert,
        "shared": shared,
        **settings,
    }
    _check_settings(settings, router)
    places = [_place(model, name, each, common) for name, each in find_places(model, where).items()]
    for place in places:
        _check_unshared(model, place)
    inputs = {}
    if example is not None:
        entries = {place.name: model.get_submodule(place.name) for place in places}
        inputs = example_inputs(model, entries, example)
    built: dict[str, Routed] = {}
    for place in places:
        with _errors_about(place.name):
            rows = rows_of(place.module, dim, inputs.get(place.name))
            moe = _build(place, rows) if layer is None else layer(place.module, rows)
            if not isinstance(moe, MoE):
                raise ConfigError(f"layer= returns {type(moe).__name__}: expected an MoE")
            if is_causal(model, place.name) if causal is None else causal:
                check_causal(moe)
            built[place.name] = Routed(moe, place.parts is None or place.parts.batch_first)
            built[place.name].training = place.module.training
    swaps = {place.name: _swaps(model, place, built[place.name]) for place in places}
    for each in swaps.values():
        for swap in each:
            swap.do()
    return RoutedModel(
        layers={name: routed.moe for name, routed in built.items()},
        originals={place.name: place.module for place in places},
        swaps=swaps,
        routed=built,
        states={name: versions(routed) for name, routed in built.items()},
    )


def _place(
    model: nn.Module, name: str, found: Sequence[Mapping[str, Any]], common: Mapping[str, Any]
) -> Place:
    settings = dict(common)
    for each in found:
        _check_names(f"where[{name!r}]", each, common.keys() | _LAYER)
        settings |= {key: _merged(settings.get(key), value) for key, value in each.items()}
    owner = model.get_submodule(name)
    if parts := parts_of(owner):
        first = ".".join(filter(None, [name, parts.names[0]]))
        return Place(first, parts.joined(owner), parts, owner, settings)
    return Place(name, owner, None, model.get_submodule(name.rpartition(".")[0]), settings)


def _merged(old: Any, new: Any) -> Any:
    """A setting over an earlier one; options without a name are added to those of a part."""
    if isinstance(new, Mapping) and "name" not in new and (isinstance(old, str | Mapping)):
        return {**({"name": old} if isinstance(old, str) else old), **new}
    return new


def _check_names(key: str, settings: Mapping[str, Any], allowed: Any) -> None:
    for name in settings:
        if name not in allowed:
            raise unknown_option(key, name, sorted(allowed))


def _check_settings(settings: Mapping[str, Any], router: Part) -> None:
    """Raise ``ConfigError`` for arguments that neither ``route`` nor ``MoE`` has."""
    try:
        _check_names("route", settings, _LAYER)
    except ConfigError as error:
        shown = router if isinstance(router, str) else "topk"
        cure = f"Options of a router go into router={{'name': {shown!r}, 'k': 1}}"
        raise ConfigError(f"{error}. {cure}") from None


def _check_unshared(model: nn.Module, place: Place) -> None:
    """Raise ``ConfigError`` for a parameter of a place that a module elsewhere also has."""
    inside = {*place.module.modules()}
    elsewhere = {
        parameter
        for module in model.modules()
        if module not in inside
        for parameter in module._parameters.values()
    }
    for name, parameter in place.module.named_parameters():
        if parameter in elsewhere:
            raise ConfigError(
                f"module {place.name!r}: its parameter {name} is tied to another module, and "
                "copies would not be; choose other modules"
            )


def _build(place: Place, rows: Rows) -> MoE:
    settings = dict(place.settings)
    router, num_experts = settings.pop("router"), settings.pop("num_experts")
    if not isinstance(num_experts, int) or num_experts < 1:
        raise OptionError("num_experts", num_experts, "an integer >= 1")
    expert, shared, upcycle = (settings.pop(name) for name in ("expert", "shared", "upcycle"))
    if upcycle:
        for name, value in (("expert", expert), ("shared", shared)):
            if value:
                raise ConfigError(
                    f"{name}={value}: with upcycle all experts are copies of the module, and "
                    "together give its output; give upcycle=False"
                )
    bank = (
        copies_of(place.module, num_experts, rows) if upcycle else _bank(expert, num_experts, rows)
    )
    gate = _part(routers.ROUTERS.build, "router", router, rows.dim, num_experts)
    if not isinstance(gate, Router):
        raise ConfigError(f"router: expected a Router, got {type(gate).__name__}")
    extra = _bank(expert, shared, rows) if shared else None
    layer = MoE(gate, bank, shared=extra, **settings)
    layer.training = place.module.training
    like = first_parameter(place.module)
    built: list[nn.Module | None] = [gate, None if upcycle else bank, extra]
    for part in filter(None, built):
        part.train(place.module.training)
        if like is not None:
            part.to(like.device, like.dtype)
    return layer


def _bank(expert: Part | None, num_experts: int, rows: Rows) -> Bank:
    bank = _part(
        EXPERTS.build, "expert", "mlp" if expert is None else expert, rows.dim, num_experts
    )
    if not isinstance(bank, Bank):
        raise ConfigError(f"expert: expected a Bank, got {type(bank).__name__}")
    if (bank.row_axes[-1] == "D") != (rows.axes[-1] == "D") or len(bank.row_axes) > 3:
        raise ConfigError(
            f"expert: rows of {type(bank).__name__} are ({', '.join(bank.row_axes)}), and the "
            f"module takes ({', '.join(rows.axes)}); choose an expert that fits, such as "
            f"{'mlp' if rows.axes[-1] == 'D' else 'conv'}, or upcycle=True"
        )
    return bank


def _part(build: Callable[..., Any], key: str, part: Part, dim: int, num_experts: int) -> Any:
    if callable(part):
        return part(dim, num_experts)
    options = {"name": part} if isinstance(part, str) else part
    if not isinstance(options, Mapping) or "name" not in options:
        raise OptionError(key, part, 'a name, a mapping {"name": ...} or a function')
    options = dict(options)
    return build(options.pop("name"), dim, num_experts, **options)


def _swaps(model: nn.Module, place: Place, routed: Routed) -> list[Swap]:
    """The changes of the model that put a layer in: the first one is the layer itself."""
    if place.parts is None:  # a module may be held in several places
        return [
            Swap(owner, name, place.module, routed)
            for owner in model.modules()
            for name, module in owner._modules.items()
            if module is place.module
        ]
    after: list[nn.Module] = [routed, *(nn.Identity() for _ in place.parts.names[1:])]
    swaps = []
    for name, value in zip(place.parts.names, after, strict=True):
        path, _, last = name.rpartition(".")
        owner = place.owner.get_submodule(path)
        swaps.append(Swap(owner, last, getattr(owner, last), value))
    return swaps + [
        Swap(place.owner, name, getattr(place.owner, name), value)
        for name, value in place.parts.attributes.items()
    ]


@contextmanager
def _errors_about(name: str) -> Iterator[None]:
    """Name the module in a ``ConfigError``."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"module {name!r}: {error}") from error
