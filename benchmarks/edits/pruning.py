"""Half of the experts removed or merged: by use, at random, and with further training.

A mixture of eight experts learns Python's help topics (``task=topics``) or the categories of
Unicode names (``task=char_names``), is edited to four, and trained a little further. Five seeds;
``random`` has 24 draws for each, the first of which is trained further. Writes one row per arm
and seed to ``benchmarks/results/edits_pruning.csv`` and the table to ``docs/edits.md``.

    python benchmarks/edits/pruning.py            train missing seeds, write the table
    python benchmarks/edits/pruning.py --table    write the table from existing rows
"""

from pathlib import Path
from statistics import mean
from typing import NamedTuple

from benchmarks.edits.study import Study, difference, edit, scores, train
from benchmarks.readme_tables.comparison import RESULTS, Row, markdown, write_between


class Case(NamedTuple):
    """A task: settings of its training, and of the training after an edit."""

    settings: tuple[str, ...]
    further: tuple[str, ...]


CASES = {
    "topics, bits per byte": Case(
        ("task=topics", "router=topk", "trainer.max_epochs=1"),
        ("trainer.max_steps=30", "trainer.batch_size=16", "optimizer.lr=0.001"),
    ),
    "names, accuracy": Case(
        ("task=char_names", "router=topk", "trainer.max_epochs=5"),
        ("trainer.max_epochs=1", "trainer.batch_size=64", "optimizer.lr=0.001"),
    ),
}
WHOLE, RANDOM = "eight experts", "`prune`, `by: random`"
#: Edits of eight experts to four, by the label of their arm; scores of a random arm are averaged.
EDITS = {
    "`prune`, `by: norm`": ["[{prune: {keep: 4, by: norm}}]"],
    "`prune`, `by: mass`": ["[{prune: {keep: 4, by: mass}}]"],
    "`prune`, `by: load`": ["[{prune: {keep: 4, by: load}}]"],
    "`merge`, `by: routes`": ["[{merge: {to: 4, by: routes}}]"],
    "`merge`, `by: weights`": ["[{merge: {to: 4, by: weights}}]"],
    RANDOM: [f"[{{prune: {{keep: 4, by: random, seed: {draw}}}}}]" for draw in range(24)],
}


def of_seed(seed: int, folder: Path) -> list[Row]:
    """Scores on the test split after each edit, and after further training."""
    rows = list[Row]()
    for task, case in CASES.items():
        own, start = f"seed={seed}", folder / task
        whole = train(start, *case.settings, own)
        more = train(folder / f"{task}-more", f"init={start}", *case.settings, *case.further, own)
        rows.append(_row(task, WHOLE, [whole], more))
        for place, (arm, edits) in enumerate(EDITS.items()):
            outs = [folder / f"{task}-{place}-{draw}" for draw in range(len(edits))]
            edited = [edit(start, each, out) for each, out in zip(edits, outs, strict=True)]
            init = (f"init.from={start}", f"init.edits={edits[0]}")
            tuned = train(folder / f"{task}-{place}-tuned", *init, *case.further, own)
            rows.append(_row(task, arm, edited, tuned))
    return rows


def _row(task: str, arm: str, edited: list[Row], tuned: Row) -> Row:
    score = mean(result["score"]["value"] for result in edited)
    return {"arm": f"{task}: {arm}", "score": score, "tuned": tuned["score"]["value"]}


STUDY = Study(RESULTS / "edits_pruning.csv", range(5), of_seed)
HEADINGS = (
    *("task", "edit", "score", "less random", "less `by: norm`"),
    *("after further training", "less random"),
)


def table() -> str:
    """The rows as a Markdown table, differences paired by seed."""
    lines = list[list[str]]()
    for task in CASES:
        control, norm = (STUDY.of(f"{task}: {arm}") for arm in (RANDOM, next(iter(EDITS))))
        for arm in (WHOLE, *EDITS):
            rows = STUDY.of(f"{task}: {arm}")
            cells = [scores(rows, "score", 3), difference(rows, control, "score", 3)]
            cells += [difference(rows, norm, "score", 3), scores(rows, "tuned", 3)]
            lines.append([task, arm, *cells, difference(rows, control, "tuned", 3)])
    return markdown(HEADINGS, lines)


if __name__ == "__main__":
    STUDY.run_command(__doc__, lambda: write_between("edits.md", "pruning", table()))
