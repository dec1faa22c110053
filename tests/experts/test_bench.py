"""``python -m experts bench``: settings, races, memory and files, at sizes that take no time."""

import csv
import io
import itertools
import json
import mmap
import sys
from dataclasses import replace

import pytest
import torch
from rich.console import Console
from torch import nn

import experts
import routers
from experts.__main__ import main
from experts._bench import Settings, Shape, bench
from experts._bench._check import check
from experts._bench._clock import plain_clock, settled_clock
from experts._bench._contestant import Contestant, FailedError, LeftOutError
from experts._bench._contestants import CONTESTANTS, build, chosen
from experts._bench._loop import Loop
from experts._bench._memory import measure_peak
from experts._bench._peers import import_peer
from experts._bench._race import FEW, FEW_WARMUP, WARMUP, Times, race, rotated
from experts._bench._rows import cost_of
from experts._bench._run import OVER
from experts._bench._settings import describe, parse
from experts._bench._shapes import GROWTH, SHAPES
from experts._bench._skew import find_skew, load_ratio
from routers import ConfigError, Items

TINY = Shape(256, 16, 24, 8, 2)
WIDE = Shape(256, 16, 8, 32, 4)
CPU = torch.device("cpu")
SMALL = {1: TINY, 2: WIDE}
QUICK = {"rounds": 2, "allocator": "default"}


def lone(forward=lambda x: x * 1.0, **changes):
    """A contestant without parameters."""
    return replace(Contestant("lone", nn.Identity(), forward, flops=1), **changes)


def raced(contestants, rounds=4):
    def draw():
        return torch.randn(3, 2)

    return race(contestants, draw, torch.ones(3, 2), rounds, plain_clock(lambda: None))


def shown(settings, **changes):
    """Run it; what it printed, with single spaces."""
    console = Console(width=160, file=io.StringIO())
    bench(settings, console, **changes)
    return " ".join(console.file.getvalue().split())


def read_rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


# settings


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("divice=cpu", "divice: unknown; did you mean 'device'"),
        ("device=tpu", "device=tpu: unknown.* Allowed: cpu, cuda"),
        ("dtype=float31", "dtype=float31: unknown; did you mean 'float32'"),
        ("over=expert", "over=expert: unknown; did you mean 'experts'"),
        ("shapes=1,7", r"shapes=7: unknown.* Allowed: 1, 2, 3, 4, 5, 6"),
        ("shapes=1,1", "shapes=1,1 is invalid: expected one or more of .* each once"),
        ("shapes=[]", "shapes= is invalid: expected one or more"),
        ("shapes=a", "shapes=a: expected list of int, got list of str"),
        ("rounds=0", "rounds=0 is invalid: expected an integer of at least 1"),
        ("rounds=many", "rounds=many: expected int, got str"),
        ("threads=0", "threads=0: allowed"),
        ("allocator=tune", "allocator=tune: unknown; did you mean 'tuned'"),
        ("seed=-1", "seed=-1: allowed"),
        ("skew=0.5", "skew=0.5 is invalid: expected a number from 1 to E/K=4 of shape 1"),
        ("skew=.nan", "skew=nan: allowed"),
        ("contestants=lop", "contestants=lop: unknown; did you mean 'loop'"),
        ("rounds", "rounds: expected key=value"),
    ],
)
def test_a_setting_that_cannot_work_is_refused(setting, message):
    with pytest.raises(ConfigError, match=message):
        check(parse([setting]), SHAPES, OVER)


def test_cuda_is_refused_where_there_is_none(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="device=cuda is invalid: expected cpu here"):
        check(Settings(device="cuda"), SHAPES, OVER)


@pytest.mark.parametrize("setting", ["shapes=1", "skew=2", "contestants=loop"])
def test_a_setting_that_would_change_nothing_is_refused(setting):
    with pytest.raises(ConfigError, match="changes nothing with over=experts"):
        check(parse(["over=experts", setting]), SHAPES, OVER)


def test_lists_and_nulls_are_read():
    settings = parse(["shapes=2", "contestants=[loop,st_moe]", "threads=null", "out=12"])
    assert settings.shapes == (2,)
    assert settings.contestants == ("loop", "st_moe")
    assert settings.threads is None
    assert settings.out == "12"
    assert parse(["contestants=null"]) == Settings()


