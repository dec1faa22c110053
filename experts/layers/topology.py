"""Several gates over one bank: which gate reads what, and which experts it may choose."""

from dataclasses import dataclass
from itertools import chain

from routers import OptionError


@dataclass(frozen=True)
class GateBranch:
    """One gate.

    Attributes:
        reads: the stream it looks at.
        experts: the experts it may choose, in the order in which it numbers them.
    """

    reads: int
    experts: tuple[int, ...]


@dataclass(frozen=True)
class GateTopology:
    """Streams of features, experts that each work on one, and gates that each read one.

    The last stream holds what all share: the only one of a multi-gate mixture, the shared one
    of progressive extraction, all views together. Shared experts and dense controls work on it.

    Attributes:
        streams: ``S``, how many there are.
        sources: ``(E,)`` the stream that each expert works on.
        branches: one per gate, and so per output.

    Raises:
        ValueError: where a stream or an expert does not exist, a gate has none or one twice, or
            an expert has no gate.

    >>> wiring = mmoe(4, tasks=2)
    >>> wiring.num_experts, wiring.num_gates, wiring.dense().num_experts
    (4, 2, 1)
    """

    streams: int
    sources: tuple[int, ...]
    branches: tuple[GateBranch, ...]

    def __post_init__(self) -> None:
        reads = [branch.reads for branch in self.branches]
        for stream in chain(self.sources, reads):
            if not 0 <= stream < self.streams:
                raise ValueError(f"stream {stream} does not exist; there are {self.streams}")
        for gate, branch in enumerate(self.branches):
            if not branch.experts or len(set(branch.experts)) < len(branch.experts):
                raise ValueError(f"gate {gate} has experts {branch.experts}; give each one once")
            for expert in branch.experts:
                if not 0 <= expert < self.num_experts:
                    raise ValueError(
                        f"gate {gate}: expert {expert} does not exist; there are {self.num_experts}"
                    )
        chosen = set(chain.from_iterable(branch.experts for branch in self.branches))
        if not chosen or len(chosen) < self.num_experts:
            idle = sorted(set(range(self.num_experts)) - chosen)
            raise ValueError(f"experts {idle} have no gate that may choose them")

    @property
    def num_experts(self) -> int:
        """``E``."""
        return len(self.sources)

    @property
    def num_gates(self) -> int:
        """``G``, one output each."""
        return len(self.branches)

    def dense(self) -> "GateTopology":
        """One expert in place of all: it works once on the last stream, for every gate."""
        last = self.streams - 1
        return GateTopology(self.streams, (last,), (GateBranch(last, (0,)),) * self.num_gates)


def mmoe(num_experts: int, tasks: int) -> GateTopology:
    """Multi-gate mixture: every task's gate chooses among all experts; one stream.

    Source: MMoE, Ma et al. 2018 (KDD, doi 10.1145/3219819.3220007), equations 6 and 7.

    >>> mmoe(3, tasks=2).branches[1]
    GateBranch(reads=0, experts=(0, 1, 2))
    """
    everyone = tuple(range(num_experts))
    return GateTopology(1, (0,) * num_experts, (GateBranch(0, everyone),) * tasks)


def cgc(num_experts: int, *, tasks: int, shared: int) -> GateTopology:
    """Customized gate control: a task's gate chooses among its own experts and shared ones.

    ``T + 1`` streams: task ``t`` and its own experts use stream ``t``, shared experts the last.
    Experts are numbered task by task, shared ones at the end. This is the last level of
    progressive extraction (PLE), or the only one.

    Source: Tang et al. 2020 (RecSys, doi 10.1145/3383313.3412236), section 4.1.

    Args:
        num_experts: ``E``; without the shared ones it splits evenly among the tasks.
        tasks: ``T``.
        shared: how many experts all tasks share.

    Raises:
        ConfigError: naming ``moe.num_experts`` where it does not split.

    >>> cgc(5, tasks=2, shared=1).branches
    (GateBranch(reads=0, experts=(0, 1, 4)), GateBranch(reads=1, experts=(2, 3, 4)))
    """
    own = _own_experts(num_experts, tasks, shared)
    common = tuple(range(tasks * own, num_experts))
    branches = tuple(GateBranch(t, (*range(t * own, t * own + own), *common)) for t in range(tasks))
    owners = tuple(t for t in range(tasks) for _ in range(own))
    return GateTopology(tasks + 1, owners + (tasks,) * shared, branches)


def cgc_shared(num_experts: int, *, tasks: int, shared: int) -> GateTopology:
    """All but the last level of progressive extraction: ``cgc`` and a gate for what is shared.

    The last gate reads the last stream and chooses among all experts; the ``T + 1`` outputs are
    the next level's streams.

    Source: PLE, Tang et al. 2020 (RecSys, doi 10.1145/3383313.3412236), section 4.2.

    Args:
        num_experts: as for ``cgc``.
        tasks: ``T``.
        shared: how many experts all tasks share.

    >>> cgc_shared(5, tasks=2, shared=1).branches[2]
    GateBranch(reads=2, experts=(0, 1, 2, 3, 4))
    """
    last = cgc(num_experts, tasks=tasks, shared=shared)
    everyone = GateBranch(tasks, tuple(range(num_experts)))
    return GateTopology(last.streams, last.sources, (*last.branches, everyone))


def views(num_experts: int, *, num_views: int, tasks: int = 1) -> GateTopology:
    """An expert, or several, per view (modality, group of features); gates see all views.

    ``V + 1`` streams: one per view, and the last with all views together, which the gates read.
    Experts are numbered view by view.

    Args:
        num_experts: ``E``, split evenly among the views.
        num_views: ``V``.
        tasks: gates, one output each.

    Raises:
        ConfigError: naming ``moe.num_experts`` where it does not split.

    >>> views(4, num_views=2).sources
    (0, 0, 1, 1)
    """
    if num_experts % num_views:
        raise OptionError(
            "moe.num_experts",
            num_experts,
            f"a multiple of {num_views}, so that every view has as many experts as the others",
        )
    each = num_experts // num_views
    everyone = tuple(range(num_experts))
    return GateTopology(
        num_views + 1,
        tuple(expert // each for expert in everyone),
        (GateBranch(num_views, everyone),) * tasks,
    )


def _own_experts(num_experts: int, tasks: int, shared: int) -> int:
    """How many experts each task has to itself."""
    own, rest = divmod(num_experts - shared, tasks)
    if rest or own < 1:
        few = ", ".join(str(shared + tasks * n) for n in (1, 2, 3))
        raise OptionError(
            "moe.num_experts",
            num_experts,
            f"{few} and so on: {shared} shared experts and as many for each of {tasks} tasks",
        )
    return own
