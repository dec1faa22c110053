"""Artifacts: files of finished runs, stored as attributes for machines with other folders."""

import base64
import hashlib
import json
import os
import shutil
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from tasks import RESULT

from .stage import Stage

#: Files of a confirmed run, and of a run of the search, that are uploaded: small and text.
CONFIRMED_FILES = ("config.yaml", "command.txt", "metrics.csv", "confusion.csv", RESULT)
SEARCH_FILES = ("config.yaml", "command.txt", RESULT)

#: The attribute that lists the chunks of an artifact, and the prefix of their names.
ARTIFACT = "files"

#: Characters of a chunk: fewer than the limit of any database.
CHUNK_SIZE = 40_000


class DamagedArtifactError(ValueError):
    """An artifact in the storage cannot be read."""


def encode(runs: Iterable[Path], names: Sequence[str]) -> dict[str, Any]:
    """Convert files of a trial's runs to attributes of the trial; missing files are omitted.

    The names of chunks contain a hash of the artifact, so chunks of two artifacts never mix. The
    attribute that lists the chunks comes last.

    >>> encode([], [])
    {'files c3359cf5bac9b705 0': 'eJyLjgUAARUAuQ==', 'files': ['c3359cf5bac9b705', 1]}
    """
    contents = [
        {name: (run / name).read_bytes().decode() for name in names if (run / name).is_file()}
        for run in runs
    ]
    text = base64.b64encode(zlib.compress(json.dumps(contents).encode())).decode()
    starts = range(0, len(text), CHUNK_SIZE)
    digest = _digest(text)
    chunks = [text[start : start + CHUNK_SIZE] for start in starts]
    named = {f"{ARTIFACT} {digest} {number}": chunk for number, chunk in enumerate(chunks)}
    return {**named, ARTIFACT: [digest, len(chunks)]}


def download(attrs: Mapping[str, Any], runs: Sequence[Path]) -> bool:
    """Write the runs of a trial that are missing here; returns whether there is an artifact.

    If a run exists here with another result or without one, it started here and finished
    elsewhere: its folder is kept under another name.

    Raises:
        DamagedArtifactError: if the artifact cannot be read; no file is written.

    >>> download({}, [])
    False
    """
    if ARTIFACT not in attrs:
        return False
    for run, files in zip(runs, _read(attrs, len(runs)), strict=True):
        result = run / RESULT
        if not (result.is_file() and result.read_bytes() == files[RESULT]):
            _write(run, files)
    return True


def upload_missing(stage: Stage) -> None:
    """Upload runs that exist only here: they finished before other machines shared the storage.

    A finished trial accepts no attributes, so the artifacts become attributes of the study.
    """
    study = stage.queue.study
    late = study.user_attrs
    for trial in stage.queue.trials():
        runs = stage.run_dirs(trial)
        uploaded = any(_is_readable(attrs, len(runs)) for attrs in _sources(trial, late))
        if trial.state == TrialState.COMPLETE and not uploaded and _all_exist(runs):
            for key, value in encode(runs, stage.files).items():
                study.set_user_attr(f"{trial.number} {key}", value)


def download_missing(stage: Stage) -> list[str]:
    """Download runs of other machines; returns a message for each run that is missing."""
    late = stage.queue.study.user_attrs
    missing = []
    for trial in stage.queue.trials():
        if not trial.state.is_finished():
            continue
        runs = stage.run_dirs(trial)
        damage = ""
        for attrs in _sources(trial, late):
            try:
                if download(attrs, runs):
                    break
            except DamagedArtifactError as error:
                damage = str(error)
        if trial.state == TrialState.COMPLETE and not _all_exist(runs):
            claim = trial.user_attrs.get("claim")
            host = claim.get("host") if isinstance(claim, dict) else "another host"
            missing.append(
                f"{stage.name_of(trial.number)}: {damage or 'was never uploaded'}; run the same "
                f"command with this storage on the machine that has its files ({host}), then here "
                "again"
            )
    return missing


def _sources(trial: FrozenTrial, late: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Attributes that may hold a trial's artifact: its own, then those of the study, ``late``."""
    yield trial.user_attrs
    prefix = f"{trial.number} "
    yield {key.removeprefix(prefix): v for key, v in late.items() if key.startswith(prefix)}


def _is_readable(attrs: Mapping[str, Any], count: int) -> bool:
    """Whether there is an artifact of ``count`` runs that can be read."""
    try:
        return ARTIFACT in attrs and len(_read(attrs, count)) == count
    except DamagedArtifactError:
        return False


def _read(attrs: Mapping[str, Any], count: int) -> list[dict[str, bytes]]:
    """Contents by file name for each of ``count`` runs; unknown file names are dropped."""
    try:
        digest, chunks = attrs[ARTIFACT]
        text = "".join(attrs[f"{ARTIFACT} {digest} {number}"] for number in range(chunks))
        contents = json.loads(zlib.decompress(base64.b64decode(text)))
        files = [
            {name: text.encode() for name, text in texts.items() if name in CONFIRMED_FILES}
            for texts in contents
        ]
    except (ValueError, TypeError, KeyError, AttributeError, zlib.error, RecursionError) as error:
        raise DamagedArtifactError("its artifact cannot be read") from error
    if _digest(text) != digest or len(files) != count or any(RESULT not in each for each in files):
        raise DamagedArtifactError("its artifact is not the uploaded one")
    return files


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _all_exist(runs: Sequence[Path]) -> bool:
    return all((run / RESULT).is_file() for run in runs)


def _write(run: Path, files: Mapping[str, bytes]) -> None:
    part = run.with_name(f"{run.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    for name, content in files.items():
        (part / name).write_bytes(content)
    if run.exists():
        number = 0
        while (unused := run.with_name(f"{run.name}.unfinished-{number}")).exists():
            number += 1
        os.replace(run, unused)
    os.replace(part, run)
