"""Scaling law of the learning rate: fit, interval and command."""

import math

import numpy as np
import pytest
from scipy import stats

from routers import ConfigError
from sweeps import main
from sweeps.results.scaling_law import Point, fit, read_points, scale_report, scale_text

from ..folders import FakeArm, write_run, write_sweep

SIZES = (1e4, 3e4, 1e5, 3e5, 1e6)


def law_points(noise: float, seed: int = 0) -> list[Point]:
    draw = np.random.default_rng(seed)
    return [Point(n, 2.0 * n**-0.4 * math.exp(noise * draw.normal())) for n in SIZES]


def test_a_power_law_is_found_exactly():
    law = fit(law_points(noise=0.0))
    assert law.slope == pytest.approx(-0.4)
    assert law.rate(1e7) == pytest.approx(2.0 * 1e7**-0.4)
    assert law.interval(1e7).width == pytest.approx(0, abs=1e-9)


def test_interval_by_hand():
    # logs base e of sizes 1, e, e² and rates 1, e, e⁵: slope 2.5, line at -0.5 + 2.5 x, residuals
    # 0.5, -1, 0.5, so s² = 1.5 on 1 degree; at x = 3: 7 -+ 12.7062 sqrt(1.5 (1 + 1/3 + 4/2))
    law = fit([Point(1.0, 1.0), Point(math.e, math.e), Point(math.e**2, math.e**5)])
    found = law.interval(math.e**3)
    reach = 12.706205 * math.sqrt(1.5 * (1 + 1 / 3 + 2))
    assert math.log(law.rate(math.e**3)) == pytest.approx(7)
    assert math.log(found.low) == pytest.approx(7 - reach, rel=1e-6)
    assert math.log(found.high) == pytest.approx(7 + reach, rel=1e-6)


def test_interval_holds_the_rate_of_a_new_model_as_often_as_it_says():
    held = 0
    for seed in range(1000):
        new = 2.0 * 1e7**-0.4 * math.exp(0.2 * np.random.default_rng([seed, 1]).normal())
        interval = fit(law_points(0.2, seed)).interval(1e7, 0.9)
        held += interval.low <= new <= interval.high
    low, high = stats.binom.ppf([0.001, 0.999], 1000, 0.9)
    assert low <= held <= high


@pytest.mark.parametrize(
    "points",
    [
        [],
        [Point(1e4, 1e-2), Point(1e5, 1e-3)],
        [Point(1e4, 1e-2), Point(1e4, 2e-2), Point(1e4, 3e-2)],
    ],
)
def test_too_little_to_fit(points):
    with pytest.raises(ConfigError, match="more sizes"):
        fit(points)


@pytest.mark.parametrize(
    "bad", [Point(0.0, 1e-3), Point(math.inf, 1e-3), Point(1e4, -1.0), Point(1e4, math.nan)]
)
def test_sizes_and_rates_are_above_zero(bad):
    with pytest.raises(ConfigError, match="expected a number > 0"):
        fit([*law_points(0.1), bad])


@pytest.mark.parametrize("at", [0.0, -1.0, math.nan, math.inf])
def test_asked_for_no_size(at):
    with pytest.raises(ConfigError, match="at="):
        scale_text(law_points(0.1), at)


def test_a_far_prediction_says_so():
    assert "warning" not in scale_text(law_points(0.1), 9e6)
    assert "warning: that is 20 times the largest" in scale_text(law_points(0.1), 2e7)


def test_points_come_from_the_best_trials_of_sweeps(tmp_path):
    rates = (4e-3, 2e-3, 1e-3)
    for number, rate in enumerate(rates):
        arm = FakeArm("topk", params=(("optimizer.lr", rate),))
        untuned = FakeArm("hash", params=())
        write_sweep(tmp_path / str(number), [arm, untuned], trials=2)
    found = read_points([tmp_path / str(number) for number in range(3)])
    assert set(found) == {"topk"}
    assert [(point.size, point.rate) for point in found["topk"]] == [(103_242.0, r) for r in rates]


def test_a_size_is_the_mean_over_seeds(tmp_path):
    """Active parameters depend on the load, and so on the seed."""
    folder = write_sweep(tmp_path / "s", [FakeArm("topk")])
    for seed, size in ((1000, 100.0), (1001, 200.0), (1002, 600.0)):
        path = folder / "confirmed" / "topk" / f"seed-{seed}" / "result.json"
        path.write_text(path.read_text().replace("103242.0", str(size)))
    assert [point.size for point in read_points([folder])["topk"]] == [300.0]


def test_arms_keep_their_points_apart_and_unfinished_ones_have_none(tmp_path):
    rates = {"topk": 4e-3, "hash": 2e-3}
    arms = [FakeArm(label, params=(("optimizer.lr", rate),)) for label, rate in rates.items()]
    none = FakeArm("sinkhorn", scores=(None,))
    found = read_points([write_sweep(tmp_path / "s", [*arms, none])])
    assert {label: [point.rate for point in points] for label, points in found.items()} == {
        label: [rate] for label, rate in rates.items()
    }


def test_points_are_sorted_and_the_error_is_about_the_arm_with_most_points(tmp_path):
    lines = scale_text(law_points(0.1)[::-1], 1e7).splitlines()[1 : 1 + len(SIZES)]
    assert [float(line.split()[0].replace(",", "")) for line in lines] == sorted(SIZES)
    both = write_sweep(tmp_path / "both", [FakeArm("hash"), FakeArm("topk")])
    one = write_sweep(tmp_path / "one", [FakeArm("topk")])
    with pytest.raises(ConfigError, match="2 best learning rates of 1 sizes"):
        scale_report([both, one], 1e7)


def test_every_arm_with_enough_points_has_its_law(tmp_path, capsys):
    folders = []
    for number, rate in enumerate((4e-3, 2e-3, 1e-3)):
        arms = [FakeArm("topk", params=(("optimizer.lr", rate),)), FakeArm("hash", params=())]
        folders.append(write_sweep(tmp_path / str(number), arms))
        for path in folders[-1].glob("confirmed/topk/*/result.json"):
            path.write_text(path.read_text().replace("103242.0", str(10.0 ** (4 + number))))
    text = scale_report(folders, 1e7)
    assert main(["scale", *map(str, folders), "at=1e7"]) == 0
    assert capsys.readouterr().out == text + "\n"
    assert text.startswith("topk\n")
    assert "hash" not in text
    assert "at 10,000,000 active parameters: 0.0005," in text  # halved for each factor of 10
    with pytest.raises(ConfigError, match="2 best learning rates of 2 sizes"):
        scale_report(folders[:2], 1e7)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["s"], "at=N"),
        (["at=5"], "scale DIR"),
        (["s", "at=big"], "at=big"),
        (["s", "to=5"], "at=N"),
        (["s", "at=5", "to=5"], "at=N"),
    ],
)
def test_bad_commands(arguments, words, capsys):
    assert main(["scale", *arguments]) == 2
    assert words in capsys.readouterr().err


def test_sweeps_without_a_tuned_rate(tmp_path):
    write_sweep(tmp_path / "s", [FakeArm("topk", params=())])
    with pytest.raises(ConfigError, match="add optimizer"):
        read_points([tmp_path / "s"])


def test_a_run_is_no_sweep(tmp_path):
    write_run(tmp_path / "run", FakeArm("topk"), 0, 0.9)
    with pytest.raises(ConfigError, match="one run"):
        read_points([tmp_path / "run"])
