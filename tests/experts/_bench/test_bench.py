"""``python -m experts bench``: settings, timing, memory and files, at tiny sizes."""

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
from experts._bench.baselines import Loop, import_peer
from experts._bench.candidates import (
    GROWTH,
    SHAPES,
    Candidate,
    Shape,
    SkipBenchmark,
    load_ratio,
    skew_shift,
    skewed,
)
from experts._bench.measuring import (
    SLOW_ROUNDS,
    SLOW_WARMUP_ROUNDS,
    WARMUP_ROUNDS,
    Peak,
    Timings,
    benchmark,
    measure_peak,
    rotate,
    stable_heap_clock,
    wall_clock,
)
from experts._bench.run import CANDIDATES, BenchmarkError, run_bench
from experts._bench.settings import Settings, check, describe, parse
from experts._bench.tables import Cost, Measurement, csv_text, growth_table, notes, remarks
from routers import ConfigError, Items

TINY = Shape(256, 16, 24, 8, 2)
WIDE = Shape(256, 16, 8, 32, 4)
CPU = torch.device("cpu")
SMALL = {1: TINY, 2: WIDE}
QUICK = {"rounds": 2, "allocator": "default"}


def candidate_without_parameters(forward=lambda x: x * 1.0, **changes):
    return replace(Candidate("identity", nn.Identity(), forward, flops=1), **changes)


def time_all(candidates, rounds=4, clock=None):
    def draw():
        return torch.randn(3, 2)

    clock = clock or wall_clock(lambda: None)
    return benchmark(candidates, draw, torch.ones(3, 2), rounds, clock)


def run_and_read(settings, **changes):
    """Run the benchmark; returns its output with whitespace collapsed."""
    console = Console(width=160, file=io.StringIO())
    run_bench(settings, console, **changes)
    return " ".join(console.file.getvalue().split())


def read_rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def raise_error(*_):
    raise RuntimeError("broken inside")


# settings


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("divice=cpu", "divice: unknown; did you mean 'device'"),
        ("device=tpu", "device=tpu: unknown.* Allowed: cpu, cuda"),
        ("dtype=float31", "dtype=float31: unknown; did you mean 'float32'"),
        ("over=expert", "over=expert: unknown; did you mean 'experts'"),
        ("shapes=1,7", r"shapes=7: unknown.* Allowed: 1, 2, 3, 4, 5, 6"),
        ("shapes=1,1", "shapes=1,1.* one or more of 1,2,3,4,5,6, without duplicates"),
        ("shapes=[]", "shapes=.* one or more of 1,2"),
        ("shapes=a", "shapes=a is invalid: expected list of int, got list of str"),
        ("rounds=0", "rounds=0.* an integer >= 1"),
        ("rounds=many", "rounds=many is invalid: expected int, got str"),
        ("threads=0", "threads=0.* an integer >= 1, or null"),
        ("allocator=tune", "allocator=tune: unknown; did you mean 'tuned'"),
        ("seed=-1", r"seed=-1.* an integer in \[0, 2\*\*63\)"),
        ("skew=0.5", r"skew=0.5.* a number in \[1, E/K=4\] for shape 1"),
        ("skew=.nan", r"skew=nan.* a number in \[1"),
        ("candidates=lop", "candidates=lop: unknown; did you mean 'loop'"),
        ("candidate=loop", "candidate: unknown; did you mean 'candidates'"),
        ("rounds", "rounds is invalid: expected key=value"),
    ],
)
def test_invalid_settings_are_rejected(setting, message):
    with pytest.raises(ConfigError, match=message):
        check(parse([setting]), SHAPES, CANDIDATES)


def test_cuda_is_rejected_if_unavailable(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"device=cuda.* cpu.*PyTorch finds no CUDA device"):
        check(Settings(device="cuda"), SHAPES, CANDIDATES)


@pytest.mark.parametrize("setting", ["shapes=1", "skew=2", "candidates=loop"])
def test_settings_without_effect_are_rejected(setting):
    with pytest.raises(ConfigError, match="is invalid: it has no effect with over=experts"):
        check(parse(["over=experts", setting]), SHAPES, CANDIDATES)


