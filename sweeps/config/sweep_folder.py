"""The folder of a sweep: opened by one process, and only to continue the same sweep."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from omegaconf import OmegaConf

from routers import ConfigError
from tasks import check_format, write_text

from ..storage.driver_lock import HOLDER, LOCK, driving
from .compose import SWEEP_FILE
from .plan import MUTABLE_KEYS, Plan


@contextmanager
def opened_folder(plan: Plan) -> Iterator[Plan]:
    """Drive the sweep in its folder: create it, or check that it holds this sweep.

    The context gives the plan with the folder's identity.

    Raises:
        ConfigError: if the folder cannot be written, holds another sweep or other files, or if
            another process drives it.
    """
    make_folder(plan.folder, SWEEP_FILE)
    with driving(plan.folder):
        yield identified(plan)


def make_folder(folder: Path, marker: str) -> None:
    """Create a folder, or check that its first file, ``marker``, is in it.

    Raises:
        ConfigError: if it cannot be written, or holds other files without the marker.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        ours = {f"{marker}.part", f"{HOLDER}.part", HOLDER, LOCK}
        others = {path.name for path in folder.iterdir()} - ours
    except OSError as error:
        raise unwritable(folder, error) from error
    if others and marker not in others:
        what = "suite" if marker != SWEEP_FILE else "sweep"
        raise ConfigError(
            f"out={folder}: the folder is not empty (it holds {min(others)}) and holds no "
            f"{what}; choose another out"
        )


def identified(plan: Plan) -> Plan:
    """The plan with the identity of its folder, whose file is checked, or written first."""
    before = written_settings(plan)
    identity = str(before.get("identity", "")) if before else uuid4().hex[:12]
    now = {**plan.to_dict(), "identity": identity}
    if not before or comparable_settings(before) != comparable_settings(now):
        try:
            write_text(plan.folder / SWEEP_FILE, OmegaConf.to_yaml(OmegaConf.create(now)))
        except OSError as error:
            raise unwritable(plan.folder, error) from error
    return replace(plan, identity=identity)


def written_settings(plan: Plan) -> dict[str, Any]:
    """The settings in a plan's folder; empty if it holds none.

    Raises:
        ConfigError: if they are of another sweep.
    """
    path = plan.folder / SWEEP_FILE
    if not path.exists():
        return {}
    before = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    check_format(path, before)
    check_unchanged(f"out={plan.folder}", before, plan)
    assert isinstance(before, dict)
    return {str(key): value for key, value in before.items()}


def unwritable(folder: Path, error: OSError) -> ConfigError:
    """The error for a folder in which no file can be written."""
    return ConfigError(f"out={folder}: cannot be written ({error.strerror})")


def check_unchanged(where: str, before: Any, plan: Plan) -> None:
    """Raise ``ConfigError`` that shows the difference if a sweep is not the one that started."""
    both = (comparable_settings(each, plan.mutable) for each in (before, plan.to_dict()))
    one, other = (dict(flat("", each)) for each in both)
    keys = [key for key in {**one, **other} if one.get(key, "-") != other.get(key, "-")]
    if written := [key for key in keys if not key.startswith("resolved")]:
        keys = written  # the rest follows from them
    if keys:
        may_change = [key for key in plan.mutable if key not in ("resolved", "out", "storage")]
        lines = [f"  {key}: was {one.get(key, '-')}, is {other.get(key, '-')}" for key in keys]
        raise ConfigError(
            f"{where}: holds another sweep; only {', '.join(may_change)} may change. "
            "Undo the change, or choose another out (if several sweeps share the storage, also "
            "another name, which is that of the file, sweep=NAME.yaml):\n" + "\n".join(lines)
        )


def comparable_settings(values: Mapping[str, Any], mutable: Sequence[str] = MUTABLE_KEYS) -> Any:
    """The settings that two runs of the same sweep have in common, as JSON represents them."""
    ignored = (*mutable, "format", "identity")
    return json.loads(json.dumps({k: v for k, v in values.items() if k not in ignored}))


def flat(prefix: str, value: Any) -> Iterator[tuple[str, str]]:
    """Dotted keys and values, as JSON represents them, of nested mappings."""
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from flat(f"{prefix} > {key}" if prefix else str(key), inner)
    else:
        yield prefix, json.dumps(value, sort_keys=True)
