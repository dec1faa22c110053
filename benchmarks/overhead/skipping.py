"""FLOPs, time and accuracy of evaluation that leaves out experts with little weight.

Three routers are trained on digits with five seeds. Each run is then evaluated without
``moe.skip`` and with one share after the other: FLOPs are counted, times are medians of passes
over the test split that take turns, weights are scaled back to their sum. Writes one row per run
to ``benchmarks/results/skipping.csv``, the plot next to it and the table to ``docs/edits.md``.

    python benchmarks/overhead/skipping.py             train what is missing, write table and plot
    python benchmarks/overhead/skipping.py --table     write table and plot from existing rows
    python benchmarks/overhead/skipping.py DIR         print the table of any other run
"""

import argparse
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import mean, median

import torch

from benchmarks.readme_tables.comparison import (
    RESULTS,
    Comparison,
    Row,
    average,
    column,
    interval,
    markdown,
    write_between,
)
from tasks import Run, load, quiet, routed_layers

PLOT = RESULTS / "skipping.svg"
PASSES = 15

#: Rules by their columns in the table.
POINTS: dict[str, Mapping[str, float]] = {
    "none": {},
    **{f"weight {share}": {"weight": share} for share in (0.1, 0.2, 0.4, 0.6, 0.8, 1.0)},
    **{f"mass {share}": {"mass": share} for share in (0.95, 0.9, 0.8, 0.6, 0.4)},
}

#: Points in the table of the page; the plot has all.
SHOWN = ("none", "weight 0.2", "weight 0.4", "weight 1.0", "mass 0.9", "mass 0.8", "mass 0.6")

COMMON = "task=digits trainer.max_epochs=30 trainer.accelerator=cpu trainer.logger=[]"
HEADINGS = ("run", "rule", "FLOPs per sample", "of all", "ms per sample", "of all", "change")


def figures(out: Path) -> Row:
    """FLOPs and milliseconds per sample and the score of a run, for every point."""
    quiet()
    run = load(out, "trainer.accelerator=cpu")
    found: Row = {}
    for point, rules in POINTS.items():
        set_rules(run, rules)
        result = run.test()
        found[f"{point} flops"] = round(result["compute"]["flops_per_item"], 1)
        found[f"{point} score"] = result["score"]["value"]
    return {**found, **{f"{point} ms": ms for point, ms in times(run).items()}}


def set_rules(run: Run, rules: Mapping[str, float]) -> None:
    """Skip by these rules in all layers of a run."""
    for layer in routed_layers(run.module.backbone):
        layer.skip, layer.renormalize = rules or None, True


@torch.inference_mode()
def times(run: Run) -> dict[str, float]:
    """Milliseconds per test sample of every point; reading and collating are not timed."""
    test, size = run.data.test, run.config.trainer.batch_size
    rows = len(test["y"])
    parts = [{n: v[i : i + size] for n, v in test.items()} for i in range(0, rows, size)]
    batches = [run.module.prepare_batch(part) for part in parts]
    run.module.eval()
    taken: dict[str, list[float]] = {point: [] for point in POINTS}
    for _ in range(1 + PASSES):  # the first warms up and does not count
        for point, rules in POINTS.items():
            set_rules(run, rules)
            start = time.perf_counter()
            for batch in batches:
                run.module.backbone(batch)
            taken[point].append(time.perf_counter() - start)
    return {point: round(1000 * median(t[1:]) / rows, 5) for point, t in taken.items()}


CLAIM = Comparison(
    rows=RESULTS / "skipping.csv",
    arms={
        "`topk`, 4 of 8": f"{COMMON} router=topk router.k=4",
        "`top_p`": f"{COMMON} router=top_p",
        "`soft_mixture`": f"{COMMON} router=soft_mixture",
    },
    seeds=(0, 1, 2, 3, 4),
    figures=figures,
)


def table() -> str:
    """The rows as a Markdown table; changes of the accuracy are paired by seed."""
    every = [line for arm in CLAIM.arms for line in lines(arm, CLAIM.of(arm))]
    return markdown(HEADINGS, [line for line in every if line[1] in SHOWN])


def lines(label: str, rows: list[Row]) -> list[list[str]]:
    """The lines of a table for the runs of one router."""
    found = []
    for point in POINTS:
        flops, ms, score = (f"{point} {name}" for name in ("flops", "ms", "score"))
        changes = [
            a - b for a, b in zip(column(rows, score), column(rows, "none score"), strict=True)
        ]
        cells = [label, point, f"{average(rows, flops):,.0f}"]
        cells.append(f"{mean(_shares(rows, flops, 'none flops')):.0%}")
        cells.append(f"{median(column(rows, ms)):.3f}")
        times_of_all = [100 * share for share in _shares(rows, ms, "none ms")]
        cells.append(f"{interval(times_of_all, 0)}%" if POINTS[point] else "100%")
        whole = f"accuracy {interval(column(rows, score), 4)}"
        found.append([*cells, interval(changes, 4) if POINTS[point] else whole])
    return found


def _shares(rows: list[Row], name: str, of: str) -> list[float]:
    """Paired by run, since the machine is not equally fast in all of them."""
    pairs = zip(column(rows, name), column(rows, of), strict=True)
    return [one / other for one, other in pairs]


def plot() -> None:
    """Plot the change of accuracy over the share of FLOPs and over that of the time."""
    import matplotlib as mpl

    mpl.use("agg")
    import matplotlib.pyplot as plt

    figure, both = plt.subplots(1, 2, figsize=(9, 4), layout="constrained", sharey=True)
    for axes, name, label in zip(both, ("flops", "ms"), ("FLOPs", "time"), strict=True):
        for arm, colour in zip(CLAIM.arms, ("C0", "C1", "C2"), strict=True):
            rows = CLAIM.of(arm)
            for rule, mark in (("weight", "o-"), ("mass", "s--")):
                points = ["none", *(point for point in POINTS if point.startswith(rule))]
                x = [mean(_shares(rows, f"{p} {name}", f"none {name}")) for p in points]
                y = [average(rows, f"{p} score") for p in points]
                axes.plot(x, y, mark, color=colour, label=f"{arm.replace('`', '')}, {rule}")
        axes.set(xlabel=f"{label} of evaluation, share of all experts")
    both[0].set(ylabel="test accuracy")
    both[0].legend(fontsize="small")
    figure.savefig(PLOT, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run", nargs="?", type=Path, help="folder of another run")
    parser.add_argument("--table", action="store_true", help="only write table and plot")
    given = parser.parse_args()
    if given.run is not None:
        print(markdown(HEADINGS, lines(given.run.name, [figures(given.run)])))
        return
    if not given.table:
        CLAIM.run_missing()
    write_between("edits.md", "skipping", table())
    plot()


if __name__ == "__main__":
    main()
