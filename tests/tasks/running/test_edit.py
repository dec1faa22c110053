"""The command ``edit``, and runs that start from edited ones."""

import json
from collections import Counter
from itertools import islice

import pytest
import torch
from omegaconf import OmegaConf

import tasks
from tasks import main

from ..cases import NARROW, TINY, checkpoint_of, result_of, signal_at, train
from .test_trained import files_of


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp("trained") / "run"
    train(out)
    return out


@pytest.fixture(scope="module")
def dense(tmp_path_factory):
    """The dense control of a run."""
    out = tmp_path_factory.mktemp("dense") / "run"
    train(out, "moe.control=iso_flop", "router.k=4")
    return out


def edited(folder, out, edits, *words):
    assert main(["edit", str(folder), f"edits={edits}", f"out={out}", *words]) == 0
    return OmegaConf.load(out / "config.yaml")


def test_an_edited_folder_is_that_of_a_run(trained, tmp_path, capsys):
    before, out = files_of(trained), tmp_path / "pruned"
    config = edited(trained, out, "[{prune: {keep: 4, by: load}}]")
    assert files_of(trained) == before
    names = {path.name for path in out.iterdir()}
    assert names == {"checkpoints", "command.txt", "config.yaml", "edits.yaml", "result.json"}
    assert (config.moe.num_experts, config.out) == (4, str(out))
    record = OmegaConf.load(out / "edits.yaml")
    assert (record.of, record.edits[0].edit.prune.keep) == (str(trained), 4)
    kept = record.edits[0].kept[0]
    old = tasks.load(trained).module.backbone.state_dict()
    new = tasks.load(out).module.backbone.state_dict()
    name = next(name for name in old if name.endswith("bank.up"))
    assert new[name].equal(old[name][kept])
    assert tasks.load(out).test()["scores"] == result_of(out)["scores"]
    assert main(["test", str(out)]) == 0
    # again: of an edited run, whose record is kept
    edited(out, tmp_path / "more", "[{grow: {add: 1}}, {freeze: {parameters: [router]}}]")
    more = OmegaConf.load(tmp_path / "more" / "edits.yaml")
    assert more.before.of == str(trained)
    assert OmegaConf.load(tmp_path / "more" / "config.yaml").freeze == ["router"]
    capsys.readouterr()
    assert main([f"resume={out}"]) == 0
    assert "finished already" in capsys.readouterr().out


def test_edits_see_batches_as_training_does(tmp_path, monkeypatch):
    """Without end, of the training split, in another order in each pass."""
    run, seen = tmp_path / "run", []
    train(run, "task.augmentation=none")
    images = tasks.load(run).data.train["x"]
    size = 64
    batches = len(images) // size

    def apply(self, network, context):
        seen.extend(islice(context.training_batches(), 2 * batches))
        return {}

    monkeypatch.setattr(tasks.EDITS.get_part("distil"), "apply", apply)
    edited(run, tmp_path / "edited", "[distil]")
    assert [len(batch["x"]) for batch in seen] == [size] * 2 * batches
    rows = [tuple(row.flatten().tolist()) for batch in seen for row in batch["x"]]
    first, second = rows[: batches * size], rows[batches * size :]
    known = Counter(tuple(row.flatten().tolist()) for row in images)
    assert not Counter(first) - known
    assert not Counter(second) - known
    assert first != second


def test_a_control_becomes_a_mixture(dense, tmp_path):
    out = tmp_path / "mixture"
    config = edited(dense, out, "[{upcycle: {num_experts: 4, router: {name: topk, k: 2}}}]")
    assert (config.moe.num_experts, config.moe.control, config.router.k) == (4, None, 2)
    scores = result_of(dense)["scores"], result_of(out)["scores"]
    assert scores[1] == pytest.approx(scores[0], abs=1e-5)
    assert result_of(out)["router"] == "topk"


def test_a_run_starts_from_an_edited_one(trained, tmp_path):
    """It stops and resumes, and its stored configuration has the shapes of the edited network."""
    out = tmp_path / "run"
    init = (f"init.from={trained}", "init.edits=[{prune: {keep: 4, by: mass}}]")
    brief = [text for text in TINY if not text.startswith("task.")]
    with signal_at(2):
        assert main([*brief, *init, f"out={out}", "freeze=[experts]"]) == 130
    assert main([f"resume={out}"]) == 0
    config = OmegaConf.load(out / "config.yaml")
    assert (config.moe.num_experts, config.expert.hidden) == (4, 16)
    assert config.task.model.dim == OmegaConf.load(trained / "config.yaml").task.model.dim
    assert config.init["from"] == str(trained)
    edited(trained, tmp_path / "pruned", "[{prune: {keep: 4, by: mass}}]")
    start = tasks.load(tmp_path / "pruned").module.backbone.state_dict()
    end = torch.load(out / "checkpoints" / "frozen.ckpt", weights_only=True)["state_dict"]
    experts = [name for name in start if ".bank." in name]
    assert experts
    assert all(torch.equal(start[name], end[f"backbone.{name}"]) for name in experts)


