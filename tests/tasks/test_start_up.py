"""Composing and refusing settings loads no library that only training or a report needs."""

import subprocess
import sys

HEAVY = (
    "lightning",
    "matplotlib",
    "optuna",
    "rich",
    "scipy",
    "sklearn",
    "tensorboard",
    "torchmetrics",
)

STRATEGY = "trainer.strategy"
REFUSED: dict[tuple[str, ...], str] = {
    ("trainer.batch_size=0",): "trainer.batch_size=0 is invalid: expected an integer in [1, ",
    ("optimizer.name=nonsense",): "optimizer.name=nonsense: unknown. Allowed: ",
    (f"{STRATEGY}=fsdp3",): f"{STRATEGY}=fsdp3: unknown; did you mean 'fsdp2'?",
    (f"{STRATEGY}={{name: fsdp2, single: true}}",): (
        f"{STRATEGY}.single: unknown; did you mean 'single_file'?"
    ),
    (f"{STRATEGY}={{name: expert_parallel, size: 1}}",): (
        f"{STRATEGY}.size=1 is invalid: expected an integer >= 2"
    ),
    (f"{STRATEGY}={{name: expert_parallel, size: 3}}",): (
        f"{STRATEGY}.size=3 is invalid: expected a divisor of the 2 processes"
    ),
    (f"{STRATEGY}={{name: expert_parallel, size: 2}}", "moe.num_experts=7"): (
        f"{STRATEGY}.size=2 is invalid: expected a divisor of moe.num_experts=7. "
        f"{STRATEGY}=fsdp2 takes any number of experts"
    ),
}

SCRIPT = f"""
import sys
import tasks
tasks.compose(["router=hash", "task=multitask"])
for settings in {[*REFUSED]}:
    assert tasks.main(["trainer.devices=2", *settings]) == 2
print(*sorted(set({HEAVY}) & sys.modules.keys()))
"""


def test_composing_and_refusing_settings_loads_no_heavy_library():
    run = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []
    for line, words in zip(run.stderr.splitlines(), REFUSED.values(), strict=True):
        assert line.startswith(f"error: {words}")
