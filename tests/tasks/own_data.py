"""Small data of a user's own, one file for each task that reads files."""

import csv
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np

WORDS = {
    "en": ("good", "bad", "sun", "rain", "day"),
    "fr": ("bon", "mal", "soleil", "pluie", "jour"),
}


def images(folder: Path) -> list[str]:
    """Squares on noise, in one of two corners."""
    generator = np.random.default_rng(0)
    y = np.arange(120) % 2
    x = generator.integers(0, 99, (120, 16, 16, 3), dtype=np.uint8)
    for image, label in zip(x, y, strict=True):
        image[8 * label : 8 * label + 8, :8] += 120
    np.savez(folder / "images.npz", x=x, y=y)
    return [f"task.data.path={folder / 'images.npz'}"]


def texts(folder: Path) -> list[str]:
    """Words of two languages; a label says whether the first is a good one."""
    draw = random.Random(0)
    with (folder / "texts.csv").open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(["text", "label", "language"])
        for _ in range(120):
            language, label = draw.choice(list(WORDS)), draw.randrange(2)
            first = WORDS[language][1 - label]
            others = draw.choices(WORDS[language][2:], k=draw.randrange(4))
            lines.writerow([" ".join([first, *others]), ["no", "yes"][label], language])
    return [f"task.data.path={folder / 'texts.csv'}", "task.data.group=language"]


def corpus(folder: Path) -> list[str]:
    """Sentences without end."""
    draw = random.Random(0)
    words = [draw.choice(WORDS["en"]) for _ in range(3000)]
    (folder / "corpus.txt").write_text(" ".join(words))
    return [f"task.data.path={folder / 'corpus.txt'}"]


def table(folder: Path) -> list[str]:
    """Two columns, and two targets that follow from them."""
    draw = random.Random(0)
    with (folder / "table.csv").open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(["colour", "size", "sold", "price"])
        for _ in range(200):
            colour, size = draw.choice(["red", "green", "?"]), draw.random()
            sold = ["no", "yes"][colour == "red" or size > 0.7]
            lines.writerow([colour, f"{size:.3f}", sold, f"{2 * size + (colour == 'green'):.3f}"])
    return [
        f"task.data.path={folder / 'table.csv'}",
        "task.data.categorical=[colour]",
        "task.data.numeric=[size]",
        "task.data.targets.sold={column: sold, kind: binary, positive: 'yes'}",
        "task.data.targets.price={column: price, kind: number}",
    ]


#: For each task that reads files: writes one, and says what to add to the command.
OWN_DATA: dict[str, Callable[[Path], list[str]]] = {
    "image": images,
    "language_model": corpus,
    "multitask": table,
    "text_classification": texts,
}
