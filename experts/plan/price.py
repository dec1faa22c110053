"""The arithmetic of a plan: bytes, FLOPs, and the seconds that they take at given rates."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from routers import ConfigError, OptionError

from .._bank import EXPERTS, Bank
from .setting import DTYPES, Setting, rows_of

#: Passes over the matrices of a layer: forward, gradients of rows, gradients of matrices.
PASSES = 3
#: Numbers of rows are exchanged as int64.
COUNT_BYTES = 8
#: A row travels to its expert and back, and its gradients do.
TRIPS = 4


@dataclass(frozen=True)
class Price:
    """Time and memory of a training step on the busiest device, and bytes exchanged.

    Attributes:
        seconds: of each part of a step; ``overlap`` is below 0.
        memory: bytes of a device by what they hold.
        exchanged: bytes of rows, and of their numbers, that each device of a group sends.
        imbalance: rows of the busiest device relative to the mean.
    """

    seconds: Mapping[str, float]
    memory: Mapping[str, float]
    exchanged: tuple[float, ...]
    imbalance: float

    @property
    def total(self) -> float:
        """Seconds of a step."""
        return sum(self.seconds.values())

    @property
    def bottleneck(self) -> str:
        """The part that takes longest."""
        return max(self.seconds, key=self.seconds.__getitem__)


def exchanged_bytes(rows: Tensor, row_bytes: int) -> tuple[float, ...]:
    """Bytes that each process sends to others in a step with expert parallelism, one layer.

    Rows travel to their experts and back, and so do gradients; of each expert, the number of rows
    goes to its process. They are those that ``experts.parallel.count_exchanged_bytes`` counts, if
    the layer's input has a gradient and rows have no mask.

    Args:
        rows: ``(n, E)``, rows of each process for each expert.
        row_bytes: of one row.

    >>> exchanged_bytes(torch.tensor([[3, 1], [2, 2]]), row_bytes=10)
    (68.0, 68.0)
    """
    send = _between(rows)
    away = send.sum(1) - send.diagonal()  # leaves in two trips, and arrives in the other two
    come = send.sum(0) - send.diagonal()
    n, e = rows.shape
    counts = COUNT_BYTES * (e - e // n)
    return tuple((TRIPS / 2 * row_bytes * (away + come) + counts).tolist())


def price_of(setting: Setting) -> Price:
    """Price a plan; ``ConfigError`` if its experts do not take tokens.

    Matrix products take the larger of their time at peak and that of their matrices' bytes;
    functions of single values, such as activations, come after them: each value that an expert
    keeps is written and read once more. All on the device where it takes longest: exchanges make
    the others wait. Sums over parts, so nothing overlaps except shared experts with the exchange,
    in the forward pass.

    >>> setting = Setting(experts=8, expert_parallel=8, tokens=1024, dim=64, dtype="float32")
    >>> price = price_of(setting)
    >>> price.imbalance, price.bottleneck
    (1.0, 'latency')
    """
    size = DTYPES[setting.dtype].itemsize
    bank = _bank(setting)
    row_flops, row_saved = bank.flops((setting.dim,))[0], _saved_per_row(bank)
    n, copies = setting.expert_parallel, setting.devices // setting.expert_parallel
    rows = rows_of(setting)
    send = _between(rows)
    computed, sent = send.sum(0), send.sum(1)
    busiest, row_bytes = float(computed.max()), setting.dim * size
    own = setting.experts // n * bank.parameters_per_expert()[0] * size
    everyone = sum(p.numel() for p in bank.parameters()) - bank.parameters_per_expert()[0]
    everyone += setting.dim * setting.experts  # a linear gate
    everyone += setting.shared * sum(p.numel() for p in bank.parameters())

    def work(rows: float, matrices: float) -> float:
        rate = setting.activation_rate or setting.memory_bandwidth
        products = max(rows * row_flops / setting.peak, matrices / setting.memory_bandwidth)
        return PASSES * products + 2 * rows * row_saved / rate

    shared = work(setting.tokens * setting.shared, 0.0)
    moved = float((3 * sent + 4 * computed).max()) * row_bytes  # gather, sort, unsort, sum
    trip = _exchange(setting, send * row_bytes)
    shards = (copies - 1) / copies * own / _bandwidth(setting)
    shards += (setting.devices - 1) / setting.devices * everyone * size / _bandwidth(setting)
    kept = own / copies + everyone * size / setting.devices  # of parameters, on a device
    exchanges = (TRIPS + 1) * (n > 1) + PASSES * ((copies > 1) + (setting.devices > 1))
    seconds = {
        "experts": work(busiest, own),
        "shared experts": shared,
        "router": PASSES * 2 * setting.tokens * setting.dim * setting.experts / setting.peak,
        "moving rows": 2 * moved / setting.memory_bandwidth,
        "exchange of rows": TRIPS * trip,
        "sharding": PASSES * shards,
        "latency": exchanges * setting.latency,
        "optimizer": kept * (3 + 2 * setting.state_bytes / size) / setting.memory_bandwidth,
        "overlap": -min(trip, shared / PASSES),
    }
    gathered = own + everyone * size if setting.devices > n else 0
    memory = {
        "parameters": setting.layers * kept,
        "gradients": setting.layers * kept,
        "optimizer": setting.layers * kept / size * setting.state_bytes,
        "activations": setting.layers
        * (busiest * row_saved + 2 * float((sent + computed).max()) * row_bytes),
        "a gathered layer": float(gathered),
    }
    return Price(
        {name: setting.layers * value for name, value in seconds.items()},
        memory,
        exchanged_bytes(rows, row_bytes),
        busiest / float(computed.mean()),
    )


def _bank(setting: Setting) -> Bank:
    """One expert of the layer, without memory for it."""
    options = {} if setting.hidden is None else {"hidden": setting.hidden}
    with torch.device("meta"):
        bank: Bank = EXPERTS.build(setting.expert, setting.dim, 1, **options)
    if bank.row_axes != ("D",) or not bank.expert_parameters:
        expected = "experts of one form whose rows are tokens, such as mlp or glu"
        raise OptionError("plan.expert", setting.expert, expected)
    return bank.to(DTYPES[setting.dtype])


def _saved_per_row(bank: Bank) -> int:
    """Bytes of activations that the forward pass of an expert keeps for one row."""

    def saved(count: int) -> int:
        kept: dict[int, int] = {}

        def keep(tensor: Tensor) -> Tensor:
            kept[tensor.untyped_storage()._cdata] = tensor.untyped_storage().nbytes()
            return tensor

        dtype = next(bank.parameters()).dtype
        rows = torch.empty(count, bank.dim, dtype=dtype, device="meta", requires_grad=True)
        with saved_tensors_hooks(keep, lambda tensor: tensor):
            out = bank(rows, torch.tensor([count]))
        del out
        return sum(kept.values())

    try:
        return saved(2) - saved(1)
    except (NotImplementedError, RuntimeError) as error:
        raise ConfigError(
            f"plan.expert: {type(bank).__name__} cannot run without data, so its activations are "
            "unknown; plan with mlp or glu of the same cost"
        ) from error


def _between(rows: Tensor) -> Tensor:
    """Rows that each process sends to each process, ``(n, n)`` float64."""
    n, e = rows.shape
    return rows.double().view(n, n, e // n).sum(2)


def _exchange(setting: Setting, sent: Tensor) -> float:
    """Seconds of one exchange of bytes ``(n, n)`` between devices, each over its own links."""
    node = torch.arange(len(sent)) // setting.devices_per_node
    near = node.unsqueeze(0) == node.unsqueeze(1)
    away = sent.masked_fill(torch.eye(len(sent), dtype=torch.bool), 0.0)
    inside = away.where(near, 0.0) / setting.node_bandwidth
    outside = away.where(~near, 0.0) / setting.network_bandwidth
    seconds = torch.maximum(inside.sum(1), inside.sum(0))
    return float((seconds + torch.maximum(outside.sum(1), outside.sum(0))).max())


def _bandwidth(setting: Setting) -> float:
    """Of the links over which copies of parameters are gathered."""
    inside = setting.devices <= setting.devices_per_node
    return setting.node_bandwidth if inside else setting.network_bandwidth
