"""Options that change the traits of a router: what an instance declares holds as well."""

import pytest

from routers.conformance.checks import gradients, padding, traits
from routers.conformance.results import checks_in, raise_failures
from routers.conformance.suite import CHECKS, results_of

#: Options under which an instance declares other traits than its class.
CHANGED = [
    ("hash", {"by": "previous"}),
    ("hash", {"by": "bigram", "k": 2, "weighting": "sqrt_softplus"}),
    ("hash", {"by": "position", "k": 2}),
    ("merged", {"over": "segment", "segment": 2}),
    ("merged", {"over": "item"}),
    ("depth", {"predictor": "linear"}),
    ("soft_moe", {"combine": "uniform"}),
    ("soft_moe", {"dispatch": "uniform", "combine": "uniform"}),
]

READS = [check for check in CHECKS if check in checks_in(traits, gradients, padding)]


@pytest.mark.usefixtures("sizes_in_turn")
@pytest.mark.parametrize(("router", "options"), CHANGED, ids=str)
def test_what_an_option_changes_holds(router, options):
    found = results_of(READS, router, options)
    raise_failures(router, found, len(found))
