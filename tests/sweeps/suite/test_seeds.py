"""Seeds that are added while verdicts are open, and the power of what is there; no training."""

import signal

import numpy as np
import pytest
import yaml

from routers import ConfigError
from sweeps import (
    Objective,
    StoppedSweepError,
    compose,
    main,
    read_suite,
    read_sweep,
    verdicts_of,
    write_leaderboard,
)
from sweeps.statistics import SeedPlan, Word, compare_sequentially, seeds_for_each

from ..cases import RUN, TINY, confirmed
from ..folders import ARMS, FakeArm, write_run, write_sweep

RULE = {"first": 3, "step": 2, "most": 7}

SUITE = {
    "arms": ["topk", "hash"],
    "controls": ["uniform"],
    "benchmarks": {
        "image": {"modality": "image", "run": list(RUN)},
        "planted": {"modality": "planted", "run": ["task=planted", "trainer.max_steps=2"]},
    },
    "confirm": {"seeds": RULE, "first_seed": 1000},
    "threads": 1,
    "quiet": True,
}

#: Of image, topk and uniform are equal but for noise; all others are far apart.
LEVELS = {
    "image": {"topk": 0.9, "hash": -100.0, "uniform": 0.9},
    "planted": {"topk": 0.9, "hash": -100.0, "uniform": 100.0},
}

SEEDS = {
    "image": {"topk": 7, "hash": 3, "uniform": 7},
    "planted": dict.fromkeys(LEVELS["image"], 3),
}


@pytest.fixture
def suite(tmp_path):
    """The arguments of a suite whose number of seeds follows from its verdicts."""
    path = tmp_path / "auto.yaml"
    path.write_text(yaml.safe_dump(SUITE, sort_keys=False))
    return [f"suite={path}", f"out={tmp_path / 'out'}"]


@pytest.fixture
def trained(monkeypatch, no_report):
    """Write results in place of trainings; stops after ``limit`` of them."""
    found = {"runs": [], "limit": None}

    def run_all(driver, stages):
        for stage in stages:
            while (trial := stage.queue.claim()) is not None:
                if len(found["runs"]) == found["limit"]:
                    stage.queue.requeue(trial)
                    raise StoppedSweepError(signal.SIGTERM)
                (folder,) = stage.run_dirs(trial)
                if (folder / "result.json").exists():
                    stage.finish(trial)
                    continue
                arm, benchmark = folder.parent.name, stage.plan.benchmark
                seed = trial.user_attrs["seed"]
                noise = np.random.default_rng([seed, *arm.encode()]).normal()
                score = LEVELS[benchmark][arm] + 0.05 * noise
                write_run(folder, FakeArm(arm), seed, float(score), benchmark)
                stage.finish(trial)
                found["runs"].append((benchmark, arm, seed))

    monkeypatch.setattr("sweeps.driver.driver.Driver.run_all", run_all)
    return found


def numbers_of_seeds(out):
    return {
        name: {arm: len(seeds) for arm, seeds in confirmed(out / name).items()} for name in LEVELS
    }


def test_arms_of_open_pairs_get_seeds_until_the_last_look(suite, tmp_path, trained, capsys):
    assert main(suite) == 0
    out = tmp_path / "out"
    assert numbers_of_seeds(out) == SEEDS
    printed = capsys.readouterr().out
    assert "at least 18 to confirm, 42 if all verdicts stay open" in printed
    assert "confirmation, look 2 of 3: open pairs: 1 in image\n" in printed
    assert "confirmation, look 3 of 3: open pairs: 1 in image\n" in printed
    assert (
        "planted: smallest difference that 3 to 7 seeds detect with 80% power: 7.8 (accuracy)"
        in printed
    )

    sweep = read_sweep(out / "image")
    scores = read_suite(out).scores()["image"]
    accuracy = Objective("score.value", "maximize")
    expected = compare_sequentially(scores, accuracy, sweep.margin, SeedPlan(**RULE)).verdicts
    found = verdicts_of(sweep)
    assert found == expected
    assert found.of("topk", "hash").word is Word.BETTER
    assert found.of("topk", "uniform").word is Word.UNCLEAR
    write_leaderboard(out / "image")
    assert "with looks at 3, 5, 7 seeds; O'Brien" in (out / "image/leaderboard.md").read_text()

    protocol = yaml.safe_load((out / "protocol.yaml").read_text())
    assert protocol["seeds"] == {"first": 1000, "number": RULE}
    assert protocol["looks"].startswith("with 3, 5, 7 seeds in each benchmark")
    assert main(suite) == 0
    assert len(trained["runs"]) == sum(sum(each.values()) for each in SEEDS.values())
    assert yaml.safe_load((out / "protocol.yaml").read_text()) == protocol


