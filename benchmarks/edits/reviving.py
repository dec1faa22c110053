"""Dead experts in a training made to lose them, with and without the callback ``revive``.

Digits with hidden permutations of their pixels (``task=permuted_digits``), one of 16 experts for
each, no balance loss, and learning rates that are too high. Five seeds. Writes one row per arm and
seed to ``benchmarks/results/edits_reviving.csv`` and the table to ``docs/edits.md``.

    python benchmarks/edits/reviving.py            train missing seeds, write the table
    python benchmarks/edits/reviving.py --table    write the table from existing rows
"""

from pathlib import Path

from benchmarks.edits.study import Study, scores, train
from benchmarks.readme_tables.comparison import RESULTS, Row, markdown, write_between

SETTINGS = (
    *("task=permuted_digits", "router=topk", "router.k=1", "router.weighting=probability"),
    *("moe.num_experts=16", "losses={}", "trainer.max_epochs=4"),
)
RATES = (0.03, 0.05)
#: Settings in addition, by the label of their arm.
ARMS: dict[str, tuple[str, ...]] = {
    "nothing": (),
    "`revive`": ("trainer.callbacks=[{name: revive, every: 20}]",),
    "`revive`, `noise: 0.3`": ("trainer.callbacks=[{name: revive, every: 20, noise: 0.3}]",),
    "balance loss `switch`": ("losses={switch: 0.01}",),
}


def of_seed(seed: int, folder: Path) -> list[Row]:
    """Dead experts, the smallest share of an even load, and accuracy on the test split."""
    rows = list[Row]()
    for rate in RATES:
        for place, (arm, more) in enumerate(ARMS.items()):
            own = (f"seed={seed}", f"optimizer.lr={rate}")
            result = train(folder / f"{rate}-{place}", *SETTINGS, *own, *more)
            (layer,) = result["layers"]
            least = min(layer["load"]) * len(layer["load"]) / sum(layer["load"])
            found = {"dead": layer["dead_experts"], "least_load": least}
            found["accuracy"] = result["score"]["value"]
            rows.append({"arm": f"{rate}: {arm}", **found})
    return rows


STUDY = Study(RESULTS / "edits_reviving.csv", range(5), of_seed)
HEADINGS = (
    *("learning rate", "against dead experts", "dead of 16", "in each run", "least load"),
    "accuracy",
)


def table() -> str:
    """The rows as a Markdown table."""
    lines = list[list[str]]()
    for rate in RATES:
        for arm in ARMS:
            rows = STUDY.of(f"{rate}: {arm}")
            each = ", ".join(row["dead"] for row in rows)
            cells = [scores(rows, "dead", 1), each, scores(rows, "least_load", 2)]
            lines.append([str(rate), arm, *cells, scores(rows, "accuracy", 3)])
    return markdown(HEADINGS, lines)


if __name__ == "__main__":
    STUDY.run_command(__doc__, lambda: write_between("edits.md", "reviving", table()))
