"""Planted: strategies of 2024 to 2026 and their relatives, three seeds each.

Trains ``python -m tasks task=planted`` once per arm and seed. Writes one row per run to
``benchmarks/results/strategies.csv`` and the table to ``docs/results_strategies.md``.

    python benchmarks/readme_tables/strategies.py            train what is missing, write the table
    python benchmarks/readme_tables/strategies.py ARM …      train these arms again
    python benchmarks/readme_tables/strategies.py --table    write the table from existing rows
"""

from collections.abc import Iterable
from pathlib import Path

from benchmarks.readme_tables.comparison import (
    RESULTS,
    Comparison,
    Row,
    average,
    column,
    interval,
    markdown,
    result_of,
    write_between,
)

TASK = "task=planted"
#: With one expert per item, as the task is made for it.
TOPK = "router=topk router.k=1 router.weighting=probability"
TOP2 = "router=topk router.k=2 router.weighting=renormalized"

REFERENCES = {
    "`topk`": TOPK,
    "`topk`, two experts": TOP2,
    "`random_fixed`": "router=random_fixed",
    "`uniform`": "router=uniform",
}
#: With what their sources change; losses are added to the balance loss of the task.
ROUTERS = {
    "`autonomous`": "router=autonomous expert=factorized",
    "`competition`": "router=competition losses.response_distance=1.0",
    "`default_topk`": "router=default_topk",
    "`dirichlet`": "router=dirichlet losses.divergence=0.01 losses.cardinality=0.01",
    "`document_pool`": "router=document_pool",
    "`k_subset`": "router=k_subset",
    "`power_iteration`": "router=power_iteration",
    "`recurrent`": "router=recurrent",
    "`routing_free`": "router=routing_free expert=factorized losses.balanced_sparsity=1.0",
    "`sparse_mixer`": "router=sparse_mixer router.k=1",
    "`stable`": "router=stable losses.imitation=0.3",
    "`ternary`": "router=ternary",
    "`top_any`": "router=top_any",
}
OPTIONS = {
    "`hash`, two experts": "router=hash router.k=2",
    "`hash`, learned weights": "router=hash router.k=2 router.weighting=sqrt_softplus",
    "`depth`, predictor": "router=depth router.predictor=linear losses.imitation=0.01",
    "`merged`, segments": "router=merged router.over=segment",
    "`sigmoid`": "router=sigmoid",
    "`sigmoid`, sqrt-softplus": "router=sigmoid router.score=sqrt_softplus",
    "`sigmoid`, bias on logits": "router=sigmoid router.bias_to=logits",
    "`sigmoid`, dual prices": "router=sigmoid router.rule=bip",
    "`sigmoid`, PID": "router=sigmoid router.rule=pid",
    "`soft_moe`": "router=soft_moe",
    "`soft_moe`, uniform dispatch": "router=soft_moe router.dispatch=uniform",
    "`soft_moe`, uniform combine": "router=soft_moe router.combine=uniform",
    "`random_fixed`, growing k": "router=random_fixed router.k=1 router.growth=100",
    "`null_experts`, bias of experts": "router=null_experts router.rule=experts",
}
GATES = {
    f"`topk`, gate `{gate}`": f"{TOPK} router.gate={gate}"
    for gate in ("prototype", "low_rank", "hadamard", "hypernetwork", "subspace")
}
LOSSES = {
    f"`topk`, loss `{name}`": f"{TOPK} losses.{name}={weight}"
    for name, weight in {
        "simbal": 0.01,
        "coupling": 0.1,
        "routing_variance": 0.1,
    }.items()
} | {"`topk`, two experts, loss `output_orthogonality`": f"{TOP2} losses.output_orthogonality=0.1"}
PLACES = {
    "`topk`, latent experts": f"{TOPK} moe.latent=8",
    "`topk`, two rounds": f"{TOPK} moe.rounds=2",
    "`topk`, two sub-tokens": f"{TOPK} moe.sub_tokens=2",
}


def figures(out: Path) -> Row:
    """Numbers to keep of a run."""
    result = result_of(out)
    compute, load = result["compute"], result["load"]
    return {
        "accuracy": result["score"]["value"],
        "cv": load["cv"],
        "max_violation": load["max_violation"],
        "parameters": compute["parameters"],
        "flops_per_item": compute["flops_per_item"],
    }


STRATEGIES = Comparison(
    rows=RESULTS / "strategies.csv",
    arms={
        arm: f"{TASK} {settings}"
        for group in (REFERENCES, ROUTERS, OPTIONS, GATES, LOSSES, PLACES)
        for arm, settings in group.items()
    },
    seeds=(0, 1, 2),
    figures=figures,
)
HEADINGS = ("arm", "test accuracy", "load CV", "MaxVio", "parameters", "kFLOPs")


def table(comparison: Comparison = STRATEGIES) -> str:
    """A Markdown table of the arms that have rows, in their order."""
    return markdown(HEADINGS, _lines(comparison))


def _lines(comparison: Comparison) -> Iterable[list[str]]:
    for arm in comparison.arms:
        rows = comparison.of(arm)
        if rows:
            yield [
                arm if len(rows) == len(comparison.seeds) else f"{arm} (seeds: {len(rows)})",
                *(interval(column(rows, name), 3) for name in ("accuracy", "cv", "max_violation")),
                f"{average(rows, 'parameters'):,.0f}",
                f"{average(rows, 'flops_per_item') / 1e3:.1f}",
            ]


def write() -> None:
    """Write the table to its page."""
    write_between("results_strategies.md", "strategies", table())


if __name__ == "__main__":
    STRATEGIES.run_command(__doc__, write)
