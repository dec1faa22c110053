"""Tests with libraries of models, which ``make test`` runs in an environment with timm and
transformers.

Where PyTorch has no CUDA and torchvision was built for it, torchvision cannot load its operators
and fails while it is imported. timm imports it and uses none of them, so that their schemas are
enough.
"""

import importlib.util
from contextlib import suppress
from pathlib import Path

import torch

SCHEMAS = (
    "nms(Tensor a, Tensor b, float c) -> Tensor",
    "qnms(Tensor a, Tensor b, float c) -> Tensor",
)


def declare_torchvision() -> None:
    """Declare the operators that torchvision requires, unless its library declares them."""
    found = importlib.util.find_spec("torchvision")
    if found is None or found.origin is None:
        return
    with suppress(OSError):
        torch.ops.load_library(str(Path(found.origin).parent / "_C.so"))
    for schema in SCHEMAS:
        if not hasattr(torch.ops.torchvision, schema.partition("(")[0]):
            torch.library.define(
                f"torchvision::{schema.partition('(')[0]}", schema[schema.index("(") :]
            )


declare_torchvision()
