"""Running the benchmark: which candidates, over what, and where results go."""

import io
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from rich.console import Console
from torch import Tensor

from routers import ConfigError

from .baselines import OTHERS, dense, mixtral_converted
from .candidates import GROWTH, OURS, SHAPES, Candidate, Factory, Shape, SkipBenchmark, skewed
from .measuring import Peak, benchmark, failure, measure_peak, stable_heap_clock, step, wall_clock
from .plot import growth_plot, ratio_plot
from .settings import DTYPES, Environment, Settings, check, columns, headline, record, set_up
from .tables import Cost, Measurement, csv_text, growth_table, notes, remarks, shape_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_FACTORIES = (dense, *OURS, mixtral_converted, *OTHERS)

#: All candidates by name, in the order of tables and plots; dense and topk always run.
CANDIDATES = {factory.__name__: factory for factory in _FACTORIES}


class BenchmarkError(Exception):
    """The dense baseline or a size of ``over=experts`` failed, so no ratio can be reported."""


def run_bench(
    settings: Settings,
    console: Console,
    *,
    factories: Mapping[str, Factory] = CANDIDATES,
    shapes: Mapping[int, Shape] = SHAPES,
    growth: Sequence[Shape] = GROWTH,
) -> None:
    """Run the benchmark; prints tables to the console and writes files to ``settings.out``.

    Sets the number of threads and, if configured, the allocator of the whole process. ``shapes``
    are those for ``over=shapes``, ``growth`` those for ``over=experts``, which differ only in
    ``E``. Raises ``ConfigError`` for an invalid setting, before anything runs, ``BenchmarkError``
    if the dense baseline fails, and ``OSError`` if results cannot be written.
    """
    check(settings, shapes, factories)
    folder = _make_folder(settings.out)
    environment = set_up(settings)
    torch.manual_seed(settings.seed)
    run = BenchmarkRun(settings, environment, factories, folder, console)
    console.print(f"writing results to {folder}", markup=False)
    if settings.over == "experts":
        over_experts(run, growth)
    else:
        over_shapes(run, {number: shapes[number] for number in settings.shapes})
    run.write("json", json.dumps(record(settings, environment), indent=2) + "\n")


@dataclass(frozen=True)
class BenchmarkRun:
    """One run of the command: validated settings, candidates by name, and where output goes."""

    settings: Settings
    environment: Environment
    factories: Mapping[str, Factory]
    folder: Path
    console: Console

    def batches(self, shape: Shape) -> tuple[Callable[[], Tensor], torch.Generator]:
        """A function that returns a fresh batch ``(N, D)``, and its generator.

        The generator is on the CPU, so that all devices get the same batches.
        """
        generator = torch.Generator().manual_seed(self.settings.seed)

        def draw() -> Tensor:
            batch = torch.randn(shape.tokens, shape.dim, generator=generator)
            return batch.to(self.settings.device, DTYPES[self.settings.dtype])

        return draw, generator

    def measure(
        self, name: str, shape: Shape, factories: Mapping[str, Factory]
    ) -> list[Measurement]:
        """Measure candidates side by side at the shape of this name; one row per factory."""
        device = torch.device(self.settings.device)
        built, absent = {}, {}
        for key, factory in factories.items():
            torch.manual_seed(self.settings.seed)
            try:
                built[key] = factory(shape, DTYPES[self.settings.dtype], device)
            except SkipBenchmark as reason:
                absent[key] = f"skipped: {reason}"
            except Exception as error:  # other libraries may raise any type
                absent[key] = failure(error)
        _require_dense(name, absent)
        draw, _ = self.batches(shape)
        gradient = draw()
        tuned = self.environment["allocator"] == "tuned"
        make_clock = stable_heap_clock if tuned else wall_clock
        clock = make_clock(torch.get_device_module(device).synchronize)
        timings = benchmark(built, draw, gradient, self.settings.rounds, clock)
        peaks = {}
        for key in [key for key in built if timings[key].error is None]:
            try:
                peaks[key] = _peak(built[key], device, draw(), gradient)
            except Exception as error:  # as in the timed rounds
                timings[key].error = failure(error)
        absent |= {key: each.error for key, each in timings.items() if each.error is not None}
        _require_dense(name, absent)
        rows = []
        for key in factories:
            if key not in built:
                rows.append(Measurement(name, shape, key, label=key, absent=absent[key]))
                continue
            c, cost = built[key], None
            work = c.flops / shape.flops
            if key not in absent:
                cost = Cost.of(timings[key], timings["dense"], work, peaks[key])
            about = (c.label, absent.get(key, ""), c.note, c.flops, work, c.load_ratio)
            rows.append(Measurement(name, shape, key, *about, cost))
        return rows

    def write(self, extension: str, content: str | bytes) -> None:
        """Replace an output file at once, named by what was varied, the device and the dtype."""
        settings = self.settings
        path = self.folder / f"{settings.over}-{settings.device}-{settings.dtype}.{extension}"
        part = path.with_name(path.name + ".part")
        part.write_bytes(content.encode() if isinstance(content, str) else content)
        os.replace(part, path)

    def write_rows(self, rows: Sequence[Measurement]) -> None:
        """Write measurements as CSV, with the settings and the environment of the run."""
        self.write("csv", csv_text(rows, columns(self.settings, self.environment)))

    def write_plot(self, figure: "Figure") -> None:
        """Write a plot as PNG and SVG."""
        for extension in ("png", "svg"):
            image = io.BytesIO()
            figure.savefig(image, format=extension, dpi=150)
            self.write(extension, image.getvalue())


