"""FSDP2: parameters, gradients and optimizer states are divided among processes."""

from pathlib import Path
from typing import Any

import torch.distributed as dist
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import nn
from torch.optim import Optimizer

import experts


class FullySharded(ModelParallelStrategy):
    """Lightning's strategy of FSDP2, with experts divided among processes.

    Args:
        parts: processes among which the experts of a layer are divided.
        single_file: write checkpoints as one file.
    """

    def __init__(self, parts: int, single_file: bool) -> None:
        self.parts = parts
        super().__init__(tensor_parallel_size=parts, save_distributed_checkpoint=not single_file)

    def setup_environment(self) -> None:
        self._data_parallel_size = self.num_nodes * self.num_processes // self.parts
        super().setup_environment()

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        is_new = not optimizer.state
        state = super().optimizer_state(optimizer)
        if is_new:
            optimizer.state.clear()  # torch takes a step without gradients to have one to save
        return state

    def load_checkpoint(
        self, checkpoint_path: str | Path, weights_only: bool | None = None
    ) -> dict[str, Any]:
        saved = super().load_checkpoint(checkpoint_path, weights_only)
        if saved["global_step"] == 0:
            for optimizer in self.optimizers:
                optimizer.state.clear()
        return saved

    def shard(self, backbone: nn.Module) -> None:
        """Divide the parameters of a network, once; those of the first process count."""
        if is_sharded(backbone):
            return
        for values in (*backbone.parameters(), *backbone.buffers()):
            if values.numel():
                dist.broadcast(values.detach(), 0)
        if self.parts > 1:
            experts.parallelize(backbone, self.device_mesh, "tensor_parallel")
        containers = (nn.ModuleList, nn.ModuleDict)  # have no forward
        blocks = [
            each
            for each in backbone.modules()
            if each is not backbone
            and not isinstance(each, containers)
            and any(isinstance(inner, experts.MoE) for inner in each.children())
        ]
        experts.fully_shard_layers(backbone, self.device_mesh, blocks=blocks)


def is_sharded(module: nn.Module) -> bool:
    """Whether this process holds only a part of some parameter."""
    return any(hasattr(values, "to_local") for values in module.parameters())


def whole_weights(module: nn.Module) -> dict[str, Any]:
    """Weights of a sharded module, gathered in the first process; all processes call it."""
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    return dict(get_model_state_dict(module, options=options))
