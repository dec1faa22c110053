"""What machines that share a storage download_missing each other of finished trials."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from tasks import RESULT

from .artifacts import DamagedParcelError, pack, readable, unpack
from .queue import Queue

#: The folders of a trial's runs.
Runs = Callable[[FrozenTrial], Sequence[Path]]


def upload_missing(queue: Queue, runs_of: Runs, names: Sequence[str]) -> None:
    """Send runs that lie here alone: they ended before other machines shared the storage.

    A finished trial takes no more attributes, so the study has them.

    Args:
        queue: with the trials.
        runs_of: the folders of a trial's runs.
        names: of the files that are sent.
    """
    late = queue.study.user_attrs
    for trial in queue.trials():
        runs = runs_of(trial)
        sent = any(readable(attrs, len(runs)) for attrs in (trial.user_attrs, _of(late, trial)))
        if trial.state == TrialState.COMPLETE and not sent and _all_here(runs):
            for key, value in pack(runs, names).items():
                queue.study.set_user_attr(f"{trial.number} {key}", value)


def download_missing(queue: Queue, runs_of: Runs, name_of: Callable[[int], str]) -> list[str]:
    """Bring here what other machines did; says which runs are neither here nor in the storage.

    Args:
        queue: with the trials.
        runs_of: the folders of a trial's runs.
        name_of: what to call a trial.
    """
    late = queue.study.user_attrs
    missing = []
    for trial in queue.trials():
        if not trial.state.is_finished():
            continue
        runs = runs_of(trial)
        damage = _bring_one([trial.user_attrs, _of(late, trial)], runs)
        if trial.state == TrialState.COMPLETE and not _all_here(runs):
            missing.append(
                f"{name_of(trial.number)}: {damage or 'was never sent'}; run the same command, "
                f"with this storage, on the machine that has its files ({_host(trial)} did it), "
                "then here again"
            )
    return missing


def _bring_one(parcels: Sequence[Mapping[str, Any]], runs: Sequence[Path]) -> str:
    """Unpack the first parcel that can be opened; returns why there was none, if one was sent."""
    damage = ""
    for attrs in parcels:
        try:
            if unpack(attrs, runs):
                return ""
        except DamagedParcelError as error:
            damage = str(error)
    return damage


def _of(late: Mapping[str, Any], trial: FrozenTrial) -> dict[str, Any]:
    """What the study has of a trial, as if the trial had it."""
    own = f"{trial.number} "
    return {key.removeprefix(own): value for key, value in late.items() if key.startswith(own)}


def _all_here(runs: Sequence[Path]) -> bool:
    return all((run / RESULT).is_file() for run in runs)


def _host(trial: FrozenTrial) -> str:
    claim = trial.user_attrs.get("claim")
    return str(claim.get("host")) if isinstance(claim, dict) else "another"