def test_a_suite_that_was_killed_goes_on(suite, tmp_path, trained):
    """In its first look, then in the second one with the loss of its study."""
    for limit in (4, 19):
        trained["limit"] = limit
        assert main(suite) == 128 + signal.SIGTERM
    for path in (tmp_path / "out").glob("study.db*"):
        path.unlink()
    trained["limit"] = None
    assert main(suite) == 0
    assert numbers_of_seeds(tmp_path / "out") == SEEDS
    assert len(trained["runs"]) == sum(sum(each.values()) for each in SEEDS.values())


def test_a_suite_that_really_trains(tmp_path, no_report):
    """Two copies of an arm do not differ, and without a margin they are not equivalent."""
    path = tmp_path / "real.yaml"
    changes = {
        "arms": {name: ["router=topk"] for name in "ab"},
        "controls": [],
        "benchmarks": {"planted": SUITE["benchmarks"]["planted"]},
        "confirm": {"seeds": {"first": 3, "step": 1, "most": 4}},
        "margin": 0.0,
        "checkpoints": "none",
    }
    path.write_text(yaml.safe_dump({**SUITE, **changes}, sort_keys=False))
    assert main([f"suite={path}", f"out={tmp_path / 'out'}"]) == 0
    assert confirmed(tmp_path / "out" / "planted") == {a: [*range(1000, 1004)] for a in "ab"}


def test_a_run_that_failed_holds_nothing_up(suite, tmp_path, trained, monkeypatch):
    """Its arm stays where it is, and no verdict waits for it."""
    monkeypatch.setitem(LEVELS["image"], "uniform", float("nan"))
    assert main(suite) == 1
    assert numbers_of_seeds(tmp_path / "out")["image"] == dict.fromkeys(LEVELS["image"], 3)


def test_a_benchmark_that_is_added_runs_alone(suite, tmp_path, trained):
    """It is a dated amendment; what is there stays as it is."""
    assert main([*suite, "benchmarks=[planted]"]) == 0
    before = yaml.safe_load((tmp_path / "out" / "protocol.yaml").read_text())
    seen = trained["runs"].copy()
    assert {benchmark for benchmark, *_ in seen} == {"planted"}
    assert main(suite) == 0
    added = trained["runs"][len(seen) :]
    assert {benchmark for benchmark, *_ in added} == {"image"}
    assert numbers_of_seeds(tmp_path / "out") == SEEDS
    protocol = yaml.safe_load((tmp_path / "out" / "protocol.yaml").read_text())
    (amendment,) = protocol["amendments"]
    assert amendment["change"] == "benchmark added: image"
    assert protocol["benchmarks"]["image"]["added"] == amendment["date"]
    assert protocol["benchmarks"]["planted"] == before["benchmarks"]["planted"]
    assert protocol["date"] == before["date"] <= amendment["date"]


