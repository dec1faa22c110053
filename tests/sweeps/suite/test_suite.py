"""Suites: one that really runs, in seconds, and what happens when it changes."""

import csv
import json
import re
import shutil
from collections import Counter
from pathlib import Path

import pytest
import yaml

from routers import ConfigError
from sweeps import (
    comparison_of,
    compose_suite,
    costs_of,
    main,
    make_suite_plan,
    read_suite,
    read_suites,
    read_sweep,
    tidy_rows,
    write_suite_tables,
)

from ..cases import RUN, confirmed, intact
from ..folders import FakeArm, write_sweep
from ..pages import leave_out_reports

#: Two benchmarks, two routers and a control.
SUITE = {
    "arms": {"topk": ["router=topk"], "hash": ["router=hash", "router.seed=${seed}"]},
    "controls": ["uniform"],
    "benchmarks": {
        "image": {"modality": "image", "run": list(RUN), "margin": 0.02},
        "planted": {
            "modality": "planted",
            "run": ["task=planted", "expert.hidden=8", "trainer.max_steps=2"],
        },
    },
    "confirm": {"seeds": 2, "first_seed": 1000},
    "threads": 1,
    "quiet": True,
}


def write_suite(path: Path, **changes) -> Path:
    """The file of the tiny suite, with other values of some keys."""
    path.write_text(yaml.safe_dump({**SUITE, **changes}, sort_keys=False))
    return path


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """The file of the tiny suite."""
    return write_suite(tmp_path_factory.mktemp("conf") / "tiny.yaml")


@pytest.fixture(scope="module")
def whole(file):
    """The tiny suite, run without a report of its benchmarks."""
    out = file.parent / "whole"
    with pytest.MonkeyPatch.context() as patch:
        leave_out_reports(patch)
        assert main([f"suite={file}", f"out={out}"]) == 0
    return out


def test_a_benchmark_is_an_ordinary_sweep(whole):
    assert {path.name for path in whole.iterdir()} >= {"study.db", "protocol.yaml", "results.csv"}
    assert intact(whole)
    for name in ("image", "planted"):
        assert confirmed(whole / name) == {a: [1000, 1001] for a in ("topk", "hash", "uniform")}
        assert not (whole / name / "trials").exists()  # tuning=none searches nothing
        sweep = read_sweep(whole / name)
        assert [len(arm.runs) for arm in sweep.arms] == [2, 2, 2]
    assert read_sweep(whole / "image").margin == 0.02


def test_the_protocol_states_what_is_compared(whole):
    protocol = yaml.safe_load((whole / "protocol.yaml").read_text())
    first_run = min(path.stat().st_ctime for path in whole.rglob("config.yaml"))
    assert (whole / "protocol.yaml").stat().st_mtime <= first_run
    assert list(protocol["arms"]) == ["topk", "hash", "uniform"]
    assert protocol["arms"]["hash"]["overrides"] == ["router=hash", "router.seed=${seed}"]
    assert protocol["arms"]["uniform"]["control"] is True
    image = protocol["benchmarks"]["image"]
    digest = json.loads(next((whole / "image").rglob("result.json")).read_text())["data"]["sha256"]
    assert (image["modality"], image["data"]["sha256"], image["margin"]) == ("image", digest, 0.02)
    assert image["objectives"] == ["maximize score.value"]
    assert protocol["seeds"] == {"first": 1000, "number": 2}
    assert (len(protocol["code"]), protocol["amendments"]) == (12, [])


def test_scores_are_by_benchmark_arm_and_seed(whole):
    suite = read_suite(whole)
    assert (suite.name, suite.labels, suite.controls) == (
        "tiny",
        ("topk", "hash", "uniform"),
        {"uniform"},
    )
    scores = suite.scores()
    result = json.loads((whole / "planted/confirmed/hash/seed-1001/result.json").read_text())
    assert scores["planted"]["hash"][1001] == result["score"]["value"]
    assert suite.scores("load.cv")["planted"]["hash"][1001] == result["load"]["cv"]
    assert {name: list(own) for name, own in scores.items()} == {
        "image": ["topk", "hash", "uniform"],
        "planted": ["topk", "hash", "uniform"],
    }
    assert suite.objectives()["image"].direction == "maximize"