def _peak(candidate: Candidate, device: torch.device, batch: Tensor, gradient: Tensor) -> Peak:
    x = candidate.prepare(batch).detach().requires_grad_()

    def work() -> list[Tensor]:
        step(candidate, x, gradient)
        return [p.grad for p in candidate.module.parameters() if p.grad is not None]

    try:
        return measure_peak(device, work)
    finally:
        candidate.module.zero_grad(set_to_none=True)


def _require_dense(shape: str, absent: Mapping[str, str]) -> None:
    if "dense" in absent:
        message = f"shape {shape}: dense {absent['dense']}; no ratio can be reported"
        raise BenchmarkError(f"{message} without the dense baseline")


def over_shapes(run: BenchmarkRun, shapes: Mapping[int, Shape]) -> None:
    """Measure candidates at one shape after another; results are saved after each shape."""
    names, skew = run.settings.candidates, run.settings.skew
    conditions = headline(run.settings, run.environment)
    selected: dict[str, Factory] = {}
    for name, factory in run.factories.items():
        if names is None or name in ("dense", "topk", *names):
            selected[name] = factory
        if name == "topk" and skew is not None:
            selected["topk_skewed"] = partial(_skewed, run, skew)
    rows: list[Measurement] = []
    for number, shape in shapes.items():
        # no progress bar: redrawing it would take time from what is measured
        run.console.print(f"measuring shape {number} …")
        found = run.measure(str(number), shape, selected)
        rows += found
        run.write_rows(rows)
        run.console.print(shape_table(found, conditions), *remarks(found), sep="\n", markup=False)
    run.console.print(*notes(rows), sep="\n", markup=False)
    run.write_plot(ratio_plot(rows, conditions))


def over_experts(run: BenchmarkRun, sizes: Sequence[Shape]) -> None:
    """Measure ``topk`` at growing numbers of experts.

    All sizes share the same rounds, so that disturbances of the machine affect them alike.
    """

    def at(shape: Shape) -> Factory:
        return lambda _, dtype, device: run.factories["topk"](shape, dtype, device)

    factories = {f"E={size.num_experts}": at(size) for size in sizes}
    _, *found = run.measure("E", sizes[0], {"dense": run.factories["dense"], **factories})
    for row in found:
        if row.absent:
            raise BenchmarkError(f"topk with {row.candidate} {row.absent}; no growth is reported")
    rows = [
        replace(row, shape=row.candidate, sizes=size, candidate="topk")
        for row, size in zip(found, sizes, strict=True)
    ]
    run.write_rows(rows)
    conditions = headline(run.settings, run.environment)
    run.console.print(growth_table(rows, conditions), *notes(rows), sep="\n", markup=False)
    run.write_plot(growth_plot(rows, conditions))


def _skewed(
    run: BenchmarkRun, skew: float, shape: Shape, dtype: torch.dtype, device: torch.device
) -> Candidate:
    return skewed(run.factories["topk"](shape, dtype, device), skew, *run.batches(shape))


def _make_folder(out: str) -> Path:
    folder, problem = Path(out).expanduser(), ""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        problem = f" ({error.strerror})"
    if problem or not os.access(folder, os.W_OK):
        raise ConfigError(f"out={out} is invalid: expected a writable folder{problem}")
    return folder
