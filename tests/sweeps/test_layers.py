"""Expert architecture search by layer: a sweep over the settings of one layer."""

import pytest

from ..tasks.cases import result_of
from .cases import sweep


@pytest.mark.usefixtures("no_report")
def test_trials_have_the_layers_of_the_space(tmp_path):
    space = "layers.0.moe.num_experts: [4, 8], router.k: null, router.weighting: null"
    own = ("arms=[topk]", "controls=[]", f"space={{{space}}}", "sampler=grid", "confirm.seeds=1")
    assert sweep(tmp_path / "out", *own) == 0
    runs = [*tmp_path.glob("out/trials/topk/*/seed-0")]
    sizes = [[len(layer["load"]) for layer in result_of(run)["layers"]] for run in runs]
    assert sorted(sizes) == [[4, 8], [8, 8]]