def test_the_tidy_table_has_every_number_of_every_run(whole):
    with (whole / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert Counter((row["benchmark"], row["modality"]) for row in rows) == {
        ("image", "image"): 6,
        ("planted", "planted"): 6,
    }
    suite = read_suite(whole)
    for row in rows:
        arm = suite.arm(row["benchmark"], row["arm"])
        result = arm.runs[arm.seeds.index(int(row["seed"]))]
        assert float(row["score.value"]) == result["score"]["value"]
        assert float(row["score.validation"]) == result["score"]["validation"]
        assert float(row["score.best.value"]) == result["score"]["best"]["value"]
        assert float(row["load.max_violation"]) == result["load"]["max_violation"]
        assert float(row["compute.flops_per_item"]) == result["compute"]["flops_per_item"]
        assert row["control"] == str(row["arm"] == "uniform")
        assert row["data.sha256"] == result["data"]["sha256"]
    read = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed").read_table
    assert read(whole / "results.parquet").to_pylist() == tidy_rows(suite)


def test_again_is_nothing_to_do(whole, file, capsys, monkeypatch, no_report):
    monkeypatch.setattr("sweeps.driver.driver.Driver._start", lambda *_: pytest.fail("started"))
    before = (whole / "protocol.yaml").read_text()
    assert main([f"suite={file}", f"out={whole}"]) == 0
    assert (whole / "protocol.yaml").read_text() == before
    assert "planted (accuracy)" in capsys.readouterr().out


def test_later_arms_and_seeds_run_only_what_is_missing(whole, file, tmp_path, no_report):
    """They are amendments of the protocol; what is there stays as it is."""
    out = shutil.copytree(whole, tmp_path / "out")
    seen = {path: path.read_bytes() for path in out.rglob("result.json")}
    arms = SUITE["arms"] | {"relu": ["router=relu"]}
    path = write_suite(tmp_path / "tiny.yaml", arms=arms)
    assert (
        main([f"suite={path}", f"out={out}", "confirm.seeds=3", "benchmarks=[planted,image]"]) == 0
    )
    assert all(path.read_bytes() == content for path, content in seen.items())
    scores = read_suite(out).scores()
    assert list(scores["planted"]) == ["topk", "hash", "relu", "uniform"]
    assert all([*own] == [1000, 1001, 1002] for own in scores["planted"].values())
    protocol = yaml.safe_load((out / "protocol.yaml").read_text())
    changes = [each["change"] for each in protocol["amendments"]]
    assert changes == ["arm added: relu", "confirm.seeds: was 2, is 3"]
    assert "added" in protocol["arms"]["relu"]
    assert "added" not in protocol["arms"]["topk"]


def test_a_suite_without_its_study_trains_what_is_missing_alone(whole, file, tmp_path, no_report):
    out = shutil.copytree(whole, tmp_path / "out")
    (out / "study.db").unlink()
    shutil.rmtree(out / "image" / "confirmed" / "hash" / "seed-1001")
    seen = {path: path.stat().st_mtime_ns for path in out.rglob("result.json")}
    assert main([f"suite={file}", f"out={out}"]) == 0
    again = {path: path.stat().st_mtime_ns for path in out.rglob("result.json")}
    (added,) = again.keys() - seen.keys()
    assert added.parent.relative_to(out).as_posix() == "image/confirmed/hash/seed-1001"
    assert seen.items() <= again.items()


def test_a_shared_setting_is_one_for_all_benchmarks(file, tmp_path, no_report):
    """Both benchmarks try the same; the best mean rank of validation scores is confirmed."""
    settings = ["tuning=shared", "sampler=random", "trials=3", "arms=[topk]", "controls=[]"]
    rates = "optimizer.lr: {low: 1e-3, high: 1e-1, log: true}"
    space = f"space={{{rates}, router.k: null, router.weighting: null}}"
    assert main([f"suite={file}", f"out={tmp_path}", *settings, space, "confirm.seeds=1"]) == 0
    ranks, found = [0.0] * 3, []
    for name in ("image", "planted"):
        (arm,) = read_sweep(tmp_path / name).arms
        scores = [trial["runs"][0]["score"]["validation"] for trial in arm.trials]
        ranks = [
            rank + sum(s > own for s in scores) for rank, own in zip(ranks, scores, strict=True)
        ]
        ranks = [r + scores.count(own) / 2 for r, own in zip(ranks, scores, strict=True)]
        about = json.loads((tmp_path / name / "confirmed" / "topk" / "arm.json").read_text())
        files = sorted((tmp_path / name / "trials").rglob("params.json"))
        found.append((about["trial"], [json.loads(path.read_text()) for path in files][1:]))
    assert found[0] == found[1]
    assert found[0][0] == ranks.index(min(ranks))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"arms": {"topk": ["router=topk"]}},
            "arms > hash > overrides: was .*, is null",
        ),
        (
            {"arms": {"topk": ["router=topk", "router.k=1"], "hash": ["router=hash"]}},
            r"arms > topk > overrides: was \[.router=topk.\], is \[.router=topk., .router.k=1.\]",
        ),
        ({"confirm": {"seeds": 1, "first_seed": 1000}}, "seeds may be added alone"),
        ({"confirm": {"seeds": 2, "first_seed": 1001}}, "seeds: was 1000, is 1001"),
        (
            {"confirm": {"seeds": "auto"}},
            "suite in out=.* has 2; a rule is stated before the first",
        ),
        ({"margin": 0.5}, "planted.* margin: was 0.01, is 0.5"),
        (
            {"benchmarks": {"image": SUITE["benchmarks"]["image"]}},
            "benchmarks > planted > modality: was .planted., is null",
        ),
    ],
)
def test_other_changes_are_refused(whole, tmp_path, capsys, changes, words):
    before = (whole / "protocol.yaml").read_text()
    path = write_suite(tmp_path / "tiny.yaml", **changes)
    assert main([f"suite={path}", f"out={whole}"]) == 2
    assert re.search(words, capsys.readouterr().err.replace("\n", " "))
    assert (whole / "protocol.yaml").read_text() == before


