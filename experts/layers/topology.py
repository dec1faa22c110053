"""Topologies of several gates over one bank: the streams and experts of each gate."""

from dataclasses import dataclass

from routers import OptionError


@dataclass(frozen=True)
class GateBranch:
    """One gate: the stream that it reads, and its experts in the order of its scores."""

    reads: int
    experts: tuple[int, ...]


@dataclass(frozen=True)
class GateTopology:
    """Streams of features, experts that each work on one, and gates that each read one.

    The last stream is common to all: the only one of a multi-gate mixture, the shared one of
    progressive extraction, all views together. Shared experts and dense controls work on it.

    Attributes:
        streams: ``S``, the number of streams.
        sources: ``(E,)`` the stream that each expert works on.
        branches: one per gate, and so per output.

    Raises:
        ValueError: if a stream or an expert does not exist, a gate has no expert or one twice, or
            an expert has no gate.

    >>> topology = mmoe(4, tasks=2)
    >>> topology.num_experts, topology.num_gates, topology.dense().num_experts
    (4, 2, 1)
    """

    streams: int
    sources: tuple[int, ...]
    branches: tuple[GateBranch, ...]

    def __post_init__(self) -> None:
        for stream in (*self.sources, *(branch.reads for branch in self.branches)):
            if not 0 <= stream < self.streams:
                raise ValueError(f"stream {stream} does not exist; there are {self.streams}")
        for gate, own in enumerate(branch.experts for branch in self.branches):
            if not own or len(set(own)) < len(own):
                raise ValueError(f"gate {gate} has experts {own}: expected each expert once")
            for expert in own:
                if not 0 <= expert < self.num_experts:
                    missing = f"expert {expert} does not exist; there are {self.num_experts}"
                    raise ValueError(f"gate {gate}: {missing}")
        chosen = {expert for branch in self.branches for expert in branch.experts}
        if not chosen or len(chosen) < self.num_experts:
            idle = sorted(set(range(self.num_experts)) - chosen)
            raise ValueError(f"experts {idle} have no gate that can select them")

    @property
    def num_experts(self) -> int:
        """``E``."""
        return len(self.sources)

    @property
    def num_gates(self) -> int:
        """``G``, one output each."""
        return len(self.branches)

    def dense(self) -> "GateTopology":
        """The topology with one expert instead of all: it runs once on the last stream."""
        last = self.streams - 1
        return GateTopology(self.streams, (last,), (GateBranch(last, (0,)),) * self.num_gates)


def mmoe(num_experts: int, tasks: int) -> GateTopology:
    """Multi-gate mixture: every task's gate selects among all experts; one stream.

    Source: MMoE, Ma et al. 2018 (KDD, doi 10.1145/3219819.3220007), equations 6 and 7.

    >>> mmoe(3, tasks=2).branches[1]
    GateBranch(reads=0, experts=(0, 1, 2))
    """
    everyone = tuple(range(num_experts))
    return GateTopology(1, (0,) * num_experts, (GateBranch(0, everyone),) * tasks)


def cgc(num_experts: int, *, tasks: int, shared: int) -> GateTopology:
    """Customized gate control: a task's gate selects among its own and shared experts.

    ``T + 1`` streams: task ``t`` and its own experts use stream ``t``, shared experts the last.
    Experts are numbered task by task, shared ones at the end. This is the last level of
    progressive extraction (PLE), or the only one.

    The ``num_experts - shared`` others split evenly among the tasks, else ``ConfigError``.

    Source: Tang et al. 2020 (RecSys, doi 10.1145/3383313.3412236), section 4.1.

    >>> cgc(5, tasks=2, shared=1).branches
    (GateBranch(reads=0, experts=(0, 1, 4)), GateBranch(reads=1, experts=(2, 3, 4)))
    """
    own, rest = divmod(num_experts - shared, tasks)
    if rest or own < 1:
        few = ", ".join(str(shared + tasks * n) for n in (1, 2, 3))
        expected = f"{few} or more: {shared} shared experts and equally many for each of "
        raise OptionError("moe.num_experts", num_experts, f"{expected}{tasks} tasks")
    common = tuple(range(tasks * own, num_experts))
    branches = tuple(GateBranch(t, (*range(t * own, t * own + own), *common)) for t in range(tasks))
    owners = tuple(t for t in range(tasks) for _ in range(own))
    return GateTopology(tasks + 1, owners + (tasks,) * shared, branches)


def cgc_shared(num_experts: int, *, tasks: int, shared: int) -> GateTopology:
    """All but the last level of progressive extraction: ``cgc`` and a gate of the shared stream.

    The last gate reads the last stream and selects among all experts; the ``T + 1`` outputs are
    the next level's streams. Arguments are those of ``cgc``.

    Source: PLE, Tang et al. 2020 (RecSys, doi 10.1145/3383313.3412236), section 4.2.

    >>> cgc_shared(5, tasks=2, shared=1).branches[2]
    GateBranch(reads=2, experts=(0, 1, 2, 3, 4))
    """
    last = cgc(num_experts, tasks=tasks, shared=shared)
    everyone = GateBranch(tasks, tuple(range(num_experts)))
    return GateTopology(last.streams, last.sources, (*last.branches, everyone))


def views(num_experts: int, *, num_views: int, tasks: int = 1) -> GateTopology:
    """One or more experts per view (modality, group of features); gates read all views.

    ``V + 1`` streams: one per view, and the last with all views together, which the gates read.
    Experts are numbered view by view, the same number for each, else ``ConfigError``. Every one of
    ``tasks`` has a gate.

    >>> views(4, num_views=2).sources
    (0, 0, 1, 1)
    """
    if num_experts % num_views:
        expected = f"a multiple of {num_views}, for the same number of experts per view"
        raise OptionError("moe.num_experts", num_experts, expected)
    everyone = tuple(range(num_experts))
    sources = tuple(expert // (num_experts // num_views) for expert in everyone)
    return GateTopology(num_views + 1, sources, (GateBranch(num_views, everyone),) * tasks)
