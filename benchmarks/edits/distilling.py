"""A mixture distilled to a dense student: layer by layer, by its outputs, and by both.

Digits with hidden permutations of their pixels (``task=permuted_digits``). The student's layer has
as many parameters as are active in the mixture's, without the router. All students see the same
number of batches: layers are fitted on 400 of them, and what trains after that has so many steps
less. Labels are smoothed or not, as teachers with smoothed labels are known to teach less. Five
seeds. Writes one row per arm and seed to ``benchmarks/results/edits_distilling.csv`` and the table
to ``docs/edits.md``.

    python benchmarks/edits/distilling.py            train missing seeds, write the table
    python benchmarks/edits/distilling.py --table    write the table from existing rows
"""

from pathlib import Path

from benchmarks.edits.study import Study, difference, edit, scores, train
from benchmarks.readme_tables.comparison import RESULTS, Row, markdown, write_between

STEPS, FITTED = 1500, 400
LAYERS = f"[{{distil: {{steps: {FITTED}}}}}]"
DENSE = ("moe.num_experts=1", "router=uniform", "router.k=1", "losses={}")
COMMON = ("trainer.batch_size=64", "optimizer.lr=0.01")
MIXTURE = ("task=permuted_digits", "router=topk", "moe.num_experts=8", "router.k=2")
STUDENT = ("task=permuted_digits", *DENSE, "expert.hidden=16")  # of two experts of the mixture
SMOOTHING = (0.1, 0.0)
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
    return [row for smoothing in SMOOTHING for row in with_smoothing(smoothing, seed, folder)]


def with_smoothing(smoothing: float, seed: int, folder: Path) -> list[Row]:
    """The rows with labels smoothed so much."""
    folder = folder / str(smoothing)
    own = (*COMMON, f"task.label_smoothing={smoothing}", f"seed={seed}")
    teacher = folder / "teacher"
    whole, rest = _steps(STEPS), _steps(STEPS - FITTED)
    start = (f"init.from={teacher}", f"init.edits={LAYERS}")
    outputs = f"distil.of={teacher}"
    results = [
        train(teacher, *MIXTURE, *own, *whole),
        train(folder / "scratch", *STUDENT, *own, *whole),
        edit(teacher, LAYERS, folder / "layers"),
        train(folder / "fitted", *start, *own, *rest),
        train(folder / "outputs", *STUDENT, *own, *whole, outputs),
        train(folder / "both", *start, *own, *rest, outputs),
    ]
    found = (result["score"]["value"] for result in results)
    pairs = zip(ARMS, found, strict=True)
    return [{"arm": f"{smoothing}: {arm}", "accuracy": score} for arm, score in pairs]


def _steps(number: int) -> tuple[str, ...]:
    never = "trainer.check_val_every_n_epoch=1000"  # the last step is validated in any case
    return f"trainer.max_steps={number}", "trainer.max_epochs=1000", never


STUDY = Study(RESULTS / "edits_distilling.csv", range(5), of_seed)
HEADINGS = ("label smoothing", "network", "accuracy", "less the student from scratch")


def table() -> str:
    """The rows as a Markdown table, differences paired by seed."""
    lines = list[list[str]]()
    for smoothing in SMOOTHING:
        control = STUDY.of(f"{smoothing}: {SCRATCH}")
        for arm in ARMS:
            rows = STUDY.of(f"{smoothing}: {arm}")
            cells = [scores(rows, "accuracy", 3), difference(rows, control, "accuracy", 3)]
            lines.append([str(smoothing), arm, *cells])
    return markdown(HEADINGS, lines)


if __name__ == "__main__":
    STUDY.run_command(__doc__, lambda: write_between("edits.md", "distilling", table()))
