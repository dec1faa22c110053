"""One routed forward pass is followed in few files: a reader goes through each once or twice."""

import sys
from itertools import groupby
from pathlib import Path

import pytest
import torch

import experts
import routers

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = tuple(str(ROOT / name) + "/" for name in ("routers", "experts"))


def files_of(layer):
    """The file of each call in a forward pass, consecutive calls in one file once."""
    x = torch.randn(4, 16, 64)
    layer(x)  # what is kept for later calls is made here
    calls = []

    def record(frame, event, arg):
        if event == "call" and frame.f_code.co_filename.startswith(PACKAGES):
            calls.append(frame.f_code.co_filename)

    before = sys.getprofile()
    sys.setprofile(record)
    try:
        layer(x)
    finally:
        sys.setprofile(before)
    return [file for file, _ in groupby(calls)]


@pytest.mark.parametrize(
    ("router", "settings", "most_files", "most_moves"),
    [
        ("topk", {}, 10, 16),
        ("topk", {"capacity": 1.0}, 12, 20),
        ("expert_choice", {}, 10, 16),
        ("soft_moe", {}, 10, 17),
    ],
)
def test_a_forward_pass_visits_few_files(router, settings, most_files, most_moves):
    bank = experts.build("mlp", 64, 8, hidden=64)
    files = files_of(experts.MoE(routers.build(router, 64, 8), bank, **settings).eval())
    assert len(set(files)) <= most_files, files
    assert len(files) - 1 <= most_moves, files
