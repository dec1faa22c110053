"""Classes of bytes: letter, digit, space, …"""

import string

import torch
from torch import Tensor
from torch.nn import functional as F

#: Which bytes are what; all others are ``other``: control bytes, and all beyond ASCII.
_MEMBERS = {
    "lower": string.ascii_lowercase,
    "upper": string.ascii_uppercase,
    "digit": string.digits,
    "space": string.whitespace,
    "punctuation": string.punctuation,
}
CLASSES = (*_MEMBERS, "other")


def class_of(x: Tensor) -> Tensor:
    """Indices into ``CLASSES`` of bytes of any shape, int64.

    >>> [CLASSES[place] for place in class_of(torch.tensor(list(b"a?")))]
    ['lower', 'punctuation']
    """
    table = torch.full((256,), len(_MEMBERS), device=x.device)
    for place, members in enumerate(_MEMBERS.values()):
        table[torch.tensor(list(members.encode()), device=x.device)] = place
    return table[x.long()]


def features_of(x: Tensor, order: int) -> Tensor:
    """Classes and bits of the last ``n = order`` bytes at each position of ``x`` ``(B, L)``.

    The result is ``(B, L, n * 14)``, the earliest byte first; bytes before the start are as 0.

    >>> features_of(torch.tensor([[97]]), 1)[0, 0].int().tolist()
    [1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 1, 0]
    """
    bits = (x.unsqueeze(-1).long() >> torch.arange(8, device=x.device)) & 1
    each = torch.cat([F.one_hot(class_of(x), len(CLASSES)), bits], -1).float()
    back = range(order - 1, -1, -1)
    return torch.cat([F.pad(each, (0, 0, n, 0))[:, : x.shape[1]] for n in back], -1)
