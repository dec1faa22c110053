"""Hash of samples in memory, so that a result names what it was measured on."""

import hashlib
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from torch import Tensor


def content_sha256(parts: Mapping[str, Any]) -> str:
    """SHA-256 of splits of samples: the names, shapes and values of their fields.

    >>> from tasks.readers import Texts
    >>> import torch
    >>> texts = Texts([b"a", b"b"], torch.tensor([0, 1]), ("no", "yes"))
    >>> len(content_sha256({"train": texts}))
    64
    """
    digest = hashlib.sha256()
    for split, samples in parts.items():
        for field in fields(samples):
            values = getattr(samples, field.name)
            digest.update(repr((split, field.name)).encode())
            if isinstance(values, Tensor):
                digest.update(repr((values.dtype, tuple(values.shape))).encode())
                for start in range(0, len(values), CHUNK):
                    digest.update(values[start : start + CHUNK].numpy().tobytes())
            else:
                digest.update(repr(values).encode())
    return digest.hexdigest()


#: Rows hashed at a time.
CHUNK = 1024