def test_options_of_the_router_change_with_the_edit(trained, tmp_path):
    config = edited(trained, tmp_path / "one", "[{prune: {keep: 1}}]", *ONE)
    assert (config.moe.num_experts, config.router.k) == (1, 1)
    init = (f"init.from={trained}", "init.edits=[{prune: {keep: 1}}]", *ONE)
    brief = [text for text in TINY if not text.startswith("task.")]
    assert main([*brief, *init, f"out={tmp_path / 'run'}"]) == 0
    assert OmegaConf.load(tmp_path / "run" / "config.yaml").router.k == 1


def test_skipped_experts_cost_nothing_in_evaluation(trained, tmp_path, capsys):
    """The edit and the setting are the same; parameters stay, and rows count as dropped."""
    out = tmp_path / "skip"
    config = edited(trained, out, "[{skip: {weight: 0.9}}]")
    assert config.moe.skip == {"weight": 0.9}
    before, after = result_of(trained), result_of(out)
    assert after["compute"]["flops_per_item"] < before["compute"]["flops_per_item"]
    assert 0 < after["load"]["dropped"] < 0.5
    for name, values in checkpoint_of(out)["state_dict"].items():
        assert values.equal(checkpoint_of(trained)["state_dict"][name])
    words = ["trainer.accelerator=cpu", f"out={tmp_path / 'test.json'}"]
    assert main(["test", str(trained), "moe.skip.weight=0.9", *words]) == 0
    tested = json.loads((tmp_path / "test.json").read_text())
    assert tested["scores"] == after["scores"]
    assert tested["compute"] == after["compute"]
    for full, left in zip(before["layers"], after["layers"], strict=True):
        assert sum(left["load"]) < sum(full["load"])
    capsys.readouterr()
    assert main(["test", str(trained), "layers.1.moe.skip.weight=2"]) == 2
    error = capsys.readouterr().err
    assert "layers.1.moe.skip.weight=2 is invalid: expected a number in (0, 1]" in error


ONE = ("router.k=1", "router.weighting=probability")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["edit", "DIR", "out=OUT"], "edit: edits is missing"),
        (["edit", "DIR", "edits=[{prune: {keep: 8}}]", "out=OUT"], "keep=8 is invalid"),
        (["edit", "DIR", "edits=[{prune: {keep: 1}}]", "out=OUT"], "router.k=2 is invalid"),
        (["edit", "DIR", "edits=[skip]", "out=OUT"], "edits.skip.weight: required, or mass"),
        (["edit", "DIR", "edits=[backup]", "out=OUT"], "edits.backup.experts: no expert is lost"),
        (["edit", "DIR", "edits=[upcycl]", "out=OUT"], "did you mean 'upcycle'"),
        (["edit", "DIR", "edits=[upcycle]", "out=OUT"], "give a dense run"),
        (["edit", "DIR", "edits=[revive]", "seed=3", "out=OUT"], "seed=3: edit takes edits"),
        (["edit", "DIR", "edits=[{freeze: {parameters: [x]}}]", "out=OUT"], "selects no parameter"),
        (["edit", "DIR", "edits=[{swap: {of: nowhere}}]", "out=OUT"], "nowhere: no run is there"),
        (["init.edits=[revive]"], "init.from: required by init.edits"),
        (["init.from=nowhere", "init.edits=[revive]"], "init.from=nowhere: no run is there"),
        (["init.from=DIR", "init.edits=[reviv]"], "init.edits=reviv: unknown; did you mean"),
        (["init.from=DIR", "init.edit=[revive]"], "init.edit: unknown; did you mean 'edits'"),
        (["init.from=DIR", "init.edits=[revive]", "moe.num_experts=4"], "absent|of shape"),
    ],
)
def test_what_cannot_work_is_refused(trained, tmp_path, capsys, words, message):
    out = tmp_path / "out"
    given = [word.replace("DIR", str(trained)).replace("OUT", str(out)) for word in words]
    more = [] if words[0] == "edit" else [*TINY, NARROW, f"out={out}"]
    assert main([*given, *more]) == 2
    error = capsys.readouterr().err
    assert any(part in error for part in message.split("|"))
    assert not list(tmp_path.iterdir())


def test_dead_experts_are_revived_in_training(trained, tmp_path, monkeypatch):
    """Every check finds one: a part of all is dead, and its values change."""
    revive, revived = tasks.EDITS.get_part("revive"), []
    original = revive.revived
    monkeypatch.setattr(revive, "copies", lambda self, load: {0: int(load.argmax()) or 1})
    monkeypatch.setattr(
        revive, "revived", lambda self, *given: revived.append(1) or original(self, *given)
    )
    callbacks = "trainer.callbacks=[{name: revive, every: 2, noise: 0.1}]"
    train(tmp_path / "run", callbacks)
    assert len(revived) == 3 * len(tasks.routed_layers(tasks.load(trained).module.backbone))