def test_a_benchmark_whose_data_changed_is_refused(whole, file, tmp_path, capsys):
    out = shutil.copytree(whole, tmp_path / "out")
    for path in (out / "protocol.yaml", out / "image" / "sweep.yaml"):
        content = yaml.safe_load(path.read_text())
        data = (content["benchmarks"]["image"] if "benchmarks" in content else content)["data"]
        now, data["sha256"] = data["sha256"], "another"
        path.write_text(yaml.safe_dump(content, sort_keys=False))
    assert main([f"suite={file}", f"out={out}"]) == 2
    error = capsys.readouterr().err
    assert f'data > sha256: was "another", is "{now}"' in error
    assert "choose another out" in error


def test_two_suites_merge(whole, file, tmp_path, no_report):
    """Arms with equal settings are one; of a seed that both have, the first run counts."""
    other = shutil.copytree(whole, tmp_path / "other")
    for name in ("image", "planted"):
        home = other / name / "confirmed"
        (home / "uniform" / "seed-1001").rename(home / "uniform" / "seed-1007")
        about = json.loads((home / "hash" / "arm.json").read_text())
        about["overrides"].append("router.seed=3")
        (home / "hash" / "arm.json").write_text(json.dumps(about))
    merged = read_suites([whole, other])
    assert merged.labels == ("topk", "hash (whole)", "hash (other)", "uniform")
    scores = merged.scores()["image"]
    assert {label: list(own) for label, own in scores.items()} == {
        "topk": [1000, 1001],
        "hash (whole)": [1000, 1001],
        "hash (other)": [1000, 1001],
        "uniform": [1000, 1001, 1007],
    }
    assert main(["report", str(whole), str(other), f"out={tmp_path / 'both'}"]) == 0
    assert (tmp_path / "both" / "results.csv").exists()
    assert "hash (other)" in (tmp_path / "both" / "suite.csv").read_text()


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("data", {"sha256": "x"}, "image > data > sha256 differs"),
        ("run", ["task=digits"], "image > run differs"),
        ("objective", "minimize", r"image > objective differs \(maximize score.value; minimize"),
        ("name", "other", "their benchmarks differ"),
    ],
)
def test_suites_that_differ_do_not_merge(whole, tmp_path, key, value, words):
    other = shutil.copytree(whole, tmp_path / "other")
    protocol = yaml.safe_load((other / "protocol.yaml").read_text())
    sweep = yaml.safe_load((other / "image" / "sweep.yaml").read_text())
    own = protocol["benchmarks"]["image"]
    if key == "objective":
        sweep["objectives"][0]["direction"] = value
    elif key == "name":
        protocol["benchmarks"][value] = protocol["benchmarks"].pop("image")
        (other / "image").rename(other / value)
    else:
        own[key] = value if isinstance(value, list) else own[key] | value
    (other / "protocol.yaml").write_text(yaml.safe_dump(protocol, sort_keys=False))
    if (other / "image").exists():
        (other / "image" / "sweep.yaml").write_text(yaml.safe_dump(sweep))
    with pytest.raises(ConfigError, match=words):
        read_suites([whole, other])