def test_lists_and_nulls_are_parsed():
    settings = parse(["shapes=2", "candidates=[loop,st_moe]", "threads=null", "out=12"])
    assert settings.shapes == (2,)
    assert settings.candidates == ("loop", "st_moe")
    assert settings.threads is None
    assert settings.out == "12"
    assert parse(["candidates=null"]) == Settings()


def test_invalid_settings_create_no_folder(tmp_path, capsys):
    assert main(["bench", "rounds=0", f"out={tmp_path / 'new'}"]) == 2
    assert "error: rounds=0" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_an_unwritable_folder_is_rejected(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"out=.* is invalid: expected a writable folder"):
        run_and_read(
            Settings(shapes=(1,), out=str(tmp_path / "file" / "folder"), **QUICK), shapes=SMALL
        )


def test_help_lists_every_key(capsys):
    with pytest.raises(SystemExit):
        main(["bench", "--help"])
    text = capsys.readouterr().out
    assert describe() in text
    assert all(f"{key}=" in text for key in Settings.__dataclass_fields__)


# timing


def test_each_candidate_runs_once_at_each_position():
    names = ["a", "b", "c"]
    orders = [rotate(names, number) for number in range(3)]
    assert all(sorted(order) == names for order in orders)
    assert all(sorted(position) == names for position in zip(*orders, strict=True))
    assert rotate([], 5) == []


def test_candidates_of_a_round_share_a_batch_that_never_repeats():
    seen = {"a": [], "b": []}
    keep = {
        name: candidate_without_parameters(lambda x, name=name: seen[name].append(x) or x * 1.0)
        for name in seen
    }
    times = time_all(keep, rounds=4)
    assert {len(t.step) for t in times.values()} == {len(t.forward) for t in times.values()} == {4}
    batches = seen["a"][::2]  # each runs twice: with gradients, and without
    assert len(batches) == WARMUP_ROUNDS + 4
    assert all(torch.equal(a, b) for a, b in zip(seen["a"], seen["b"], strict=True))
    assert not any(torch.equal(a, b) for a, b in itertools.pairwise(batches))


def test_gradients_are_freed_before_and_after_each_call():
    layer = nn.Linear(2, 2)
    before = []

    def forward(x):
        before.append(layer.weight.grad)
        return layer(x)

    time_all({"linear": candidate_without_parameters(forward, module=layer)})
    assert before == [None] * len(before)
    assert layer.weight.grad is None


def test_slow_candidates_run_few_rounds():
    calls = []
    slow = candidate_without_parameters(lambda x: calls.append(x) or x * 1.0, patience=0.0)
    times = time_all({"slow": slow, "fast": candidate_without_parameters()}, rounds=SLOW_ROUNDS + 4)
    assert len(times["slow"].step) == SLOW_ROUNDS
    assert len(calls) == 2 * (SLOW_WARMUP_ROUNDS + SLOW_ROUNDS)
    assert len(times["fast"].step) == SLOW_ROUNDS + 4


@pytest.mark.parametrize("round_of_failure", [0, WARMUP_ROUNDS + 1])
def test_an_exception_is_recorded_and_the_others_continue(round_of_failure):
    calls = []

    def forward(x):
        calls.append(x)
        if len(calls) > 2 * round_of_failure:
            raise ValueError("no luck\nand more")
        return x * 1.0

    times = time_all(
        {"bad": candidate_without_parameters(forward), "good": candidate_without_parameters()}
    )
    assert times["bad"].error == "failed: ValueError: no luck"
    assert times["good"].error is None
    assert len(times["good"].step) == 4


def test_discarded_rounds_are_repeated():
    answers = iter([None] * 2 * WARMUP_ROUNDS + [None, 1.0] + [1.0] * 100)

    def clock(work):
        work()
        return next(answers)

    times = time_all({"a": candidate_without_parameters()}, clock=clock)["a"]
    assert (len(times.step), times.discarded, times.error) == (4, 1, None)


def test_a_candidate_whose_heap_always_grows_fails():
    def clock(work):
        work()

    times = time_all({"a": candidate_without_parameters()}, clock=clock)["a"]
    assert times.error == "failed: the heap grew in every round"


