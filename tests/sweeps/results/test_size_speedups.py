"""Speed-ups over sizes: by hand, by simulation, and from the folders of sweeps."""

import json
import math

import numpy as np
import pytest

from sweeps import main
from sweeps.results.size_speedups import read_sizes, size_speedup_text
from sweeps.statistics import Size, size_speedup

from ..folders import FakeArm, write_sweep

SEEDS = range(8)


def law(scale: float, slope: float, noise: float = 0.0, seed: int = 0) -> list[Size]:
    """Sizes of an arm with loss ``scale * FLOPs ** slope``."""
    draw = np.random.default_rng(seed)
    return [
        Size(c, {s: scale * c**slope * math.exp(noise * draw.normal()) for s in SEEDS})
        for c in (1e9, 4e9, 2e10, 1e11)
    ]


def test_laws_with_different_slopes_by_hand():
    # losses 8 C^-1/8 and 8 C^-1/7: that of the control at 1e11 needs 1e11^(7/8) of the arm
    found = size_speedup(law(8.0, -1 / 7), law(8.0, -1 / 8))
    assert found.value == pytest.approx(1e11**0.125)
    assert found.loss == pytest.approx(8.0 * 1e11 ** (-1 / 8))
    assert not found.extrapolated
    assert size_speedup(law(2.0, -1 / 8), law(8.0, -1 / 8)).extrapolated  # 4^8 times fewer


def test_an_arm_next_to_its_copy():
    held = 0
    for seed in range(200):
        found = size_speedup(law(8.0, -0.125, 0.02, 2 * seed), law(8.0, -0.125, 0.02, 2 * seed + 1))
        held += found.interval.low <= 1 <= found.interval.high
    assert 170 <= held <= 200  # percentile intervals of 8 seeds cover about .91


def test_none_where_nothing_can_be_compared():
    arm, control = law(8.0, -0.2), law(8.0, -0.125)
    assert size_speedup(arm[:2], control) is None
    assert size_speedup(arm, control[:2]) is None
    assert size_speedup(law(8.0, 0.1), control) is None
    others = [Size(size.flops, {99: 1.0}) for size in control]
    assert size_speedup(arm, others) is None
    assert size_speedup([], control) is None


def test_the_command_reads_sweeps_of_several_sizes(tmp_path, capsys):
    folders = []
    for number, flops in enumerate((1e6, 1e7, 1e8)):
        rate = (("optimizer.lr", 4e-3 / 2**number),)
        arms = [FakeArm("topk", params=rate), FakeArm("random_fixed", params=rate, control=True)]
        folders.append(write_sweep(tmp_path / str(number), arms))
        for path in folders[-1].glob("confirmed/*/*/result.json"):
            result = json.loads(path.read_text())
            result["compute"] |= {"active_parameters": flops, "flops_per_item": flops}
            result["compute"] |= {"train_seconds": 2.0, "items_per_second": 50.0}
            better = 1.0 if "random_fixed" in path.parts else 0.5
            result["scores"]["loss"] = 2.0 * better * flops**-0.125
            path.write_text(json.dumps(result))
    sizes, _ = read_sizes(folders)
    assert [size.flops for size in sizes["topk"]] == [1e8, 1e9, 1e10]
    assert sizes["random_fixed"][0].losses[1000] == pytest.approx(2.0 * 1e6**-0.125)
    text = size_speedup_text(folders)
    assert text == (
        "topk: 256.00 times fewer FLOPs than random_fixed for a loss of 0.2, "
        "95 % interval 256.00 to 256.00, beyond its sizes"
    )
    assert main(["scale", *map(str, folders), "at=1e9"]) == 0
    assert capsys.readouterr().out.endswith(f"\n\n{text}\n")
    assert size_speedup_text(folders[:2]) == ""