def test_bad_settings_leave_no_folder(tmp_path, capsys):
    assert main(["bench", "rounds=0", f"out={tmp_path / 'new'}"]) == 2
    assert "error: rounds=0" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_a_folder_that_cannot_be_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"out=.*: cannot be written"):
        shown(Settings(shapes=(1,), out=str(tmp_path / "file" / "folder"), **QUICK), shapes=SMALL)


def test_help_has_every_key(capsys):
    with pytest.raises(SystemExit):
        main(["bench", "--help"])
    text = capsys.readouterr().out
    assert describe() in text
    assert all(f"{key}=" in text for key in Settings.__dataclass_fields__)


# races


def test_every_contestant_is_once_in_every_place():
    names = ["a", "b", "c"]
    orders = [rotated(names, number) for number in range(3)]
    assert all(sorted(order) == names for order in orders)
    assert all(sorted(place) == names for place in zip(*orders, strict=True))
    assert rotated([], 5) == []


def test_all_of_a_round_get_one_batch_and_no_batch_comes_twice():
    seen = {"a": [], "b": []}
    keep = {name: lone(lambda x, name=name: seen[name].append(x) or x * 1.0) for name in seen}
    times = raced(keep, rounds=4)
    assert {len(t.step) for t in times.values()} == {len(t.forward) for t in times.values()} == {4}
    batches = seen["a"][::2]  # each runs twice: with gradients, and without
    assert len(batches) == WARMUP + 4
    assert all(torch.equal(a, b) for a, b in zip(seen["a"], seen["b"], strict=True))
    assert not any(torch.equal(a, b) for a, b in itertools.pairwise(batches))


def test_gradients_are_gone_before_and_after():
    layer = nn.Linear(2, 2)
    before = []

    def forward(x):
        before.append(layer.weight.grad)
        return layer(x)

    raced({"linear": lone(forward, module=layer)})
    assert before == [None] * len(before)
    assert layer.weight.grad is None


def test_the_slow_run_few_rounds():
    calls = []
    slow = lone(lambda x: calls.append(x) or x * 1.0, patience=0.0)
    times = raced({"slow": slow, "fast": lone()}, rounds=FEW + 4)
    assert len(times["slow"].step) == FEW
    assert len(calls) == 2 * (FEW_WARMUP + FEW)
    assert len(times["fast"].step) == FEW + 4


@pytest.mark.parametrize("round_of_failure", [0, WARMUP + 1])
def test_one_that_raises_is_reported_and_the_others_go_on(round_of_failure):
    calls = []

    def forward(x):
        calls.append(x)
        if len(calls) > 2 * round_of_failure:
            raise ValueError("no such luck\nand more")
        return x * 1.0

    times = raced({"bad": lone(forward), "good": lone()})
    assert times["bad"].error == "failed: ValueError: no such luck"
    assert times["good"].error is None
    assert len(times["good"].step) == 4


def test_rounds_that_do_not_count_are_run_again():
    answers = iter([None] * 2 * WARMUP + [None, 1.0] + [1.0] * 100)

    def clock(work):
        work()
        return next(answers)

    times = race({"a": lone()}, lambda: torch.zeros(3, 2), torch.ones(3, 2), 4, clock)["a"]
    assert (len(times.step), times.set_aside, times.error) == (4, 1, None)


def test_one_that_never_comes_to_rest_says_so():
    def clock(work):
        work()

    times = race({"a": lone()}, lambda: torch.zeros(3, 2), torch.ones(3, 2), 4, clock)["a"]
    assert "did not come to rest" in times.error


def test_a_clock_sets_aside_what_ran_while_the_heap_grew():
    def grow():
        with mmap.mmap(-1, 2**23) as fresh:
            fresh.write(bytes(2**23))

    assert settled_clock(lambda: None)(grow) is None
    assert plain_clock(lambda: None)(grow) > 0
    assert settled_clock(lambda: None)(lambda: None) > 0


