"""Files of finished runs, sent through the storage to machines that have other folders."""

import base64
import json
import os
import shutil
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tasks import RESULT

#: What is sent of a run, and what of one that is not shown: text, and little of it.
RECORDS = ("config.yaml", "command.txt", "metrics.csv", "confusion.csv", RESULT)
OF_SEARCH = ("config.yaml", "command.txt", RESULT)

#: What the names of a trial's attributes begin with that hold a parcel.
PARCEL = "files "

#: Characters of one of them: fewer than any database takes.
PIECE = 40_000


def pack(runs: Iterable[Path], names: Sequence[str]) -> dict[str, str]:
    """Files of a trial's runs as attributes of the trial; what a run has not is left out.

    >>> pack([], [])
    {'files 0': 'eJyLjgUAARUAuQ=='}
    """
    contents = [
        {name: (run / name).read_bytes().decode() for name in names if (run / name).is_file()}
        for run in runs
    ]
    text = base64.b64encode(zlib.compress(json.dumps(contents).encode())).decode()
    starts = range(0, len(text), PIECE)
    return {f"{PARCEL}{start // PIECE}": text[start : start + PIECE] for start in starts}


def unpack(attrs: Mapping[str, Any], runs: Sequence[Path]) -> None:
    """Put a trial's runs where they are missing; does nothing where no parcel was sent.

    A run of which another result lies here, or none, was begun here and ended elsewhere, where
    its result was told. It keeps all it has, under another name.

    >>> unpack({}, [])
    """
    pieces: list[str] = []
    while (piece := attrs.get(f"{PARCEL}{len(pieces)}")) is not None:
        pieces.append(piece)
    if not pieces:
        return
    contents = json.loads(zlib.decompress(base64.b64decode("".join(pieces))))
    for run, texts in zip(runs, contents, strict=True):
        if not _lies_here(run, texts):
            _put(run, texts)


def _lies_here(run: Path, texts: Mapping[str, str]) -> bool:
    path = run / RESULT
    return path.is_file() and path.read_bytes().decode() == texts[RESULT]


def _put(run: Path, texts: Mapping[str, str]) -> None:
    part = run.with_name(f"{run.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    for name in RECORDS:
        if name in texts:
            (part / name).write_bytes(texts[name].encode())
    if run.exists():
        os.replace(run, _free(run))
    os.replace(part, run)


def _free(run: Path) -> Path:
    """A name beside a run that nothing has."""
    number = 0
    while (path := run.with_name(f"{run.name}.unfinished-{number}")).exists():
        number += 1
    return path
