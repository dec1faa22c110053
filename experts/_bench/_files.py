"""Results on disk: each file whole or not at all."""

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from routers import ConfigError

from ._rows import Row, Spread

_MIB = 2**20


def make_folder(out: str) -> Path:
    """The folder for results; raises ``ConfigError`` where it cannot be written to."""
    folder = Path(out).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"out={out}: cannot be written ({error.strerror})") from error
    if not os.access(folder, os.W_OK):
        raise ConfigError(f"out={out}: cannot be written; choose another out")
    return folder


def replace_file(path: Path, content: bytes) -> None:
    """Write to another name, then rename: what was there stays until the new one is whole."""
    part = path.with_name(path.name + ".part")
    part.write_bytes(content)
    os.replace(part, path)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """A mapping as JSON."""
    replace_file(path, (json.dumps(value, indent=2) + "\n").encode())


def write_csv(path: Path, rows: Sequence[Row], settings: Mapping[str, Any]) -> None:
    """One line per row, with all settings in each; what did not run has empty numbers."""
    lines = [{**_flat(row), **settings} for row in rows]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    replace_file(path, text.getvalue().encode())


def _flat(row: Row) -> dict[str, Any]:
    shape, cost = row.shape, row.cost
    flat: dict[str, Any] = {
        "shape": row.where,
        "tokens": shape.tokens,
        "dim": shape.dim,
        "hidden": shape.hidden,
        "num_experts": shape.experts,
        "k": shape.k,
        "contestant": row.name,
        "label": row.label,
        "absent": row.absent,
        "note": row.note,
        "flops_per_token": row.flops,
        "flops_ratio": None if row.flops is None else row.flops / shape.flops,
        "load_ratio": row.load_ratio,
        "measured_rounds": cost.rounds if cost else None,
        "set_aside_rounds": cost.set_aside if cost else None,
        **_spread("step", cost.step if cost else None),
        "step_ratio": cost.step_ratio if cost else None,
        **_spread("forward", cost.forward if cost else None),
        "forward_ratio": cost.forward_ratio if cost else None,
        "peak_mib": cost.peak.total / _MIB if cost else None,
        "working_mib": cost.peak.working / _MIB if cost else None,
    }
    return flat


def _spread(name: str, spread: Spread | None) -> dict[str, float | None]:
    return {
        f"{name}_ms": spread.median if spread else None,
        f"{name}_ms_q1": spread.low if spread else None,
        f"{name}_ms_q3": spread.high if spread else None,
    }
