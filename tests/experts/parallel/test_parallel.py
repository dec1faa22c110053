"""DDP, FSDP2 and expert parallelism take the steps of one process, on two and four processes."""

from functools import cache, partial

import pytest
import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.testing._internal.distributed.fake_pg import FakeStore

import experts
import routers
from experts import MoE
from routers import ConfigError

from .fleet import fleets
from .training import (
    Case,
    Layer,
    check_bytes,
    check_memory,
    check_overlap,
    check_routed_model,
    check_several_gates,
    check_state,
    check_steps,
)

#: A router for each strategy of selection, each layout and each form of execution.
ROUTERS = {
    "topk": Layer("topk", options={"k": 2}),
    "noisy_topk": Layer("noisy_topk", options={"k": 2}),
    "expert_choice": Layer("expert_choice"),
    "hash": Layer("hash", options={"buckets": 16}),
    "hierarchical": Layer("hierarchical"),
    "soft_mixture": Layer("soft_mixture"),
    "soft_moe": Layer("soft_moe", options={"slots": 2}),
    "agreement": Layer("agreement"),
    "losses of layers": Layer("topk", options={"k": 2}, reads=("simbal", "coupling")),
    "losses of outputs": Layer("topk", options={"k": 2}, reads=("output_orthogonality",)),
}

#: What else changes the rows that are exchanged.
UNEVEN = {
    "skew": Layer("topk", options={"k": 1, "weighting": "probability"}, skewed=True),
    "skew of ids": Layer("hash", options={"buckets": 16}, skewed=True),
    "capacity": Layer("topk", options={"k": 2}, moe={"capacity": 0.5}, skewed=True),
    "expert choice with capacity": Layer("expert_choice", moe={"capacity": 0.6}),
    "shared expert": Layer("topk", shared="glu"),
}

#: Options of architectures of one form besides ``mlp``.
BANKS = {
    "glu": {"hidden": 5},
    "low_rank": {"hidden": 5, "rank": 2},
    "singleton": {},
    "conv": {"hidden": 3, "kernel": 1},
    "gru": {"hidden": 3},
    "transformer": {"hidden": 5, "heads": 2},
}
SPLIT = {bank: Layer(bank=bank, expert=options) for bank, options in BANKS.items()}

#: Layers that are trained together, and the ways in which they are.
RUNS = {
    "routers": (Case(ROUTERS), ("ddp", "fsdp2", "1x2", "2x2")),
    "uneven rows": (Case(UNEVEN), ("ddp", "fsdp2", "1x2")),
    "accumulation, clipped": (
        Case(
            {
                "noisy_topk": ROUTERS["noisy_topk"],
                "low_rank": SPLIT["low_rank"],  # has stacks in submodules, and shared parameters
                **{name: UNEVEN[name] for name in ("capacity", "shared expert")},
            },
            micro_steps=2,
            clip=0.05,
            steps=4,
        ),
        ("1x2", "2x2"),
    ),
    "one process has only padding": (
        Case(
            {
                "topk": Layer("topk", options={"k": 2}, shared="mlp"),
                "soft_moe": Layer("soft_moe"),
                **{bank: SPLIT[bank] for bank in ("gru", "transformer")},
            },
            padded=True,
            steps=4,
        ),
        ("1x2",),
    ),
    "banks": (Case(SPLIT, steps=3), ("1x2",)),
    "all banks": (
        Case(
            {name: Layer(bank=name, expert=BANKS.get(name, {})) for name in experts.available()}
            | {name: Layer(name) for name in ("merged", "power_iteration")},
            steps=2,
        ),
        ("fsdp2",),
    ),
}
PROCESSES = {"ddp": 2, "fsdp2": 2, "1x2": 2, "2x2": 4}


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    with fleets(tmp_path_factory.mktemp("fleets"), 2, 4) as groups:
        yield groups


@pytest.fixture
def two(started):
    return partial(started, 2)


