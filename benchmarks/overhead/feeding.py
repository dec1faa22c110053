"""Share of a training step that is spent making the batch, for each task.

For every task that needs no data, and every command given: time to slice, augment and collate a
batch, and time of the whole step (forward, backward, optimizer), medians over the same batches.

    python benchmarks/overhead/feeding.py ["experiment=cifar10 task.data.path=FOLDER" …]
"""

import argparse
import shlex
import time
from collections.abc import Sequence
from itertools import islice
from statistics import median

from tasks import TASKS, Run, compose

BATCHES = 30


def share(overrides: Sequence[str]) -> tuple[float, float]:
    """Milliseconds to make a batch, and milliseconds of the step."""
    run = Run(compose(overrides))
    module, optimizer = run.module, run.module.configure_optimizers()["optimizer"]
    feeding, steps = [], []
    batches = iter(run.batches)
    for _ in range(min(BATCHES, len(run.batches))):
        start = time.perf_counter()
        batch = next(batches)
        run.task.collate(run.task.augment(batch))
        fed = time.perf_counter()
        feeding.append(fed - start)
        batch = module.prepare_batch(run.task.augment(batch))
        output, routings = module.backbone(batch)
        loss = run.task.loss(output, batch) + module.auxiliary_loss(routings)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        steps.append(time.perf_counter() - fed)
    return 1e3 * median(feeding), 1e3 * median(steps)


def main(commands: Sequence[str]) -> None:
    """Print a line for each task and command."""
    own = [f"task={name}" for name in TASKS.available() if "data" not in TASKS.options(name)]
    print(f"{'':44} {'batch, ms':>10} {'step, ms':>10} {'share':>7}")
    for command in [*own, *commands]:
        feeding, step = share(shlex.split(command))
        name = " ".join(islice(shlex.split(command), 1))
        print(f"{name:44} {feeding:10.2f} {step:10.1f} {feeding / step:7.1%}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("commands", nargs="*", help="settings of python -m tasks, quoted")
    main(parser.parse_args().commands)
