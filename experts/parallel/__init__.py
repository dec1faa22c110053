"""Training over processes: experts split by expert parallelism, parameters sharded by FSDP2."""

from .exchange import RowExchange, count_exchanged_bytes
from .gradients import clip_grad_norm_
from .sharding import fully_shard_layers
from .split import ParallelBank, ParallelMoE, check_split, parallelize

__all__ = [
    "ParallelBank",
    "ParallelMoE",
    "RowExchange",
    "check_split",
    "clip_grad_norm_",
    "count_exchanged_bytes",
    "fully_shard_layers",
    "parallelize",
]