def test_the_stable_heap_clock_discards_calls_that_grow_the_heap():
    def grow():
        with mmap.mmap(-1, 2**23) as fresh:
            fresh.write(bytes(2**23))

    assert stable_heap_clock(lambda: None)(grow) is None
    assert wall_clock(lambda: None)(grow) > 0
    assert stable_heap_clock(lambda: None)(lambda: None) > 0


def test_costs_are_medians_relative_to_dense_per_flop():
    dense = Timings(step=[2.0, 2.0, 9.0], forward=[1.0, 1.0, 1.0])
    times = Timings(step=[1.0, 3.0, 100.0], forward=[2.0, 4.0, 6.0], discarded=5)
    cost = Cost.of(times, dense, 2.0, Peak(total=3 * 2**20, working=2**19))
    assert (cost.step_ms, cost.step_ms_q1, cost.step_ms_q3) == (3000.0, 2000.0, 51500.0)
    assert (cost.forward_ms, cost.forward_ms_q1, cost.forward_ms_q3) == (4000.0, 3000.0, 5000.0)
    assert cost.step_ratio == 3 / 2 / 2
    assert cost.forward_ratio == 4 / 2
    assert (cost.measured_rounds, cost.discarded_rounds) == (3, 5)
    assert (cost.peak_mib, cost.working_mib) == (3.0, 0.5)


# tables


def measured(num_experts, step_ms, candidate="topk", discarded=0, load_ratio=None):
    cost = Cost(3, discarded, step_ms, 1.0, 9.0, 1.0, 2 * step_ms, 1.0, 9.0, 1.0, 4.0, 2.0)
    sizes = Shape(256, 16, 24, num_experts, 2)
    about = ("", "a note", 1536, 1.0, load_ratio)
    return Measurement("1", sizes, candidate, candidate, *about, cost)


def printed(table):
    console = Console(width=80, file=io.StringIO())
    console.print(table)
    return console.file.getvalue()


def test_the_growth_table_shows_the_factor_of_each_doubling():
    rows = [measured(8, 2.0), measured(16, 3.0), measured(32, 6.0)]
    lines = [line.split() for line in printed(growth_table(rows, "headline")).splitlines()]
    factors = {line[0]: line[-2:] for line in lines if line and line[0] in {"16", "32"}}
    assert factors == {"16": ["1.50", "1.50"], "32": ["2.00", "2.00"]}
    assert ["8", "2.00", "1.00", "4.00", "1.00", "4.0", "2.0"] in lines


def test_remarks_state_the_cost_of_skew_and_the_reasons_for_absence():
    skewed_row = measured(8, 3.0, "topk_skewed", load_ratio=2.0)
    absent = Measurement("1", TINY, "st_moe", "st_moe", absent="skipped: not installed")
    skew, reason = remarks([measured(8, 2.0), skewed_row, absent])
    assert "2.00 times the mean load" in skew
    assert skew.endswith("1.50, forward 1.50")
    assert reason == "st_moe skipped: not installed"


def test_notes_count_discarded_rounds_and_do_not_repeat():
    lines = notes([measured(8, 2.0, discarded=2), measured(16, 2.0, discarded=3)])
    assert "rounds discarded because the heap grew: topk 5" in lines
    assert lines.count("topk: a note") == 1
    assert not any("discarded" in line for line in notes([measured(8, 2.0)]))


def test_csv_lines_of_all_measurements_have_the_same_columns():
    absent = Measurement("1", TINY, "st_moe", "st_moe", absent="skipped: not installed")
    first, second = csv.DictReader(io.StringIO(csv_text([absent, measured(8, 2.0)], {"seed": 0})))
    assert list(first) == list(second)
    assert list(first)[:8] == [
        *("shape", "tokens", "dim", "hidden", "num_experts", "k", "candidate", "label")
    ]
    assert (first["step_ms"], first["absent"], first["seed"]) == ("", "skipped: not installed", "0")
    assert (second["step_ms"], second["forward_ms"], second["working_mib"]) == ("2.0", "4.0", "2.0")


# memory


