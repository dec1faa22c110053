"""Reading of a sweep's folder, complete, incomplete or damaged."""

import json
import re
import shutil
from contextlib import nullcontext
from dataclasses import replace

import pytest

from routers import ConfigError
from sweeps import read_sweep, read_sweeps

from ..folders import ARMS, FakeArm, write_run, write_sweep


def test_everything_that_was_written_is_read(tmp_path):
    sweep = read_sweep(write_sweep(tmp_path / "s"))
    assert {arm.label for arm in sweep.arms} == {arm.label for arm in ARMS}
    arm = next(arm for arm in sweep.arms if arm.label == "dense, equal FLOPs")
    assert (arm.slug, arm.control, arm.pareto) == ("dense-equal-flops", True, True)
    assert arm.overrides == ("router=topk", "moe.control=iso_flop", "optimizer.lr=0.002")
    assert arm.seeds == (1000, 1001, 1002)
    assert list(arm.numbers("score.value").values()) == [0.957, 0.956, 0.964]
    assert arm.folders[1].name == "seed-1001"
    assert arm.search["score.value"] == 0.964
    assert [trial["number"] for trial in arm.trials] == [0, 1, 2]
    assert arm.trials[1]["runs"][0]["score"]["value"] == 0.964
    assert [objective.direction for objective in sweep.objectives] == [
        "maximize",
        "minimize",
        "minimize",
    ]
    assert (sweep.score, sweep.margin) == ("accuracy", 0.01)


def test_seeds_are_in_the_order_of_their_numbers(tmp_path):
    folder = write_sweep(tmp_path / "s", [FakeArm("topk", (0.9,))])
    write_run(folder / "confirmed" / "topk" / "seed-999", FakeArm("topk"), 999, 0.8)
    assert read_sweep(folder).arms[0].seeds == (999, 1000)


def test_a_sweep_cut_off_shows_what_is_missing(tmp_path):
    folder = write_sweep(tmp_path / "s", [*ARMS, FakeArm("hash", (0.9, None, 0.91))])
    confirmed = folder / "confirmed"
    (confirmed / "topk" / "seed-1001" / "result.json").write_text('{"score": ')
    (confirmed / "expert_choice" / "arm.json").unlink()
    (confirmed / "expert_choice" / "seed-1002" / "result.json").unlink()
    shutil.rmtree(confirmed / "random_fixed")
    arms = {arm.label: arm for arm in read_sweep(folder).arms}
    assert len(arms) == 5
    assert arms["topk"].seeds == (1000, 1002)
    assert (arms["expert_choice"].command, arms["expert_choice"].seeds) == ("", (1000, 1001))
    assert (arms["random_fixed"].runs, len(arms["random_fixed"].trials)) == ((), 3)
    assert arms["hash"].seeds == (1000, 1002)
    assert [label for label, arm in arms.items() if len(arm.runs) == arm.planned] == [
        "dense, equal FLOPs"
    ]


def test_an_arm_that_never_began_is_there(tmp_path):
    folder = write_sweep(tmp_path / "s")
    for part in ("trials", "confirmed"):
        shutil.rmtree(folder / part)
    arms = read_sweep(folder).arms
    assert [(arm.label, arm.slug, arm.control, len(arm.runs)) for arm in arms] == [
        (arm.label, arm.slug, arm.control, 0) for arm in ARMS
    ]


@pytest.mark.parametrize("arms", ["[topk, hash]", "{topk: [router=topk], hash: [router=hash]}"])
def test_arms_as_they_are_written(tmp_path, arms):
    (tmp_path / "sweep.yaml").write_text(
        f"arms: {arms}\nobjectives: [score.value]\nconfirm: {{seeds: 3}}\n"
    )
    assert [(arm.label, arm.slug) for arm in read_sweep(tmp_path).arms] == [
        ("topk", "topk"),
        ("hash", "hash"),
    ]


def test_an_objective_with_an_unknown_direction(tmp_path):
    folder = write_sweep(tmp_path / "s")
    path = folder / "sweep.yaml"
    path.write_text(path.read_text().replace("maximize", "maximise"))
    with pytest.raises(ConfigError, match="did you mean 'maximize'"):
        read_sweep(folder)


def test_objectives_may_be_names(tmp_path):
    arm = FakeArm("topk")
    folder = write_sweep(tmp_path / "s", [arm])
    text = (folder / "sweep.yaml").read_text()
    start, end = text.index("objectives:"), text.index("constraints:")
    (folder / "sweep.yaml").write_text(f"{text[:start]}objectives: [score.value]\n{text[end:]}")
    assert [o.direction for o in read_sweep(folder).objectives] == ["maximize"]


def test_no_folder(tmp_path):
    with pytest.raises(ConfigError, match="no such folder"):
        read_sweep(tmp_path / "absent")


def test_a_folder_of_something_else(tmp_path):
    with pytest.raises(ConfigError, match="holds no sweep"):
        read_sweep(tmp_path)


def test_a_folder_above_a_sweep(tmp_path):
    write_sweep(tmp_path / "mine")
    with pytest.raises(ConfigError, match=r"did you mean .*mine"):
        read_sweep(tmp_path)


