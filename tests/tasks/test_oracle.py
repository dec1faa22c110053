"""The alarm rings: a task that calls itself causal takes no router that looks ahead."""

import pytest

from routers import ConfigError
from tasks import Run, compose

from ..router_samples import traits
from .cases import NARROW, ROUTERS, TINY


@pytest.mark.parametrize("router", [name for name in ROUTERS if not traits(name).causal])
def test_a_causal_task_refuses_it(router):
    with pytest.raises(ConfigError, match=rf"router={router}: its routes depend on later items"):
        Run(compose([*TINY, NARROW, "task=spare_parts:CausalTask", f"router={router}"]))


def test_another_task_takes_it():
    Run(compose([*TINY, NARROW, "task=digits", "router=oracle"]))
