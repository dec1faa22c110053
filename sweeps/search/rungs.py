"""Rungs: trials compared with others while they train, by files that each appends to."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from .halving import PRUNERS

#: File in the folder of a run: a line ``[epoch, {metric: value}]`` for each rung that it reached.
RUNGS = "rungs.jsonl"


@dataclass(frozen=True)
class Rungs:
    """How the trials of a study are compared.

    Attributes:
        epochs: after which they are.
        signs: of the metrics, named as in ``result.json``: 1 to minimize, -1 to maximize.
        pruner, factor: the name in ``PRUNERS`` of what decides, and its option.
        folders: of the arms, which hold a folder for each trial.
    """

    epochs: Sequence[int]
    signs: Mapping[str, float]
    pruner: str
    factor: int
    folders: Sequence[Path]

    def should_continue(self, run: Path, epoch: int, values: Mapping[str, float]) -> bool:
        """Whether the run in a folder continues; its values are appended for other trials.

        The values are appended before those of others are read: of two trials that reach a rung
        at the same time, at least one sees both.
        """
        if epoch not in self.epochs:
            return True
        known = {metric: values[metric] for metric in self.signs if metric in values}
        with (run / RUNGS).open("a", encoding="utf-8") as file:
            file.write(json.dumps([epoch, known]) + "\n")
        own = self._signed(known, known)
        others = [self._signed(known, each) for each in self._others(run, epoch)]
        return PRUNERS[self.pruner](own, others, self.factor)

    def _signed(self, metrics: Mapping[str, float], values: Mapping[str, float]) -> list[float]:
        return [self.signs[metric] * values.get(metric, math.nan) for metric in metrics]

    def _others(self, run: Path, epoch: int) -> Iterator[Mapping[str, float]]:
        """The values of the first runs of other trials that reached a rung."""
        for folder in self.folders:
            for path in sorted(folder.glob(f"*/{run.name}/{RUNGS}")):
                number = path.parts[-3]
                if number != run.parent.name and epoch in (reached := _read(path)):
                    yield reached[epoch]


def _read(path: Path) -> dict[int, Mapping[str, float]]:
    """Values by epoch, the last ones where a resumed run reached it again."""
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        with suppress(ValueError):  # of a line that is being written
            epoch, values = json.loads(line)
            found[epoch] = values
    return found
