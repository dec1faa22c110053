"""Finished sweeps without a training: believable numbers in the folders a sweep leaves."""

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf

OBJECTIVES = (
    {"metric": "score.value", "direction": "maximize"},
    {"metric": "load.max_violation", "direction": "minimize"},
    {"metric": "compute.flops_per_item", "direction": "minimize"},
)
FIRST_SEED = 1000
CLASSES = 10
STEPS = range(20, 201, 20)


@dataclass(frozen=True)
class FakeArm:
    """Results of an arm of the sweep.

    Attributes:
        label: as the sweep names it.
        scores: of its confirmed runs, one for each seed from 1000; None for a run that is
            still missing.
        imbalance: MaxVio of its layers, about.
        flops, parameters: of its model.
        experts: in each of its two layers; 1 for a dense model.
        control: whether it is there only to be compared with.
        params: of its best trial.
        pareto: whether that trial lies on the front.
    """

    label: str
    scores: Sequence[float | None] = (0.95, 0.96, 0.94)
    imbalance: float = 0.4
    flops: float = 3_343_616.0
    parameters: int = 299_850
    experts: int = 8
    control: bool = False
    params: tuple[tuple[str, Any], ...] = (("optimizer.lr", 0.002),)
    pareto: bool = True

    @property
    def slug(self) -> str:
        return "-".join(
            "".join(c if c.isalnum() or c == "_" else " " for c in self.label).split()
        ).lower()


#: A small sweep of every kind of arm.
ARMS = (
    FakeArm("topk", (0.961, 0.958, 0.967), imbalance=0.8),
    FakeArm("expert_choice", (0.966, 0.964, 0.972), imbalance=0.0),
    FakeArm("random_fixed", (0.903, 0.911, 0.899), imbalance=0.1, control=True),
    FakeArm("dense, equal FLOPs", (0.957, 0.956, 0.964), 0.0, 3_343_616.0, 103_242, 1, True),
)