def test_peak_counts_memory_held_at_once():
    def work():
        first = torch.empty(1000)
        del first
        second, third = torch.empty(500), torch.empty(2000)
        del second
        return [third]

    peak = measure_peak(CPU, work)
    assert peak.total == 4 * 2500
    assert peak.working == 4 * 1000  # the first, before it was freed


def test_working_memory_excludes_parameter_gradients():
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
    skew = skew_shift(router, x, target, torch.Generator().manual_seed(0))
    assert load_ratio(router, x) < target <= load_ratio(router, x + skew) < target + 0.05


def test_skew_is_zero_if_the_batch_reaches_its_target():
    router, x = routers.build("topk", 16, 8, k=2), torch.randn(64, 16)
    skew = skew_shift(router, x, 1.0, torch.Generator())
    assert torch.equal(x + skew, x)


def test_a_skewed_candidate_reports_the_load_of_its_batches():
    topk = CANDIDATES["topk"](TINY, torch.float32, CPU)
    generator = torch.Generator().manual_seed(0)

    def draw():
        return torch.randn(TINY.tokens, TINY.dim, generator=generator)

    candidate = skewed(topk, 3.0, draw, generator)
    router, batch = topk.module.get_submodule("router"), draw()
    reached = load_ratio(router, candidate.prepare(batch))
    assert candidate.load_ratio == pytest.approx(3.0, abs=0.5)
    assert reached == pytest.approx(3.0, abs=0.5)
    assert load_ratio(router, batch) < 2
    assert candidate.module is topk.module


# candidates

OURS = [name for name in CANDIDATES if name in {"dense", *routers.available()}]


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_our_layers_keep_shape_and_dtype(name, dtype):
    candidate = CANDIDATES[name](TINY, dtype, CPU)
    x = torch.randn(TINY.tokens, TINY.dim, dtype=dtype, requires_grad=True)
    y = candidate.forward(x)
    y.backward(torch.ones_like(y))
    assert (y.shape, y.dtype) == (x.shape, dtype)
    assert x.grad is not None


def test_the_loop_agrees_with_the_reference():
    torch.manual_seed(0)
    router = routers.build("topk", TINY.dim, TINY.num_experts, k=TINY.k)
    loop, bank = Loop(router, TINY), experts.build("mlp", TINY.dim, TINY.num_experts, hidden=24)
    loop.up, loop.down = bank.up, bank.down
    x = torch.randn(64, TINY.dim)
    torch.testing.assert_close(loop(x), experts.mix_reference(x, router(Items(x)), bank))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("soft_mixture", "E=32 exceeds 8"),
        ("soft_moe", "N=300 is not a multiple of the group size 256"),
        ("st_moe", "N=300 is not a multiple of the group size 256"),
    ],
)
def test_a_candidate_that_cannot_run_at_a_shape_is_skipped(name, message):
    with pytest.raises(SkipBenchmark, match=message):
        CANDIDATES[name](Shape(300, 16, 8, 32, 2), torch.float32, CPU)


@pytest.mark.parametrize("package", ["transformers", "pytorch_mixtures", "st_moe_pytorch"])
def test_a_missing_library_is_skipped_with_its_install_command(package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(SkipBenchmark, match=r"^not installed: pip install it"):
        import_peer(package, "pip install it")


def test_a_missing_dependency_of_a_library_is_named(tmp_path, monkeypatch):
    (tmp_path / "halfpeer.py").write_text("import nowhere_to_be_found")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SkipBenchmark, match="its dependency nowhere_to_be_found is not installed"):
        import_peer("halfpeer", "pip install halfpeer")


def test_growth_changes_only_the_number_of_experts():
    assert [shape.num_experts for shape in GROWTH] == [2**power for power in range(3, 13)]
    assert {replace(shape, num_experts=1) for shape in GROWTH} == {Shape(4096, 128, 128, 1, 4)}


# whole runs