@pytest.fixture
def four(started):
    return partial(started, 4)


@pytest.fixture(scope="module")
def differences(started):
    """What differs from one process in a run, by layer; each run takes place once."""

    @cache
    def found(run: str, how: str) -> dict[str, str]:
        case = RUNS[run][0]
        try:
            return started(PROCESSES[how], check_steps, case, how)[0]
        except AssertionError as error:
            return dict.fromkeys(case.layers, str(error))

    return found


LAYERS_OF_RUNS = [
    (run, how, layer) for run, (case, ways) in RUNS.items() for how in ways for layer in case.layers
]


@pytest.mark.parametrize(("run", "how", "layer"), LAYERS_OF_RUNS)
def test_processes_take_the_steps_of_one(differences, run, how, layer):
    different = differences(run, how)
    assert layer not in different, different[layer]


def test_memory_of_experts_falls_as_their_number_of_processes(two, four):
    two(check_memory, 1, 2)
    four(check_memory, 1, 4)
    four(check_memory, 2, 2)


def test_state_is_gathered_loaded_and_resharded(four, tmp_path):
    four(check_state, str(tmp_path))


def test_shared_experts_work_while_rows_travel(two):
    two(check_overlap)


def test_several_gates_share_split_experts(two):
    two(check_several_gates)


@pytest.mark.parametrize("how", ["ddp", "fsdp2"])
def test_routed_models_train_as_in_one_process(two, how):
    two(check_routed_model, how)


@pytest.mark.parametrize("router", ["topk", "expert_choice", "soft_moe", "soft_mixture"])
def test_exchanged_bytes_are_those_of_the_plan(two, four, router):
    for processes in (two, four):
        assert sum(processes(check_bytes, ROUTERS[router])) > 0


# ---- refusals, in one process that believes to be one of four ----


@pytest.fixture
def mesh():
    torch.distributed.init_process_group("fake", store=FakeStore(), rank=1, world_size=4)
    yield init_device_mesh("cpu", (1, 4), mesh_dim_names=("data", "expert"))
    torch.distributed.destroy_process_group()


def layer_of(router="topk", bank="mlp", num_experts=8, **options):
    return MoE(
        routers.build(router, 8, num_experts), experts.build(bank, 8, num_experts, **options)
    )


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (lambda: layer_of(num_experts=6), "num_experts=6 is invalid: expected a multiple of 4"),
        (lambda: layer_of("merged"), "Merged averages the parameters of all experts.*fully_shard"),
        (lambda: layer_of(bank="mixed"), "Mixed has experts of several forms.*such as mlp"),
        (lambda: layer_of(bank="null"), "Null has experts of several forms"),
        (lambda: nn.Linear(2, 2), "the model has no MoE layer"),
    ],
)
def test_what_cannot_be_split_is_refused_before_anything_changes(mesh, layer, message):
    model = nn.Sequential(layer_of(), layer()) if isinstance(layer(), MoE) else layer()
    before = [type(module) for module in model.modules()]
    with pytest.raises(ConfigError, match=message):
        experts.parallelize(model, mesh)
    assert [type(module) for module in model.modules()] == before


def test_a_model_is_split_once_and_over_an_axis_that_exists(mesh):
    with pytest.raises(ConfigError, match="no axis 'experts', its axes are data, expert"):
        experts.parallelize(layer_of(), mesh, axis="experts")
    layer = experts.parallelize(layer_of(), mesh)
    with pytest.raises(ConfigError, match="split or sharded already"):
        experts.parallelize(layer, mesh)
    with pytest.raises(ConfigError, match=r"no axis besides expert.*\(1, n\)"):
        experts.fully_shard_layers(layer, mesh["expert"])


def test_a_replaced_forward_is_refused(mesh):
    layer = layer_of()
    layer.bank.forward = lambda rows, load, mask=None: rows
    with pytest.raises(ConfigError, match="forward is replaced on an instance"):
        experts.parallelize(layer, mesh)