def write_sweep(
    folder: Path,
    arms: Sequence[FakeArm] = ARMS,
    *,
    objectives: Sequence[dict[str, str]] = OBJECTIVES,
    margin: float = 0.01,
    confirm_seeds: int | dict[str, int] = 3,
    trials: int = 3,
    task: str = "digits",
) -> Path:
    """Write a sweep as ``python -m sweeps`` does, without the study; returns its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "sweep": folder.name,
        "run": [f"task={task}", "trainer.max_epochs=10"],
        "arms": {arm.label: _overrides(arm) for arm in arms if not arm.control},
        "controls": [arm.slug for arm in arms if arm.control],
        "objectives": [dict(each) for each in objectives],
        "constraints": [],
        "sampler": "tpe",
        "trials": trials,
        "seeds": 1,
        "space": {},
        "study": "per_arm",
        "confirm": {"seeds": confirm_seeds, "first_seed": FIRST_SEED},
        "margin": margin,
        "seed": 0,
        "resolved": {
            arm.label: {"slug": arm.slug, "control": arm.control, "overrides": _overrides(arm)}
            for arm in arms
        },
    }
    (folder / "sweep.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(config)))
    for arm in arms:
        _write_arm(folder, arm, objectives, trials, task)
    return folder


def add_best(folder: Path) -> None:
    """Give all confirmed runs of a sweep a score of their best validation: 1 - the last score."""
    for path in folder.glob("confirmed/*/seed-*/result.json"):
        result = json.loads(path.read_text())
        value = 1 - result["score"]["value"]
        result["score"]["best"] = {"step": 20, "validation": 0.98, "value": value}
        path.write_text(json.dumps(result))


def write_run(
    folder: Path, arm: FakeArm, seed: int, score: float, task: str = "digits"
) -> dict[str, Any]:
    """Write the folder of one run; returns what its ``result.json`` holds."""
    folder.mkdir(parents=True)
    draw = np.random.default_rng([seed, *arm.label.encode()])
    tables = [_table(draw, arm) for _ in range(2)]
    result = _result(arm, seed, score, task, tables)
    (folder / "result.json").write_text(json.dumps(result, indent=2) + "\n")
    rate = dict(arm.params).get("optimizer.lr", 0.002)
    (folder / "config.yaml").write_text(
        f"task:\n  name: {task}\noptimizer:\n  name: adamw\n  lr: {rate}\nseed: {seed}\n"
    )
    _write_metrics(folder / "metrics.csv", draw, result)
    _write_confusion(folder / "confusion.csv", tables)
    return result


def _overrides(arm: FakeArm) -> list[str]:
    return ["router=topk", "moe.control=iso_flop"] if arm.experts == 1 else [f"router={arm.slug}"]


def _write_arm(
    folder: Path, arm: FakeArm, objectives: Sequence[dict[str, str]], trials: int, task: str
) -> None:
    searched = []
    known = [score for score in arm.scores if score is not None] or [0.9]
    for number in range(trials):
        score = max(known) - 0.004 * abs(number - 1)  # the search sees a lucky seed
        run = folder / "trials" / arm.slug / f"{number:04d}" / "seed-0"
        searched.append(write_run(run, arm, number, score, task))
    best = min(1, trials - 1)
    overrides = [*_overrides(arm), *(f"{key}={value}" for key, value in arm.params)]
    home = folder / "confirmed" / arm.slug
    home.mkdir(parents=True)
    about = {
        "arm": arm.label,
        "slug": arm.slug,
        "control": arm.control,
        "overrides": overrides,
        "command": f"python -m tasks task={task} trainer.max_epochs=10 {' '.join(overrides)}",
        "trial": best if trials else None,
        "params": dict(arm.params),
        "search": {
            each["metric"]: number_at(searched[best], each["metric"])
            for each in objectives
            if trials
        },
        "pareto": arm.pareto,
    }
    (home / "arm.json").write_text(json.dumps(about, indent=2) + "\n")
    for seed, score in enumerate(arm.scores, start=FIRST_SEED):
        if score is not None:
            write_run(home / f"seed-{seed}", arm, seed, score, task)


def number_at(result: dict[str, Any], path: str) -> Any:
    """The number at a dotted path."""
    value: Any = result
    for key in path.split("."):
        value = value[key]
    return value


def _table(draw: np.random.Generator, arm: FakeArm) -> np.ndarray:
    """Rows of each expert and class ``(E, classes)``; the first expert is the busiest."""
    load = np.ones(arm.experts)
    load[0] += arm.imbalance
    shares = load[:, None] * draw.gamma(2.0, size=(arm.experts, CLASSES))
    return np.rint(11_520 * shares / shares.sum()).astype(int)


def _balance(load: np.ndarray) -> dict[str, Any]:
    shares = load / load.sum()
    entropy = -float((shares * np.log(shares)).sum()) / np.log(len(load)) if len(load) > 1 else 1.0
    return {
        "cv": float(load.std() / load.mean()),
        "max_violation": float(load.max() / load.mean() - 1),
        "entropy": float(entropy),
        "dead_experts": 0,
        "dropped": 0.0,
        "unrouted": 0.0,
        "gate_entropy": 0.95 if len(load) > 1 else 0.0,
        "margin": 0.03 if len(load) > 1 else None,
    }


def _result(
    arm: FakeArm, seed: int, score: float, task: str, tables: list[np.ndarray]
) -> dict[str, Any]:
    layers = [
        {"items": 5760, "load": table.sum(1).tolist(), **_balance(table.sum(1)), "nmi": {}}
        for table in tables
    ]
    keys = [key for key in layers[0] if key not in ("items", "load", "nmi")]
    load = {key: _mean([layer[key] for layer in layers]) for key in keys}
    return {
        "task": task,
        "router": "dense_iso_flop" if arm.experts == 1 else arm.slug,
        "expert": "mlp",
        "seed": seed,
        "score": {
            "name": "accuracy",
            "value": score,
            "direction": "maximize",
            "split": "test",
            "validation": score + 0.002,
        },
        "scores": {"loss": 1.5 - score, "accuracy": score},
        "load": load,
        "layers": layers,
        "compute": {
            "parameters": arm.parameters,
            "active_parameters": 103_242.0,
            "router_parameters": 1024 if arm.experts > 1 else 0,
            "flops_per_item": arm.flops,
            "train_seconds": 5.0 + (seed % 7) / 10,
            "items_per_second": 2400.0,
            "peak_memory_bytes": int(100 * arm.flops),
            "cpu_energy_joules": None,
        },
        "matched_to": "topk" if arm.experts == 1 else None,
        "versions": {"python": "3.11.7", "torch": "2.13.0"},
        "data": {
            "name": task,
            "sha256": "8b3b6ae9",
            "split_sha256": None,
            "rows": {"train": 1257, "val": 180, "test": 360},
        },
    }


def _mean(values: list[Any]) -> float | None:
    return None if None in values else float(np.mean(values))


def _write_metrics(path: Path, draw: np.random.Generator, result: dict[str, Any]) -> None:
    """Loss that falls, score that rises, load that evens out; blanks where a step logs less."""
    rows: list[dict[str, Any]] = []
    score = result["score"]["value"]
    for step in STEPS:
        done = 1 - np.exp(-4 * step / STEPS[-1])
        row = {
            "step": step,
            "epoch": step // 20,
            "lr": 0.002 * (1 - step / STEPS[-1]),
            "train/loss": 2.3 - 1.9 * done + 0.05 * draw.normal(),
        }
        for number, layer in enumerate(result["layers"]):
            row[f"train/load_cv/layer{number}"] = layer["cv"] * (2 - done)
            row[f"train/max_violation/layer{number}"] = layer["max_violation"] * (2 - done)
        rows.append(row)
        rows.append({"step": step + 1, **_evaluated("val", result, score * done)})
    rows.append({"step": STEPS[-1] + 2, **_evaluated("test", result, score)})
    names = sorted({name for row in rows for name in row} - {"step"})
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["step", *names])
        writer.writeheader()
        writer.writerows(rows)


def _evaluated(split: str, result: dict[str, Any], score: float) -> dict[str, Any]:
    row = {f"{split}/accuracy": score, f"{split}/loss": 1.5 - score}
    for number, layer in enumerate(result["layers"]):
        for key in ("cv", "max_violation", "entropy", "dropped", "gate_entropy"):
            row[f"{split}/{key}/layer{number}"] = layer[key]
    return row


def _write_confusion(path: Path, tables: list[np.ndarray]) -> None:
    with path.open("w", newline="") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(["layer", "expert", "by", "kind", "rows"])
        for layer, table in enumerate(tables):
            for expert, kinds in enumerate(table.tolist()):
                lines.writerows([layer, expert, "class", kind, n] for kind, n in enumerate(kinds))
