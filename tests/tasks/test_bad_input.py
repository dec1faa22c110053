"""What cannot work is refused before anything trains, with the cause and the cure."""

import fcntl
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tasks import RoutedModule, main

from ..waiting import HANG_SECONDS
from .cases import NARROW, TINY, checkpoint_of, signal_at, tiny, train

#: Longer than the name of a file can be.
LONG = "a" * 300

# arguments, then what the message must hold: key, value, what is allowed, the nearest match
REFUSED = [
    # names
    ("router=topkk", "router=topkk", "did you mean 'topk'", "Allowed:", "soft_moe"),
    ("expert=mpl", "expert=mpl", "did you mean 'mlp'", "Allowed:", "glu"),
    ("task=digit", "task=digit", "did you mean 'digits'", "Allowed:"),
    ("experiment=digits_con", "experiment=digits_con", "did you mean 'digits_conv'"),
    ("optimizer.name=adamv", "optimizer.name=adamv", "did you mean 'adam'", "sgd"),
    ("optimizer.schedule=cosin", "optimizer.schedule=cosin", "did you mean 'cosine'", "linear"),
    ("router.gate=liner", "router.gate=liner", "did you mean 'linear'", "cosine"),
    ("moe.drop=positon", "moe.drop=positon", "did you mean 'position'", "random"),
    ("moe.control=iso_flops", "moe.control=iso_flops", "did you mean 'iso_flop'", "iso_parameter"),
    ("losses.swich=1", "losses.swich", "did you mean 'switch'", "importance"),
    ("task.model=vitt", "task.model=vitt", "did you mean 'vit'", "convnet"),
    ("trainer.precision=foo", "trainer.precision=foo", "Allowed:", "bf16-mixed"),
    ("trainer.accelerator=gpuu", "trainer.accelerator=gpuu", "did you mean 'gpu'", "cpu"),
    # keys
    ("router.kk=2", "router.kk", "did you mean 'k'", "Allowed:", "weighting"),
    ("expert.hiden=2", "expert.hiden", "did you mean 'hidden'", "Allowed:", "dropout"),
    ("task.model.dimm=2", "task.model.dimm", "did you mean 'dim'", "Allowed:", "depth"),
    ("trainer.epochs=3", "trainer.epochs", "did you mean 'max_epochs'", "Allowed:", "batch_size"),
    ("moe.experts=3", "moe.experts", "did you mean 'num_experts'", "Allowed:", "capacity"),
    ("optmizer.lr=1", "optmizer", "did you mean 'optimizer'", "Allowed:", "trainer"),
    ("rooter=topk", "rooter", "did you mean 'router'", "Allowed:", "experiment"),
    ("+seeed=1", "seeed", "did you mean 'seed'"),
    ("+seed=1", "+seed", "exists", "seed=1"),
    ("~router.nope", "~router.nope", "no such key"),
    ("~seed", "seed", "required"),
    ("~router", "router", "required"),
    # types
    ("optimizer.lr=abc", "optimizer.lr=abc", "float"),
    ("router.k=two", "router.k=two", "int"),
    ("router.k=2.5", "router.k=2.5", "int"),
    ("trainer.max_epochs=1.5", "trainer.max_epochs=1.5", "int"),
    ("trainer.progress=maybe", "trainer.progress=maybe", "bool"),
    ("seed=x", "seed=x", "int"),
    ("seed=null", "seed=None", "int"),
    ("seed=${sed}", "seed", "sed", "not found"),
    ("plugins=1", "plugins=1", "list"),
    ("losses=1", "losses=1", "dict"),
    ("losses.switch=much", "losses.switch=much", "float"),
    ("trainer=1", "trainer=1", "dict"),
    ("moe.num_experts=[8]", "moe.num_experts", "int"),
    ("router={k: 2}", "router.name", "required"),
    ("expert={name: mixed, parts: [3]}", "expert.parts=[3]", "list of str or mapping", "quote"),
    ("expert={name: mixed, parts: [{name: 3}]}", "expert=3", "a name", "int"),
    ("expert={name: mixed, parts: [{name: mlp, count: two}]}", "count=two", "is invalid: expected"),
    ("expert=null expert.kinds=[[a]]", "expert.kinds=[['a']]", "list of str"),
    ("plugins=[null]", "plugins=[None]", "list of str", "quote"),
    ("plugins=['']", "plugins= is invalid", "their.module"),
    ("plugins.x=3", "plugins.x=3", "not an int"),
    ("plugins.0=x", "plugins.0=x", "out of range"),
    ("router.k=???", "router.k", "mandatory"),
    ("router.name.x=3", "router={'x': 3}", "a name"),
    ("router={name: 3}", "router=3", "a name"),
    ("router.gate={name: 3}", "router.gate=3", "a name", "int"),
    ("out.x=3", "out.x", "text"),
    # ranges
    ("router.gate={name: mlp, hidden: 0}", "router.gate.hidden=0", ">= 1"),
    ("router.gate={name: attention, width: 0}", "router.gate.width=0", ">= 1"),
    ("router.gate={name: cosine, project: -1}", "router.gate.project=-1", ">= 0"),
    ("router.gate={name: cosine, temperature: .inf}", "gate.temperature=inf", "finite"),
    ("router.gate={name: linear, scale: .nan}", "router.gate.scale=nan", "finite"),
    ("router.gate={name: linear, scale: -1}", "router.gate.scale=-1", ">= 0"),
    ("router=hash router.seed=99999999999999999999", "router.seed=9999999999", "2**63"),
    ("router=hash router.seed=-1", "router.seed=-1", "[0, "),
    ("router=soft_mixture router.temperature=.inf", "router.temperature=inf", "finite"),
    ("router.k=9", "router.k=9", "[1, num_experts=8]"),
    ("router.k=0", "router.k=0", "[1, num_experts=8]"),
    ("router.k=1", "router.k=1", ">= 2", "use weighting=probability"),
    ("moe.capacity=0", "moe.capacity=0", "> 0", "null"),
    ("moe.capacity=-1", "moe.capacity=-1", "> 0", "null"),
    ("moe.capacity=.nan", "moe.capacity=nan", "> 0"),
    ("moe.rounding=flor", "moe.rounding=flor", "did you mean 'floor'"),
    ("moe.num_experts=0", "moe.num_experts=0", "in [1, 1048576]"),
    ("moe.num_experts=99999999999", "moe.num_experts=99999999999", "in [1, 1048576]"),
    ("moe.shared=-1", "moe.shared=-1", "in [0, 1048576]"),
    ("moe.expert_dropout=1", "moe.expert_dropout=1", "a number in [0, 1)"),
    ("optimizer.lr=0", "optimizer.lr=0", "> 0"),
    ("optimizer.lr=.inf", "optimizer.lr=inf", "finite"),
    ("optimizer.weight_decay=-1", "optimizer.weight_decay=-1", ">= 0"),
    ("optimizer.warmup=1", "optimizer.warmup=1", "a number in [0, 1)"),
    ("seed=-1", "seed=-1", ">= 0"),
    ("trainer.max_epochs=0", "trainer.max_epochs=0", "in [1, 2147483647]"),
    ("trainer.max_steps=0", "trainer.max_steps=0", "-1 for all"),
    ("trainer.batch_size=0", "trainer.batch_size=0", "in [1, 2147483647]"),
    ("trainer.batch_size=1258", "trainer.batch_size=1258", "[1, 1257]"),
    ("trainer.threads=0", "trainer.threads=0", "in [1, 1024]"),
    ("trainer.threads=2147483647", "trainer.threads=2147483647", "in [1, 1024], or null"),
    ("trainer.accumulate_grad_batches=18446744073709551616", "=18446744073709551616", "[1, 2147"),
    ("trainer.max_steps=18446744073709551616", "=18446744073709551616", "-1 for all"),
    ("task.model.depth=2147483647", "task.model.depth=2147483647", "in [1, 1024]"),
    ("task=planted task.depth=2147483647", "task.depth=2147483647", "in [1, 1024]"),
    ("router=agreement router.rounds=18446744073709551616", "router.rounds=184", "[1, 1000]"),
    ("task=planted task.dim=9223372036854775808", "data of task=planted", "does not fit in memory"),
    ("task=planted task.classes=9999999999999", "data of task=planted", "does not fit in memory"),
    ("trainer.gradient_clip_val=-1", "trainer.gradient_clip_val=-1", ">= 0"),
    ("trainer.gradient_clip_val=.nan", "trainer.gradient_clip_val=nan", ">= 0"),
    (
        "trainer.accumulate_grad_batches=0",
        "trainer.accumulate_grad_batches=0",
        "in [1, 2147483647]",
    ),
    ("trainer.log_every_n_steps=0", "trainer.log_every_n_steps=0", "in [1, 2147483647]"),
    ("task.model.heads=3", "task.model.dim=16", "multiple of heads=3"),
    ("task.label_smoothing=1", "task.label_smoothing=1", "a number in [0, 1)"),
    ("task.augmentation.strength=.nan", "task.augmentation.strength=nan", "finite"),
    ("task.augmentation.strength=-1", "task.augmentation.strength=-1", ">= 0"),
    ("losses.switch=.nan", "losses.switch=nan", "finite"),
    ("expert.hidden=0", "expert.hidden=0", "is invalid: expected"),
    ("expert.hidden=99999999999", "does not fit in memory", "expert.hidden"),
    ("expert.hidden=99999999999999999999", "does not fit in memory", "expert.hidden"),
    # parts that do not fit together
    ("router=hierarchical router.branches=3", "router.branches=3", "divisor", "1, 2, 4, 8"),
    ("losses.load=0.1", "losses.load", "noisy_topk"),
    ("router=hash losses.z=0.1", "losses.z", "has_logits"),
    ("expert=conv", "expert=conv", "(D, H, W)", "(L, D)", "task.model", "convnet"),
    ("task.model=convnet expert=mlp", "expert=mlp", "(D)", "(D, H, W)", "fits (conv", "vit"),
    ("task.model=convnet expert=conv task.ids=position", "task.ids=position", "Allowed: content"),
    ("expert=null moe.control=iso_flop", "moe.control", "expert=null", "expert=mlp"),
    ("task=two_digits task.sharing=single moe.control=iso_flop", "moe.control", "no routed layer"),
    ("task=spare_parts:NamelessTask router=hash", "router=hash", "needs ids", "another router"),
    ("task=spare_parts:CausalTask router=expert_choice", "expert_choice", "causal", "later items"),
    ("task=spare_parts:CausalTask router.gate=attention", "router", "gate", "later items"),
    ("task=spare_parts:CausalTask moe.capacity=1 moe.drop=random", "moe.drop=random", "position"),
    ("router=spare_parts:NoPart", "router=spare_parts:NoPart", "not a subclass", "Router"),
    ("router=routers:Router", "routers:Router", "does not implement forward", "a subclass"),
    ("expert=experts:Bank", "experts:Bank", "does not implement flops, forward", "a subclass"),
    ("task=tasks:Task", "tasks:Task", "does not implement backbone, data, loss, measures"),
    ("router=spare_parts:Adapting2", "spare_parts:Adapting2", "mean 'spare_parts:Adapting'"),
    ("router=:", "router= is invalid", "their.module"),
    ("router=.foo:Bar", "router=.foo", "their.module"),
    ("expert=mixed moe.shared=1", "num_experts=1", "moe.shared"),
    ("plugins=[broken_syntax]", "plugins=broken_syntax", "broken_syntax.py, line 4", "SyntaxError"),
    ("plugins=[broken_import]", "broken_import.py, line 3", "ValueError: no such luck"),
    ("router=broken_import:X", "router=broken_import", "ValueError: no such luck"),
    ("plugins=[broken_needs]", "plugins=broken_needs", "broken_needs.py, line 3", "'broken'"),
    ("router=spare_partz:Adapting", "router=spare_partz", "no such module", "PYTHONPATH"),
    ("plugins=[spare_partz]", "plugins=spare_partz", "no such module", "PYTHONPATH"),
    # what this machine has not
    ("trainer.accelerator=mps", "trainer.accelerator=mps", "cpu"),
    # the command itself
    ("router", "router", "key=value", "--help"),
    ("~router.k=2", "~router.k=2", "~key"),
    ("seed..x=2", "seed=", "int"),
    ("=3", "=3", "key=value", "--help"),
    ("router.k=[1", "router.k=[1", "YAML"),
    ("--verbose", "--verbose", "allowed", "--help", "--cfg"),
    ("resume=nowhere", "resume=nowhere", "config.yaml"),
    (f"resume={LONG}", f"resume={LONG}: cannot be read (File name too long)"),
    (f"experiment={LONG}.yaml", "cannot be read (File name too long)"),
    (f"task=language_model task.data.path={LONG}", "task.data.path=aaa", "File name too long"),
    (f"task={LONG}", "task=aaa", "unknown"),
    ("router=top\nk", "router=top\\nk: unknown", "did you mean 'topk'"),
    ("out=a\x1bb\u2028c/\n task.model.heads=3", "multiple of heads=3"),
    ("resume=no\nwhere", "resume=no\\nwhere", "config.yaml"),
]