def test_a_rule_does_not_change(suite, trained, capsys):
    trained["limit"] = 0
    main(suite)
    for number, shown in (("{most: 9}", "{'first': 3, 'step': 2, 'most': 9}"), ("7", "7")):
        assert main([*suite, f"confirm.seeds={number}"]) == 2
        error = capsys.readouterr().err
        assert f"confirm.seeds={shown}: the suite in out=" in error
        assert "has {'first': 3, 'step': 2, 'most': 7}; a rule is stated before" in error


def test_a_rule_in_short():
    assert compose([*TINY, "confirm.seeds=auto"]).confirm.seeds == {
        "first": 3,
        "step": 2,
        "most": 11,
    }
    assert compose([*TINY, "confirm.seeds={most: 4}"]).confirm.seeds["most"] == 4
    assert compose([*TINY, "confirm.seeds=2"]).confirm.seeds == 2


@pytest.mark.parametrize(
    ("seeds", "words"),
    [
        ("0", "confirm.seeds=0 is invalid: expected an integer >= 1, auto or {first: 3, "),
        ("auto_", "confirm.seeds=auto_ is invalid"),
        ("true", "confirm.seeds=True is invalid"),
        ("{first: 2}", "confirm.seeds.first=2 is invalid: expected an integer >= 3"),
        ("{step: 0}", "confirm.seeds.step=0 is invalid: expected an integer >= 1"),
        ("{most: 3.5}", "confirm.seeds.most=3.5 is invalid: expected an integer >= 3"),
        ("{first: 5, most: 4}", "confirm.seeds.most=4 is invalid: expected an integer >= 5"),
        ("{stp: 1}", "confirm.seeds.stp: unknown; did you mean 'step'"),
    ],
)
def test_bad_rules(seeds, words):
    with pytest.raises(ConfigError, match=words):
        compose([*TINY, f"confirm.seeds={seeds}"])


def test_a_damaged_rule(tmp_path):
    folder = write_sweep(tmp_path / "s", ARMS[:1], confirm_seeds={"first": 2, "step": 2})
    with pytest.raises(ConfigError, match=r"sweep\.yaml: confirm.seeds.first=2 is .* file is dam"):
        read_sweep(folder)


def test_power_of_a_sweep(tmp_path, capsys):
    arms = [
        FakeArm("topk", (0.90, 0.94, 0.92)),
        FakeArm("hash", (0.93, 0.91, 0.95)),
        FakeArm("uniform", (0.1, 0.11, 0.1), control=True),
    ]
    folder = write_sweep(tmp_path / "mine", arms, trials=0)
    assert main(["power", str(folder)]) == 0
    titles, _, row, _, pair_titles, _, pair = capsys.readouterr().out.splitlines()
    assert " ".join(titles.split()) == "benchmark score arms seeds detected with 80% power"
    assert row.split()[:4] == ["mine", "accuracy", "3", "3"]
    assert 0.02 < float(row.split()[4]) < 0.2
    assert pair_titles.split()[-2:] == ["seeds", "needed"]
    *names, difference, needed = pair.split()
    assert names == ["mine", "topk", "/", "hash"]
    assert float(difference) == pytest.approx(0.01)
    pilot = {arm.label: dict(enumerate(arm.scores)) for arm in arms}
    assert seeds_for_each([0.01], pilot) == {0.01: int(needed)}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["power"], "power: expected power DIR"),
        (["power", "{sweep}", "pwer=1"], "power: expected power DIR"),
        (["power", "{sweep}", "power=1"], "power=1 is invalid: expected a number in"),
        (["power", "{sweep}"], "2 arms of a benchmark with 3 confirmed seeds, and none"),
        (["power", "{sweep}-"], "no such folder"),
    ],
)
def test_bad_questions_about_power(tmp_path, capsys, arguments, words):
    arms = [FakeArm(name, (0.9, 0.8)) for name in ("topk", "hash")]
    folder = write_sweep(tmp_path / "s", arms, confirm_seeds=2, trials=0)
    assert main([text.format(sweep=folder) for text in arguments]) == 2
    assert words in capsys.readouterr().err