def plan(path, *arguments):
    return make_suite_plan(compose_suite([f"suite={path}", *arguments]))


def test_an_arm_that_a_benchmark_cannot_take_is_a_gap_with_a_reason(tmp_path):
    arms = {"topk": ["router=topk"], "big": ["router=topk", "task.clusters=4"]}
    path = write_suite(tmp_path / "tiny.yaml", arms=arms, controls=["iso_flop"])
    suite = plan(path, f"out={tmp_path / 'out'}")
    assert list(suite.gaps["image"]) == ["big"]
    assert "clusters" in suite.gaps["image"]["big"]
    assert [arm.label for arm in suite.plans[0].arms] == ["topk", "dense, FLOPs of topk"]
    assert [arm.label for arm in suite.plans[1].arms] == ["topk", "big", "dense, FLOPs of topk"]
    assert any(note.startswith("image: big is a gap: ") for note in suite.notes)


def test_gaps_are_read_and_shown(tmp_path):
    arms = {"topk": {"overrides": ["router=topk"], "control": False}}
    arms["needy"] = {"overrides": ["router=needy"], "control": False}
    about = {"modality": "image", "run": [], "data": {}, "gaps": {"needy": "needs a task"}}
    write_sweep(tmp_path / "image", [FakeArm("topk")])
    protocol = {"suite": "s", "arms": arms, "benchmarks": {"image": about}, "amendments": []}
    (tmp_path / "protocol.yaml").write_text(yaml.safe_dump(protocol, sort_keys=False))
    suite = read_suite(tmp_path)
    assert suite.benchmarks[0].gaps == {"needy": "needs a task"}
    assert suite.arm("image", "needy") is None
    assert list(suite.scores()["image"]) == ["topk"]
    comparison = comparison_of(suite)
    shown = write_suite_tables(comparison, costs_of(comparison), tmp_path)
    assert "\N{EN DASH} image, needy: needs a task" in shown
    assert any(line.split() == ["needy", *"---\N{EN DASH}"] for line in shown.splitlines())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["suite=quik"], "suite=quik: unknown; did you mean 'quick'"),
        (["benchmarks=[imag]"], "benchmarks=imag: unknown; did you mean 'image'"),
        (["benchmarks.image.modality=imge"], "modality=imge: unknown; did you mean 'image'"),
        (["benchmarks.image.mrgin=1"], "benchmarks.image.mrgin: unknown; did you mean 'margin'"),
        (["benchmarks={}"], "benchmarks={} is invalid"),
        (["benchmarks.image.margin=-1"], "benchmarks.image: margin=-1.0 is invalid"),
        (["tuning=shard"], "tuning=shard: unknown; did you mean 'shared'"),
        (["trials=4"], "expected 0, as tuning=none. Set tuning=per_benchmark"),
        (["tuning=per_benchmark", "trials=0"], "trials=0 is invalid: expected an integer >= 1"),
        (["tuning=shared", "sampler=tpe"], "sampler=tpe is invalid: expected random or grid"),
        (["study=joint"], "study=joint is invalid"),
        (["sweep=tiny"], "a suite has its own sweeps"),
        (["trails=1"], "trails: unknown; did you mean 'trials'"),
    ],
)
def test_configurations(file, arguments, words):
    with pytest.raises(ConfigError, match=words):
        compose_suite([f"suite={file}", *arguments])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["arms=[topk,mapped]"], "arm mapped: no benchmark can take it; .*\n  image: .* task"),
        (["controls=[unifrom]"], "did you mean 'uniform'"),
        (["benchmarks.image.objectives=[scores.nmi]"], "benchmarks.image: objectives=scores.nmi"),
        (["benchmarks.image.run=[task=digit]"], "benchmarks.image: .*did you mean 'digits'"),
        (["arms={a: [router=topk, seed=1]}"], "a sweep sets seed itself"),
        (
            ["tuning=shared", "sampler=random", "benchmarks.image.space={optimizer.lr: [0.002]}"],
            "tuning=shared: the space of topk differs between the benchmarks image and planted",
        ),
    ],
)
def test_plans(file, arguments, words):
    with pytest.raises(ConfigError, match=words):
        plan(file, *arguments)


@pytest.mark.parametrize("name", ["quick", "embedded", "embedded_full"])
def test_suites_that_ship(name):
    suite = compose_suite([f"suite={name}"])
    assert set(suite.modalities.values()) == {"image", "text", "multi_task", "planted"}