# plug-ins that cannot be imported
BROKEN = {
    "broken_syntax": "# one\n# two\n# three\nx = = 1\n",
    "broken_import": "# one\n# two\nraise ValueError('no such luck')\n",
    "broken_needs": "# one\n# two\nimport broken\n",
}


@pytest.fixture(autouse=True)
def broken_plugins(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("plugins")
    for name, text in BROKEN.items():
        (folder / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(folder)


@pytest.fixture
def refused(capsys, tmp_path, monkeypatch):
    """Runs a command that must be refused, and returns its message."""

    def train_nothing(*_):
        raise AssertionError("it trained")

    def message(*arguments):
        capsys.readouterr()
        with monkeypatch.context() as patch:
            patch.setattr(RoutedModule, "training_step", train_nothing)
            assert main(arguments) == 2
        shown = capsys.readouterr()
        assert shown.err.startswith("error: ")
        assert "Traceback" not in shown.err
        assert len(shown.err.splitlines()) == 1
        assert not shown.out
        return shown.err

    return message


@pytest.mark.parametrize(
    ("command", "fragments"), [(row[0], row[1:]) for row in REFUSED], ids=lambda v: str(v)[:60]
)
def test_message(refused, tmp_path, monkeypatch, command, fragments):
    monkeypatch.chdir(tmp_path)
    arguments = command.split(" ") if " " in command and "{" not in command else [command]
    named = [t[5:] for t in arguments if t.startswith(("task=two", "task=planted"))]
    small = [*tiny(*named), "out=run"]
    resumed = any(text.startswith("resume") for text in arguments)
    message = refused(*(() if resumed else small), *arguments)
    assert [part for part in fragments if part not in message] == [], message
    assert not list(tmp_path.iterdir())


def test_no_gpu(refused, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    message = refused(*TINY, f"out={tmp_path / 'run'}", "trainer.accelerator=gpu")
    assert "trainer.accelerator=gpu" in message
    assert "cpu" in message


def test_out_that_cannot_be_written(refused, tmp_path):
    (tmp_path / "file").write_text("")
    out = tmp_path / "file" / "run"
    assert f"out={out}: cannot be written" in refused(*TINY, f"out={out}")


def test_out_that_is_a_file(refused, tmp_path):
    (tmp_path / "file").write_text("kept")
    assert "cannot be written" in refused(*TINY, f"out={tmp_path / 'file'}")
    assert (tmp_path / "file").read_text() == "kept"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("finished") / "run"
    train(out, "trainer.max_steps=1")
    return out


def test_out_that_holds_a_finished_run(refused, finished):
    before = (finished / "result.json").read_bytes()
    assert "holds a finished run; choose another out" in refused(*TINY, f"out={finished}")
    assert (finished / "result.json").read_bytes() == before


@pytest.fixture(scope="module")
def stopped_once(tmp_path_factory):
    """The folder of a run that was stopped after two steps, and a copy of it."""
    out = tmp_path_factory.mktemp("stopped") / "stopped"
    with signal_at(1):
        assert main([*TINY, NARROW, f"out={out}"]) == 130
    return out, shutil.copytree(out, out.with_name("copy"))


@pytest.fixture
def stopped(stopped_once):
    """The folder of a run that was stopped after two steps, as it was left."""
    out, copy = stopped_once
    shutil.rmtree(out)
    return shutil.copytree(copy, out)


def test_out_that_holds_an_unfinished_run(refused, stopped):
    assert f"resume={stopped}" in refused(*TINY, f"out={stopped}")


@pytest.mark.parametrize(
    "change",
    [
        "router=hash",
        "router.k=4",
        "optimizer.lr=1",
        "seed=1",
        "trainer.batch_size=32",
        "trainer.accumulate_grad_batches=2",
        "trainer.gradient_clip_val=0",
        "trainer.precision=bf16-mixed",
        "~trainer.max_epochs",
        "+trainer.max_epochs=2",
        "trainer={max_epochs: 2}",
        "experiment=digits_conv",
    ],
)
def test_resume_as_another_run(refused, stopped, change):
    before = (stopped / "config.yaml").read_bytes(), (stopped / "command.txt").read_bytes()
    message = refused(f"resume={stopped}", change)
    assert change in message
    assert "trainer.max_epochs, trainer.max_steps, trainer.max_time" in message
    assert before == (
        (stopped / "config.yaml").read_bytes(),
        (stopped / "command.txt").read_bytes(),
    )


@pytest.mark.parametrize("name", ["metrics.csv", "checkpoints/last.ckpt", "notes.txt", ".hidden"])
def test_out_that_holds_something_else(refused, tmp_path, name):
    theirs = tmp_path / "out" / name
    theirs.parent.mkdir(parents=True)
    theirs.write_text("kept")
    message = refused(*TINY, f"out={tmp_path / 'out'}")
    assert "is not empty" in message
    assert "choose another out" in message
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == [theirs]
    assert theirs.read_text() == "kept"


def test_folder_of_a_run_at_work(refused, stopped):
    """As if another process trained there; it ends, and the folder is free."""
    with (stopped / "lock").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        message = refused(f"resume={stopped}")
        assert f"resume={stopped}: another process trains there now" in message
    assert main([f"resume={stopped}"]) == 0


def test_two_runs_in_one_out(refused, tmp_path):
    out = tmp_path / "run"
    out.mkdir()
    with (out / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert f"out={out}: another process trains there" in refused(*TINY, f"out={out}")
    assert [path.name for path in out.iterdir()] == ["lock"]


def test_experiment_that_resumes(refused, tmp_path):
    path = tmp_path / "trial.yaml"
    path.write_text("resume: runs/x\n")
    assert f"{path}: resume=runs/x in an experiment" in refused(f"experiment={path}")


def test_resume_of_an_empty_folder(refused, tmp_path):
    assert "no run is there" in refused(f"resume={tmp_path}")


def test_resume_without_the_checkpoint(refused, stopped):
    (stopped / "checkpoints" / "last.ckpt").unlink()
    message = refused(f"resume={stopped}")
    assert "last.ckpt is missing" in message
    assert "another out" in message


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: [1", "config.yaml, line 2: not readable as YAML ("),
        ("seed: 1\nx: a: b", "line 2: not readable as YAML (mapping values are not allowed"),
        ("seed: 1\nseed: 2", "line 2: not readable as YAML (found duplicate key seed)"),
        ("- 1", "holds a list"),
        ("routerr: {name: topk}", "routerr: unknown; did you mean 'router'"),
    ],
)
def test_resume_with_a_broken_configuration(refused, stopped, text, problem):
    (stopped / "config.yaml").write_text(text)
    assert problem in refused(f"resume={stopped}")


class Malice:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def truncated(path, tmp_path):
    path.write_bytes(path.read_bytes()[:1000])


def noise(path, tmp_path):
    path.write_bytes(bytes(range(256)) * 40)


def empty(path, tmp_path):
    path.write_bytes(b"")


def one_bit(path, tmp_path):
    """A weight is another number, and everything loads."""
    weight = checkpoint_of(path.parents[1])["state_dict"]["backbone.head.weight"]
    content = bytearray(path.read_bytes())
    content[content.index(weight.numpy().tobytes())] ^= 1
    path.write_bytes(content)
    assert torch.load(path, weights_only=True)["state_dict"].keys()


def malicious(path, tmp_path):
    torch.save({"state_dict": Malice(tmp_path / "executed")}, path)


def malicious_pickle(path, tmp_path):
    path.write_bytes(pickle.dumps(Malice(tmp_path / "executed")))


def of_another_model(path, tmp_path):
    saved = torch.load(path, weights_only=True)
    saved["state_dict"].popitem()
    torch.save(saved, path)


def of_something_else(path, tmp_path):
    torch.save({"weights": torch.ones(3)}, path)


@pytest.mark.parametrize(
    "damage",
    [
        truncated,
        noise,
        empty,
        one_bit,
        malicious,
        malicious_pickle,
        of_another_model,
        of_something_else,
    ],
)
def test_damaged_checkpoint(refused, stopped, tmp_path, damage):
    damage(stopped / "checkpoints" / "last.ckpt", tmp_path)
    message = refused(f"resume={stopped}")
    assert f"resume={stopped}" in message
    assert "last.ckpt" in message
    assert "another out" in message
    assert not (tmp_path / "executed").exists()


ENTRIES = [
    ("optimizer_states", None),
    ("optimizer_states", []),
    ("optimizer_states", [{}]),
    ("optimizer_states", [{"state": {}, "param_groups": []}]),
    ("lr_schedulers", None),
    ("lr_schedulers", [{}]),
    ("global_step", None),
    ("global_step", "x"),
    ("pytorch-lightning_version", None),
    ("callbacks", {"Record": 3}),
    ("loops", None),
    ("loops", 3),
    ("loops", {"fit_loop": {}}),
]


def test_checkpoint_with_an_invalid_entry(refused, stopped):
    """Each would be a traceback or, without the loops, another result."""
    path = stopped / "checkpoints" / "last.ckpt"
    saved = torch.load(path, weights_only=True)
    for key, value in ENTRIES:
        torch.save({**saved, key: value}, path)
        message = refused(f"resume={stopped}")
        assert f"last.ckpt holds no valid {key}" in message
        assert "another out" in message
    torch.save(saved, path)
    assert main([f"resume={stopped}"]) == 0


def test_malice_is_malicious(tmp_path):
    pickle.loads(pickle.dumps(Malice(tmp_path / "executed")))
    assert (tmp_path / "executed").exists()


def test_as_a_user_sees_it(tmp_path):
    """A real process: exit code 2, one line, no traceback, nothing left behind."""
    command = [sys.executable, "-m", "tasks", "router=topkk"]
    root = Path(__file__).parents[2]
    path = os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: router=topkk: unknown; did you mean 'topk'?")
    assert len(done.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())