def test_shapes_end_to_end(tmp_path, monkeypatch):
    for package in ("transformers", "pytorch_mixtures", "st_moe_pytorch"):
        monkeypatch.setitem(sys.modules, package, None)

    settings = Settings(shapes=(1, 2), skew=3.0, out=str(tmp_path), **QUICK)
    text = run_and_read(settings, shapes=SMALL, factories={**CANDIDATES, "broken": raise_error})
    assert "Shape 1: N=256 D=16 H=24 E=8 K=2" in text
    assert "fresh batch each round" in text
    assert "soft_mixture skipped: it runs all experts" in text
    assert "st_moe skipped: not installed: pip install st-moe-pytorch" in text
    assert "broken failed: RuntimeError: broken inside" in text
    assert "topk, skew 3: the busiest expert has" in text
    assert "soft_mixture: all experts process all tokens" in text
    rows = read_rows(tmp_path / "shapes-cpu-float32.csv")
    assert {row["shape"] for row in rows} == {"1", "2"}
    by_name = {row["candidate"]: row for row in rows if row["shape"] == "1"}
    assert list(by_name) == ["dense", "topk", "topk_skewed", *list(CANDIDATES)[2:], "broken"]
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
    growth = [replace(TINY, num_experts=count) for count in (4, 8, 16)]
    text = run_and_read(Settings(over="experts", out=str(tmp_path), **QUICK), growth=growth)
    assert "topk by number of experts E: N=256 D=16 H=24 K=2" in text
    assert "doubling" in text
    rows = read_rows(tmp_path / "experts-cpu-float32.csv")
    assert [row["shape"] for row in rows] == ["E=4", "E=8", "E=16"]
    assert [row["num_experts"] for row in rows] == ["4", "8", "16"]
    assert {(row["candidate"], row["label"], row["absent"]) for row in rows} == {
        ("topk", "topk", "")
    }
    assert all(float(row["step_ratio"]) > 0 for row in rows)
    assert (tmp_path / "experts-cpu-float32.png").exists()


def fail_when_called(shape, dtype, device):
    return candidate_without_parameters(raise_error)


@pytest.mark.parametrize("over", ["shapes", "experts"])
@pytest.mark.parametrize("dense", [raise_error, fail_when_called])
def test_a_failing_dense_baseline_ends_the_run(tmp_path, over, dense):
    shapes = dict.fromkeys(Settings().shapes, TINY)
    settings = Settings(over=over, out=str(tmp_path), **QUICK)
    factories = {"dense": dense, "topk": CANDIDATES["topk"]}
    message = "dense failed: RuntimeError: broken inside; no ratio can be reported"
    with pytest.raises(BenchmarkError, match=message):
        run_and_read(settings, shapes=shapes, growth=[TINY], factories=factories)
    assert not list(tmp_path.iterdir())


def test_a_failing_size_ends_a_run_over_experts(tmp_path):
    settings = Settings(over="experts", out=str(tmp_path), **QUICK)
    factories = {"dense": CANDIDATES["dense"], "topk": fail_when_called}
    with pytest.raises(BenchmarkError, match="topk with E=8 failed: RuntimeError: broken inside"):
        run_and_read(settings, growth=[TINY], factories=factories)


def test_completed_shapes_survive_a_later_failure(tmp_path):
    def dense(shape, dtype, device):
        return (raise_error if shape is WIDE else CANDIDATES["dense"])(shape, dtype, device)

    settings = Settings(shapes=(1, 2), out=str(tmp_path), **QUICK)
    with pytest.raises(BenchmarkError, match="shape 2: dense failed"):
        run_and_read(settings, shapes=SMALL, factories={"dense": dense, "topk": CANDIDATES["topk"]})
    rows = read_rows(tmp_path / "shapes-cpu-float32.csv")
    assert [(row["shape"], row["candidate"]) for row in rows] == [("1", "dense"), ("1", "topk")]


def test_the_command_runs(tmp_path, capsys):
    arguments = ["shapes=4", "rounds=1", "candidates=soft_mixture", "allocator=default"]
    assert main(["bench", *arguments, f"out={tmp_path}"]) == 0
    text = capsys.readouterr().out
    assert "Shape 4: N=2048 D=64 H=128 E=8 K=2" in text
    assert "soft_moe" not in text
    rows = read_rows(tmp_path / "shapes-cpu-float32.csv")
    assert [row["candidate"] for row in rows] == ["dense", "topk", "soft_mixture"]
    assert {row["candidates"] for row in rows} == {"soft_mixture"}
