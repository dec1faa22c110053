"""A mixture distilled to a dense student: layer by layer, by its outputs, and both.

The student has as many active parameters in its layer as the mixture, without the router. All
students see the same number of batches: layers are fitted on 400 of them, and what trains after
that has so many steps less. Five seeds. Writes one row per arm and seed to
``benchmarks/results/edits_distilling.csv`` and the table to ``docs/edits.md``.

    python benchmarks/edits/distilling.py            train missing seeds, write the table
    python benchmarks/edits/distilling.py --table    write the table from existing rows
"""

from pathlib import Path
from typing import NamedTuple

from benchmarks.edits.study import Study, difference, edit, scores, train
from benchmarks.readme_tables.comparison import RESULTS, Row, markdown, write_between

FITTED = 400
LAYERS = f"[{{distil: {{steps: {FITTED}}}}}]"
DENSE = ("moe.num_experts=1", "router=uniform", "router.k=1", "losses={}")


class Case(NamedTuple):
    """A task: settings of the mixture, width of the student, batches, and settings of both."""

    mixture: tuple[str, ...]
    hidden: int
    steps: int
    common: tuple[str, ...]


CASES = {
    "permuted_digits": Case(
        ("task=permuted_digits", "router=topk"),
        16,
        1500,
        ("trainer.batch_size=64", "optimizer.lr=0.01"),
    ),
    "planted": Case(
        ("task=planted",),
        32,
        1200,
        ("trainer.batch_size=256", "optimizer.lr=0.03", "optimizer.weight_decay=0"),
    ),
}
SCRATCH = "student, from scratch"
ARMS = (
    "mixture, the teacher",
    SCRATCH,
    "layers fitted",
    "layers fitted, then trained",
    "trained with the teacher",
    "layers fitted, then trained with the teacher",
)


def of_seed(seed: int, folder: Path) -> list[Row]:
    """Accuracy of the teacher and of all students on the test split."""
    rows = list[Row]()
    for name, case in CASES.items():
        own, teacher = f"seed={seed}", folder / name
        whole, rest = (_steps(steps) for steps in (case.steps, case.steps - FITTED))
        dense = (f"task={name}", *DENSE, f"expert.hidden={case.hidden}", *case.common, own, *whole)
        start = (f"init.from={teacher}", f"init.edits={LAYERS}", *case.common, own, *rest)
        outputs = f"distil.of={teacher}"
        results = [
            train(teacher, *case.mixture, *case.common, own, *whole),
            train(folder / f"{name}-scratch", *dense),
            edit(teacher, LAYERS, folder / f"{name}-layers"),
            train(folder / f"{name}-fitted", *start),
            train(folder / f"{name}-outputs", *dense, outputs),
            train(folder / f"{name}-both", *start, outputs),
        ]
        for arm, result in zip(ARMS, results, strict=True):
            rows.append({"arm": f"{name}: {arm}", "accuracy": result["score"]["value"]})
    return rows


def _steps(number: int) -> tuple[str, ...]:
    never = "trainer.check_val_every_n_epoch=1000"  # the last step is validated in any case
    return f"trainer.max_steps={number}", "trainer.max_epochs=1000", never


STUDY = Study(RESULTS / "edits_distilling.csv", range(5), of_seed)
HEADINGS = ("task", "network", "accuracy", "less the student from scratch")


def table() -> str:
    """The rows as a Markdown table, differences paired by seed."""
    lines = list[list[str]]()
    for name in CASES:
        control = STUDY.of(f"{name}: {SCRATCH}")
        for arm in ARMS:
            rows = STUDY.of(f"{name}: {arm}")
            cells = [scores(rows, "accuracy", 3), difference(rows, control, "accuracy", 3)]
            lines.append([name, arm, *cells])
    return markdown(HEADINGS, lines)


if __name__ == "__main__":
    STUDY.run_command(__doc__, lambda: write_between("edits.md", "distilling", table()))
