"""Lines about data and network, printed before training."""

from .._task import Data, Task
from ..config.layers import arm_name, part_name
from ..config.schema import Config
from ..loading.batches import num_rows


def start_lines(
    config: Config, task: Task, data: Data, parameters: int, active_parameters: float
) -> list[str]:
    """A line about the data that was read, and one about the network.

    Args:
        config: of the run.
        task, data: the task and its data.
        parameters: of the network.
        active_parameters: those that work on one of the first samples before training, on average.
    """
    rows = {name: num_rows(getattr(data, name)) for name in ("train", "val", "test")}
    counts = ", ".join(f"{number:,} {name}" for name, number in rows.items())
    made = f"{' and '.join(data.made)} taken from train" if data.made else "splits as given"
    guesses = ", ".join(f"task.data.{name}={value}" for name, value in data.guesses.items())
    guessed = f"; guessed: {guesses}" if guesses else ""
    labels = [f"{kinds.name} ({len(kinds.names)})" for kinds in task.kinds()]
    model = config.task.get("model", {}).get("name", "network")
    expert = part_name(config, "expert")
    parts = f"{config.task['name']}, {model}, {arm_name(config)}, {expert}"
    size = f"{parameters:,} parameters, about {active_parameters:,.0f} active per sample"
    digest = f"sha256 {data.sha256[:12]}"
    if data.split_sha256 is not None:
        digest += f", of the split {data.split_sha256[:12]}"
    read = f"{counts} samples ({made}); labels: {', '.join(labels) or 'none'}; {digest}{guessed}"
    return [f"data: {data.name}, {read}", f"model: {parts}, {size}"]