@pytest.mark.parametrize("text", ["", "[1, 2]", "a: [", "trials: 3", "confirm: {seeds: 3}"])
def test_a_damaged_sweep_file(tmp_path, text):
    folder = write_sweep(tmp_path / "s")
    (folder / "sweep.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"sweep\.yaml"):
        read_sweep(folder)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("margin: abc", "margin is of type str"),
        ("margin: .nan", "margin is not a finite number"),
        ("margin: ${nope}", "margin is of type str"),
        ("constraints: 3", "constraints is of type int"),
        ("confirm: {seeds: x}", "confirm.seeds is of type str"),
        ("resolved: {topk: {overrides: 3}}", "arms.topk.overrides is of type int"),
        ("resolved: 3", "arms is of type int"),
    ],
)
def test_a_value_of_another_type_in_the_sweep_file(tmp_path, change, problem):
    folder = write_sweep(tmp_path / "s")
    key = change.partition(":")[0]
    text = re.sub(rf"(?m)^{key}:.*\n([ -].*\n)*", "", (folder / "sweep.yaml").read_text())
    (folder / "sweep.yaml").write_text(f"{text}{change}\n")
    with pytest.raises(ConfigError, match=rf"sweep\.yaml: {problem}; the file is damaged"):
        read_sweep(folder)


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        '{"score": 3}',
        '{"score": {"name": "accuracy", "direction": "sideways"}}',
        '{"score": {"name": "a", "direction": "maximize", "value": NaN}}',
        '{"score": {"name": "a", "direction": "maximize"}, "layers": [{"load": 3}]}',
        '{"score": {"name": "a", "direction": "maximize"}, "data": []}',
        "[" * 10**5,
        b"\xff",
    ],
)
def test_a_damaged_run_is_left_out_with_its_name(tmp_path, caplog, text):
    folder = write_sweep(tmp_path / "s", ARMS[:2])
    path = folder / "confirmed" / "topk" / "seed-1001" / "result.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    arms = {arm.label: arm.seeds for arm in read_sweep(folder).arms}
    assert arms == {"topk": (1000, 1002), "expert_choice": (1000, 1001, 1002)}
    (line,) = caplog.messages
    assert line.startswith(f"'{path}' is damaged and left out: ")


def test_a_damaged_arm_file_is_left_out_with_its_name(tmp_path, caplog):
    folder = write_sweep(tmp_path / "s", ARMS[:1])
    path = folder / "confirmed" / "topk" / "arm.json"
    path.write_text('{"search": []}')
    assert [(arm.label, arm.command) for arm in read_sweep(folder).arms] == [("topk", "")]
    assert caplog.messages == [
        f"'{path}' is damaged and left out: search is of type list",
    ]


@pytest.mark.parametrize("name", ["sweep.yaml", "arm.json", "seed-1000/result.json"])
def test_a_later_format_is_refused(tmp_path, name):
    folder = write_sweep(tmp_path / "s", ARMS[:1])
    path = folder / name if name == "sweep.yaml" else folder / "confirmed" / "topk" / name
    text, expected = path.read_text(), nullcontext()
    for number in (1, 2):
        key = f'"format": {number}'
        path.write_text(f"{{{key},{text[1:]}" if text[0] == "{" else f"{key}\n{text}")
        with expected:
            assert read_sweep(folder).arms[0].seeds == (1000, 1001, 1002)
        expected = pytest.raises(ConfigError, match=f"{name}: format 2 is of a later version")


def test_digits_that_are_no_number_are_no_seed(tmp_path):
    folder = write_sweep(tmp_path / "s", ARMS[:1])
    for part in ("confirmed", "trials"):
        run = folder / part / "topk" / "seed-1000"
        write_run(run.with_name("seed-\N{SUPERSCRIPT TWO}"), ARMS[0], 2, 0.9)
    assert read_sweep(folder).arms[0].seeds == (1000, 1001, 1002)


def test_interpolations_are_not_resolved(tmp_path, monkeypatch):
    """The environment of the reader is not published."""
    monkeypatch.setenv("A_SECRET", "hunter2")
    folder = write_sweep(tmp_path / "s", ARMS[:1])
    with (folder / "sweep.yaml").open("a") as file:
        file.write("note: ${oc.env:A_SECRET}\n")
    assert read_sweep(folder).config["note"] == "${oc.env:A_SECRET}"


def test_several_sweeps_are_merged_and_shared_labels_get_names(tmp_path):
    one = write_sweep(tmp_path / "one", ARMS[:2])
    other = write_sweep(tmp_path / "other", [ARMS[0], FakeArm("hash")], margin=0.02)
    merged = read_sweeps([one, other, one])
    assert [arm.label for arm in merged.arms] == [
        "topk (one)",
        "expert_choice",
        "topk (other)",
        "hash",
    ]
    assert len({arm.slug for arm in merged.arms}) == 4
    assert merged.folders == (one, other)
    assert merged.margin == 0.02


def test_sweeps_of_the_same_name_get_their_paths(tmp_path):
    folders = [write_sweep(tmp_path / part / "s", ARMS[:1]) for part in ("a", "b")]
    assert len({arm.label for arm in read_sweeps(folders).arms}) == 2


def test_sweeps_of_other_objectives_do_not_merge(tmp_path):
    one = write_sweep(tmp_path / "one")
    only_score = [{"metric": "score.value", "direction": "maximize"}]
    other = write_sweep(tmp_path / "other", objectives=only_score)
    with pytest.raises(ConfigError, match="objectives differ"):
        read_sweeps([one, other])


def test_sweeps_of_other_data_do_not_merge(tmp_path):
    one = write_sweep(tmp_path / "one")
    other = write_sweep(tmp_path / "other", task="planted")
    with pytest.raises(ConfigError, match="different data"):
        read_sweeps([one, other])


def test_no_sweep_at_all():
    with pytest.raises(ConfigError, match="at least one"):
        read_sweeps([])


def test_a_number_that_json_has_not_is_missing(tmp_path):
    folder = write_sweep(tmp_path / "s", [replace(ARMS[0])])
    path = folder / "confirmed" / "topk" / "seed-1000" / "result.json"
    result = json.loads(path.read_text())
    result["score"]["value"] = None  # as NaN is written
    path.write_text(json.dumps(result))
    assert list(read_sweep(folder).arms[0].numbers("score.value")) == [1001, 1002]
