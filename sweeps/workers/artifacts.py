"""Files of finished runs, sent through the storage to machines that have other folders."""

import base64
import hashlib
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

#: The attribute that says which pieces a parcel has, and what their names begin with.
PARCEL = "files"

#: Characters of one of them: fewer than any database takes.
PIECE = 40_000


class DamagedParcelError(ValueError):
    """What was sent cannot be opened."""


def pack(runs: Iterable[Path], names: Sequence[str]) -> dict[str, Any]:
    """Files of a trial's runs as attributes of the trial; what a run has not is left out.

    Pieces are named by what they are pieces of, so those of two parcels never mix, and the one
    attribute that tells of them comes last.

    >>> pack([], [])
    {'files c3359cf5bac9b705 0': 'eJyLjgUAARUAuQ==', 'files': ['c3359cf5bac9b705', 1]}
    """
    contents = [
        {name: (run / name).read_bytes().decode() for name in names if (run / name).is_file()}
        for run in runs
    ]
    text = base64.b64encode(zlib.compress(json.dumps(contents).encode())).decode()
    starts = range(0, len(text), PIECE)
    prefix = _digest(text)
    pieces = {_piece(prefix, i): text[start : start + PIECE] for i, start in enumerate(starts)}
    return {**pieces, PARCEL: [prefix, len(pieces)]}


def unpack(attrs: Mapping[str, Any], runs: Sequence[Path]) -> bool:
    """Put a trial's runs where they are missing; returns whether a parcel was sent.

    A run of which another result lies here, or none, was begun here and ended elsewhere, where
    its result was told. It keeps all it has, under another name.

    Raises:
        DamagedParcelError: where it cannot be opened; nothing was put anywhere.

    >>> unpack({}, [])
    False
    """
    if PARCEL not in attrs:
        return False
    for run, files in zip(runs, _opened(attrs, len(runs)), strict=True):
        if not _lies_here(run, files):
            _put(run, files)
    return True


def readable(attrs: Mapping[str, Any], count: int) -> bool:
    """Whether a parcel of so many runs is here and can be opened.

    >>> readable(pack([], []), 0), readable(pack([], []), 1), readable({}, 0)
    (True, False, False)
    """
    try:
        return PARCEL in attrs and len(_opened(attrs, count)) == count
    except DamagedParcelError:
        return False


def _opened(attrs: Mapping[str, Any], count: int) -> list[dict[str, bytes]]:
    """Contents by name, for each of so many runs; names that no parcel has are left out."""
    try:
        prefix, pieces = attrs[PARCEL]
        text = "".join(attrs[_piece(prefix, i)] for i in range(pieces))
        contents = json.loads(zlib.decompress(base64.b64decode(text)))
        files = [{n: t.encode() for n, t in texts.items() if n in RECORDS} for texts in contents]
    except (ValueError, TypeError, KeyError, AttributeError, zlib.error, RecursionError) as error:
        raise DamagedParcelError("what was sent cannot be opened") from error
    if _digest(text) != prefix or len(files) != count or any(RESULT not in each for each in files):
        raise DamagedParcelError("what was sent is not what was packed")
    return files


def _piece(prefix: str, number: int) -> str:
    return f"{PARCEL} {prefix} {number}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _lies_here(run: Path, files: Mapping[str, bytes]) -> bool:
    path = run / RESULT
    return path.is_file() and path.read_bytes() == files[RESULT]


def _put(run: Path, files: Mapping[str, bytes]) -> None:
    part = run.with_name(f"{run.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    for name, content in files.items():
        (part / name).write_bytes(content)
    if run.exists():
        os.replace(run, _free(run))
    os.replace(part, run)


def _free(run: Path) -> Path:
    """A name beside a run that nothing has."""
    number = 0
    while (path := run.with_name(f"{run.name}.unfinished-{number}")).exists():
        number += 1
    return path
