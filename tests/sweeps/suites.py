"""Finished suites without a training, in the folders a suite leaves."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import yaml

from .folders import FakeArm, write_sweep

MODALITIES = {"images": "image", "words": "text", "pairs": "multi_task", "clusters": "planted"}

#: Arms of a suite: label, overrides, whether it is a control, and how good it is.
ROUTERS = (
    ("topk", ["router=topk"], False, 0.8),
    ("expert_choice", ["router=expert_choice"], False, 0.95),
    ("hash", ["router=hash"], False, 0.3),
    ("uniform", ["router=uniform"], True, 0.1),
    ("random_fixed", ["router=random_fixed"], True, 0.0),
    ("dense, parameters of topk", ["router=topk", "moe.control=iso_parameter"], True, 1.0),
)


def write_suite_folder(
    folder: Path,
    *,
    arms: Sequence[tuple[str, list[str], bool, float]] = ROUTERS,
    seeds: int = 3,
    spread: Mapping[str, float] | None = None,
    gaps: Mapping[tuple[str, str], str] | None = None,
    noise: float = 0.01,
    rule: Mapping[str, int] | None = None,
) -> Path:
    """Write a suite; returns its folder.

    Args:
        spread: by benchmark, difference of the best arm and ``random_fixed``.
        gaps: reasons by benchmark and label.
        rule: as ``confirm.seeds``, for suites that add seeds.
    """
    spread = (
        {"images": 0.0, "words": 0.3, "pairs": 0.2, "clusters": 0.4} if spread is None else spread
    )
    gaps = gaps or {}
    folder.mkdir(parents=True, exist_ok=True)
    benchmarks = {}
    for index, (name, size) in enumerate(spread.items()):
        draw = np.random.default_rng([7, index])
        made = []
        for number, (label, overrides, control, quality) in enumerate(arms):
            scores = 0.5 + size * quality + noise * draw.normal(size=seeds)
            dense = any(each.startswith("moe.control") for each in overrides)
            arm = FakeArm(
                label,
                tuple(scores.tolist()),
                imbalance=0.2 * number,
                flops=1e6 * (1 + number),
                experts=1 if dense else 8,
                control=control,
            )
            if (name, label) not in gaps:
                made.append(arm)
        planned = seeds if rule is None else dict(rule)
        write_sweep(folder / name, made, trials=0, confirm_seeds=planned, task=f"task_{name}")
        own = {label: reason for (benchmark, label), reason in gaps.items() if benchmark == name}
        benchmarks[name] = {
            "modality": MODALITIES[name],
            "run": [f"task=task_{name}"],
            "data": {"name": f"task_{name}", "sha256": f"{index:08x}" * 8},
            "objectives": ["maximize score.value"],
            "margin": 0.01,
            "trials": 0,
            "gaps": own,
        }
    protocol = {
        "suite": folder.name,
        "date": "2024-05-01T12:00:00+00:00",
        "code": "0123456789ab",
        "arms": {
            label: {"overrides": overrides, "control": control}
            for label, overrides, control, _ in arms
        },
        "benchmarks": benchmarks,
        "tuning": "none",
        "seeds": {"first": 1000, "number": seeds},
        "tests": {"verdict": "paired tests", "correction": "Holm", "level": 0.05},
        "weights": "of the last step",
        "amendments": [{"date": "2024-05-02T09:30:00+00:00", "change": "arm added: hash"}],
    }
    (folder / "protocol.yaml").write_text(yaml.safe_dump(protocol, sort_keys=False))
    return folder