def test_costs_are_medians_relative_to_dense_per_flop():
    shape = Shape(1, 1, 1, 8, 1)  # 4 FLOPs per token
    dense = Times(step=[2.0, 2.0, 9.0], forward=[1.0, 1.0, 1.0])
    times = Times(step=[1.0, 3.0, 100.0], forward=[2.0, 4.0, 6.0])
    peak = measure_peak(CPU, list)
    cost = cost_of(lone(flops=8), times, dense, shape, peak)
    assert (cost.step.median, cost.step.low, cost.step.high) == (3000.0, 2000.0, 51500.0)
    assert cost.step_ratio == 3 / 2 / 2
    assert cost.forward_ratio == 4 / 2
    assert cost.rounds == 3


# memory


def test_peak_counts_what_is_held_at_once():
    def work():
        first = torch.empty(1000)
        del first
        second, third = torch.empty(500), torch.empty(2000)
        del second
        return [third]

    peak = measure_peak(CPU, work)
    assert peak.total == 4 * 2500
    assert peak.working == 4 * 1000  # the first, before it was freed


def test_peak_of_a_layer_tells_gradients_from_the_rest():
    layer, x = nn.Linear(64, 32, bias=False), torch.randn(16, 64)

    def work():
        layer(x).backward(torch.ones(16, 32))
        return [layer.weight.grad]

    peak = measure_peak(CPU, work)
    assert peak.total >= 4 * 64 * 32 + peak.working > 4 * 64 * 32


# skew


@pytest.mark.parametrize("target", [2.0, 3.0, 4.0])
def test_skew_reaches_its_target(target):
    torch.manual_seed(0)
    router, x = routers.build("topk", 16, 8, k=2), torch.randn(512, 16)
    skew = find_skew(router, x, target, torch.Generator().manual_seed(0))
    assert load_ratio(router, x) < target <= load_ratio(router, skew(x)) < target + 0.05


def test_skew_leaves_what_is_skewed_enough():
    router, x = routers.build("topk", 16, 8, k=2), torch.randn(64, 16)
    skew = find_skew(router, x, 1.0, torch.Generator())
    assert torch.equal(skew(x), x)


# contestants

OURS = [name for name in CONTESTANTS if name in {"dense", *routers.available()}]


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_ours_keep_shape_and_dtype(name, dtype):
    contestant = CONTESTANTS[name](TINY, dtype, CPU)
    x = torch.randn(TINY.tokens, TINY.dim, dtype=dtype, requires_grad=True)
    y = contestant.forward(x)
    y.backward(torch.ones_like(y))
    assert (y.shape, y.dtype) == (x.shape, dtype)
    assert x.grad is not None


def test_the_loop_computes_what_topk_does():
    torch.manual_seed(0)
    router = routers.build("topk", TINY.dim, TINY.experts, k=TINY.k)
    loop, bank = Loop(router, TINY), experts.build("mlp", TINY.dim, TINY.experts, hidden=24)
    loop.up, loop.down = bank.up, bank.down
    x = torch.randn(64, TINY.dim)
    torch.testing.assert_close(loop(x), experts.mix_reference(x, router(Items(x)), bank))


def test_what_cannot_run_at_a_shape_says_why():
    factories = {name: CONTESTANTS[name] for name in ("soft_mixture", "soft_moe")}
    built, absent = build(factories, Shape(300, 16, 8, 32, 2), torch.float32, CPU, seed=0)
    assert not built
    assert "E=32 is above 8" in absent["soft_mixture"]
    assert "N=300 is not a multiple" in absent["soft_moe"]


