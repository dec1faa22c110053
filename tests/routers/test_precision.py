"""Gates decide in float32: half precision would change who goes where."""

import torch

import routers
from routers import Items


def test_bf16_gates_would_flip_choices():
    torch.manual_seed(0)
    router = routers.build("topk", 64, 16).eval()
    x = torch.randn(2000, 64).bfloat16()
    half = torch.nn.functional.linear(x, router.gate.weight.bfloat16()).topk(2).indices
    full = torch.nn.functional.linear(x.float(), router.gate.weight).topk(2).indices
    flips = (half.sort().values != full.sort().values).any(-1)
    assert flips.float().mean() > 0.005  # the trap is real here

    with torch.autocast("cpu", dtype=torch.bfloat16):
        routing = router(Items(x))
    assert torch.equal(routing.expert.view(-1, 2), full)
    assert routing.logits.dtype == routing.weight.dtype == torch.float32


def test_float64_stays_float64():
    routing = routers.build("topk", 4, 4)(Items(torch.randn(3, 4, dtype=torch.float64)))
    assert routing.logits.dtype == torch.float64
