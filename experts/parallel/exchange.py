"""The exchange of rows between processes that each hold a part of the experts."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed._functional_collectives import (
    all_to_all_single,
    all_to_all_single_autograd,
    wait_tensor,
)
from torch.utils._python_dispatch import TorchDispatchMode

from routers.blocks import stable_order


@dataclass(frozen=True, eq=False)
class RowExchange:
    """The way of one batch's rows to the processes that hold their experts, and back.

    Process ``r`` of ``n`` holds the experts from ``r * E / n`` on. Rows leave sorted by expert, so
    the rows for one process lie together; those that arrive are sorted by sender, then by expert.

    Attributes:
        group: the ``n`` processes.
        send: rows to each process.
        receive: rows from each process.
        load: ``(E / n,)`` int64, rows of each expert of this process, from all processes.
        place: ``(R,)`` the place of each received row among the rows sorted by expert.
        order: ``(R,)`` the received row at each place, the inverse of ``place``.
    """

    group: dist.ProcessGroup
    send: list[int]
    receive: list[int]
    load: Tensor
    place: Tensor
    order: Tensor

    @classmethod
    def of(cls, load: Tensor, group: dist.ProcessGroup) -> "RowExchange":
        """Exchange the numbers of rows, ``load`` ``(E,)`` of this process's rows."""
        sent = load.view(group.size(), -1)
        received = _waited(all_to_all_single(load, None, None, group)).view_as(sent)
        send, receive = torch.stack([sent.sum(1), received.sum(1)]).tolist()
        own = torch.arange(sent.shape[1], device=load.device).repeat(len(sent))
        expert = own.repeat_interleave(received.flatten(), output_size=sum(receive))
        order = stable_order(expert, sent.shape[1])
        place = torch.empty_like(order)
        place.index_copy_(0, order, torch.arange(len(order), device=order.device))
        return cls(group, send, receive, received.sum(0), place, order)

    def start(self, rows: Tensor) -> Tensor:
        """Send rows ``(A, ...)`` on their way; ``arrive`` waits for what others sent."""
        return all_to_all_single_autograd(rows.contiguous(), self.receive, self.send, self.group)

    def arrive(self, travelling: Tensor) -> Tensor:
        """The received rows ``(R, ...)``, sorted by expert."""
        return _moved(_waited(travelling), self.place)

    def back(self, out: Tensor) -> Tensor:
        """Return results ``(R, ...)``, sorted by expert, to the senders of their rows."""
        rows = _moved(out, self.order)
        return _waited(all_to_all_single_autograd(rows, self.send, self.receive, self.group))


def _waited(travelling: Tensor) -> Tensor:
    """The plain tensor, once it has arrived."""
    arrived: Tensor = wait_tensor(travelling)  # type: ignore[no-untyped-call]
    return arrived


def _moved(rows: Tensor, place: Tensor) -> Tensor:
    """Row ``i`` at ``place[i]``, a permutation; its gradient is a selection and no sum."""
    return torch.empty_like(rows).index_copy(0, place, rows)


def count_exchanged_bytes(run: Callable[[], object]) -> int:
    """Bytes that this process sends to others for its rows, and for their numbers, in ``run()``.

    What a process keeps for its own experts does not count, nor do sums of gradients.

    >>> count_exchanged_bytes(lambda: torch.ones(2) @ torch.ones(2))
    0
    """
    with _Counter() as counter:
        run()
    return counter.total


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        if func is torch.ops._c10d_functional.all_to_all_single.default:
            rows, _, send, group = args
            if isinstance(group, str):
                group = dist.distributed_c10d._resolve_process_group(group)  # type: ignore[attr-defined,arg-type]
            left = sum(send) - send[group.rank()]
            self.total += left * rows[:1].nbytes if left else 0
        return func(*args, **(kwargs or {}))