@pytest.mark.parametrize("package", ["transformers", "pytorch_mixtures", "st_moe_pytorch"])
def test_a_missing_peer_says_how_to_install_it(package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(LeftOutError, match=r"^not installed: pip install it"):
        import_peer(package, "pip install it")


def test_what_a_peer_lacks_is_named(tmp_path, monkeypatch):
    (tmp_path / "halfpeer.py").write_text("import nowhere_to_be_found")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(LeftOutError, match="needs nowhere_to_be_found, which is not installed"):
        import_peer("halfpeer", "pip install halfpeer")


def test_dense_and_topk_always_run():
    assert chosen(["loop"]) == ["dense", "topk", "loop"]
    assert chosen(None) == list(CONTESTANTS)


def test_growth_changes_the_number_of_experts_alone():
    assert [shape.experts for shape in GROWTH] == [2**power for power in range(3, 13)]
    assert {replace(shape, experts=1) for shape in GROWTH} == {Shape(4096, 128, 128, 1, 4)}


# whole runs


def test_shapes_end_to_end(tmp_path, monkeypatch):
    for package in ("transformers", "pytorch_mixtures", "st_moe_pytorch"):
        monkeypatch.setitem(sys.modules, package, None)

    def broken(shape, dtype, device):
        raise RuntimeError("broken inside")

    settings = Settings(shapes=(1, 2), skew=3.0, out=str(tmp_path), **QUICK)
    text = shown(settings, shapes=SMALL, factories={**CONTESTANTS, "broken": broken})
    assert "Shape 1: N=256 D=16 H=24 E=8 K=2" in text
    assert "fresh batch each round" in text
    assert "soft_mixture left out: it runs all experts" in text
    assert "st_moe left out: not installed: pip install st-moe-pytorch" in text
    assert "broken failed: RuntimeError: broken inside" in text
    assert "topk, skew 3: the busiest expert has" in text
    rows = read_rows(tmp_path / "shapes-cpu-float32.csv")
    assert {row["shape"] for row in rows} == {"1", "2"}
    by_name = {row["contestant"]: row for row in rows if row["shape"] == "1"}
    assert list(by_name) == ["dense", "topk", "topk_skewed", *list(CONTESTANTS)[2:], "broken"]
    assert float(by_name["dense"]["step_ratio"]) == 1.0
    assert float(by_name["soft_mixture"]["flops_ratio"]) == 4.0
    assert float(by_name["topk_skewed"]["load_ratio"]) == pytest.approx(3.0, abs=0.4)
    assert float(by_name["loop"]["peak_mib"]) >= float(by_name["loop"]["working_mib"]) > 0
    assert by_name["loop"]["measured_rounds"] == by_name["loop"]["rounds"] == "2"
    assert by_name["mixtral_eager"]["step_ms"] == ""
    record = json.loads((tmp_path / "shapes-cpu-float32.json").read_text())
    assert record["settings"]["skew"] == 3.0
    assert record["torch"] == torch.__version__
    assert (tmp_path / "shapes-cpu-float32.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (tmp_path / "shapes-cpu-float32.svg").read_text()
    assert not list(tmp_path.glob("*.part"))


def test_experts_end_to_end(tmp_path):
    growth = [replace(TINY, experts=count) for count in (4, 8, 16)]
    text = shown(Settings(over="experts", out=str(tmp_path), **QUICK), growth=growth)
    assert "topk as E grows; N=256 D=16 H=24 K=2" in text
    assert "doubling" in text
    rows = read_rows(tmp_path / "experts-cpu-float32.csv")
    assert [row["num_experts"] for row in rows] == ["4", "8", "16"]
    assert (tmp_path / "experts-cpu-float32.png").exists()


def test_without_matplotlib_the_table_is_there_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    settings = Settings(shapes=(1,), contestants=("loop",), out=str(tmp_path), **QUICK)
    assert "no plot: matplotlib" in shown(settings, shapes=SMALL)
    assert (tmp_path / "shapes-cpu-float32.csv").exists()
    assert not (tmp_path / "shapes-cpu-float32.png").exists()


def test_nothing_is_compared_where_dense_fails(tmp_path):
    def broken(shape, dtype, device):
        raise RuntimeError("broken inside")

    settings = Settings(shapes=(1,), out=str(tmp_path), **QUICK)
    with pytest.raises(FailedError, match="dense failed: RuntimeError: broken inside"):
        shown(settings, shapes=SMALL, factories={"dense": broken})


def test_the_command_runs(tmp_path, capsys):
    arguments = ["shapes=4", "rounds=1", "contestants=soft_mixture", "allocator=default"]
    assert main(["bench", *arguments, f"out={tmp_path}"]) == 0
    text = capsys.readouterr().out
    assert "Shape 4: N=2048 D=64 H=128 E=8 K=2" in text
    assert "soft_moe" not in text
    rows = read_rows(tmp_path / "shapes-cpu-float32.csv")
    assert [row["contestant"] for row in rows] == ["dense", "topk", "soft_mixture"]
    assert {row["contestants"] for row in rows} == {"soft_mixture"}
