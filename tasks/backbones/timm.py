"""Image models of timm with routed layers."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from experts import MoE
from routers import ConfigError, OptionError, Routing
from routers.plugins import needed

from .._task import BACKBONES, Backbone, Batch, Layer, Samples
from ._routed_model import one_line, passed, put_layers, tried

#: Names that an error shows.
_SHOWN = 3


@BACKBONES.register("timm")
class Timm(Backbone):
    """A model of timm, with routed layers in place of modules such as ``blocks.0.mlp``.

    Its inputs have the size and the channels of the images, its head their classes. The task's
    images are scaled as for other networks, not by statistics of a pretrained model. Needs the
    extra ``timm``. Nothing is downloaded unless ``pretrained=true``.

    Args:
        architecture: its name in timm, such as ``vit_tiny_patch16_224``.
        where: patterns of names of the modules to route, ``"*.mlp"`` or ``["blocks.1.mlp"]``.
        upcycle: each expert starts as a copy of the module that it replaces; ``expert`` then has
            no effect.
        pretrained: start from the published weights, which timm downloads.
        size: height and width that images are scaled to; null to leave them.
        args: further arguments of ``timm.create_model``, such as ``{patch_size: 4}``.
    """

    reads = "images"

    def __init__(
        self,
        layer: Layer,
        samples: Samples,
        *,
        architecture: str = "vit_tiny_patch16_224",
        where: str | Sequence[str] = "*.mlp",
        upcycle: bool = False,
        pretrained: bool = False,
        size: Sequence[int] | None = None,
        args: Mapping[str, Any] = {},
    ) -> None:
        super().__init__()
        timm = needed("timm", "timm", "task.model=timm")
        if size is not None and (len(size) != 2 or min(size) < 1):
            raise OptionError("size", list(size), "height and width, such as [224, 224]")
        channels, *sides = samples.shape
        self.size = None if size is None else tuple(size)
        sides = list(sides if size is None else size)
        _check_name(timm, architecture)
        fixed: dict[str, Any] = {"in_chans": channels, "num_classes": samples.outputs}
        reserved = fixed.keys() & args.keys()
        if reserved:
            raise OptionError.about(f"args.{min(reserved)}", ": the data decides it; remove it")
        cfg = timm.models.get_pretrained_cfg(architecture)
        if cfg is not None and cfg.fixed_input_size:
            fixed["img_size"] = sides
        try:
            self.model = timm.create_model(architecture, pretrained=pretrained, **{**fixed, **args})
        except Exception as error:  # timm raises anything about its arguments
            problem = f"={dict(args)}: {architecture}: {one_line(error)}"
            raise OptionError.about("args", problem) from error
        example = torch.zeros(1, channels, *sides)
        shape = "x".join(map(str, sides))
        what = f"task.model.architecture={architecture} on images of {shape}"
        cure = "give task.model.size=[224, 224], or a smaller patch_size in task.model.args"
        found = tried(self.model, lambda: self.model(example), what, cure)
        if found.shape != (1, samples.outputs):
            raise ConfigError(f"{what}: gives {tuple(found.shape)}, no logits of classes")
        put_layers(self.model, where, layer, 1, upcycle, example)
        self._check_ids()

    def forward(self, batch: Batch) -> tuple[Tensor, list[Routing]]:
        """``batch["x"]`` ``(B, C, H, W)`` to logits ``(B, classes)``."""
        x = batch["x"]
        if self.size is not None:
            x = F.interpolate(x, self.size, mode="bilinear", antialias=True)
        ids = batch.get("ids") if self.reads_ids else None
        return passed(self.model, lambda: self.model(x), ids=ids)

    def _check_ids(self) -> None:
        """Refuse routers that read ids of tokens: which patch a token is, a model does not say."""
        layers = [module for module in self.modules() if isinstance(module, MoE)]
        self.reads_ids = any(layer.router.traits.needs_ids for layer in layers)
        for each in layers:
            if self.reads_ids and len(each.bank.row_axes) < 3:
                raise ConfigError(
                    "router: needs ids of the items, and tokens of models of timm have none; use "
                    "task.model=vit, or task.model.where for modules of whole images"
                )


def _check_name(timm: Any, name: str) -> None:
    """Raise ``OptionError`` with the nearest names for one that timm does not know."""
    known = timm.list_models()
    if timm.is_model(name):
        return
    near = get_close_matches(name, known, _SHOWN)
    guess = f"; did you mean {', '.join(map(repr, near))}?" if near else "."
    raise OptionError.about(
        "architecture", f"={name}: unknown to timm{guess} timm.list_models() has {len(known)}"
    )
