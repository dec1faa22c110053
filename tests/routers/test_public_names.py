"""The public names: enough to write a router, and quick to import."""

import copy
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import experts
import routers

ROOT = Path(routers.__file__).parent
HEAVY = ["lightning", "matplotlib", "omegaconf", "rich", "scipy", "sklearn", "torchmetrics"]
HEAVY += ["torch._dynamo"]


def outside(name: str, folder: Path) -> str:
    """Copy a strategy out of the package, its imports rewritten to public ones; its new name."""
    source = (ROOT / f"{name}.py").read_text(encoding="utf-8")
    source = source.replace("from ._router import", "from routers import")
    source = re.sub(r"^from \.(\w+) import", r"from routers.\1 import", source, flags=re.MULTILINE)
    source = source.replace(f'@ROUTERS.register("{name}")', f'@ROUTERS.register("outside_{name}")')
    (folder / f"outside_{name}.py").write_text(source, encoding="utf-8")
    return f"outside_{name}"


def all_modules(source: str) -> set[str]:
    return set(re.findall(r"^from (\S+) import", source, flags=re.MULTILINE))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(routers.ROUTERS, "_parts", dict(routers.ROUTERS._parts))
    yield tmp_path
    for module in [name for name in sys.modules if name.startswith("outside_")]:
        del sys.modules[module]


@pytest.mark.parametrize("name", routers.available())
def test_every_strategy_can_be_written_outside_of_the_package(name, folder):
    copy = outside(name, folder)
    private = {m for m in all_modules((folder / f"{copy}.py").read_text()) if "._" in m}
    assert not private
    routers.plugins.load_plugins([copy])
    given = routers.ROUTERS[name].__init__
    assert routers.ROUTERS[copy].__module__ == copy
    assert routers.ROUTERS[copy].__init__.__qualname__ == given.__qualname__


def test_a_strategy_outside_of_the_package_passes_the_checks(folder, monkeypatch):
    monkeypatch.setattr("routers.conformance.harness.SIZES", [(8, 4)])  # one is enough here
    copy = outside("sigmoid", folder)
    routers.plugins.load_plugins([copy])
    routers.check_router(copy)


@pytest.mark.parametrize("room", ["blocks", "gates", "losses", "metrics", "plugins", "routing"])
def test_rooms_are_modules(room):
    __import__(f"routers.{room}")
    assert getattr(routers, room) is sys.modules[f"routers.{room}"]


@pytest.mark.parametrize("room", ["blocks", "gates", "plugins", "routing"])
def test_all_names_of_a_room_exist(room):
    module = getattr(routers, room)
    assert sorted(module.__all__, key=str.lower) == sorted(set(module.__all__), key=str.lower)
    assert all(hasattr(module, name) for name in module.__all__)


def test_all_names_of_the_package_exist():
    assert all(hasattr(routers, name) for name in routers.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nope'"):
        _ = routers.nope


def test_importing_the_package_loads_neither_heavy_modules_nor_checks_until_they_are_asked_for():
    shown = "print(json.dumps(list(sys.modules)))"
    code = f"import json, sys, routers; {shown}; from routers import check_router; {shown}"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, after = (set(json.loads(line)) for line in run.stdout.splitlines())
    assert not before & {*HEAVY, "routers.conformance"}
    assert "routers.conformance.suite" in after


def test_a_router_prints_the_arguments_of_its_constructor():
    router = routers.build("topk", 8, 4, gate={"name": "mlp", "hidden": 3})
    shown = "dim=8, num_experts=4, k=2, weighting='renormalized', jitter=0.0"
    assert shown in repr(router)
    assert "(gate): MLP(dim=8, outputs=4, hidden=3, parameters=36)" in repr(router)


@pytest.mark.parametrize("name", routers.available())
def test_every_option_is_printed(name):
    router = routers.build(name, 8, 16)
    text = router.extra_repr()
    assert all(f"{option}=" in text for option in ["dim", *routers.ROUTERS.options(name)])
    assert all(hasattr(router, option) for option in routers.ROUTERS.options(name))


@pytest.mark.parametrize("name", ["mlp", "conv", "null"])
def test_every_option_of_a_bank_is_printed(name):
    text = experts.build(name, 8, 4).extra_repr()
    assert text.startswith("dim=8, num_experts=4")
    assert all(f"{option}=" in text for option in experts.EXPERTS.options(name))


def test_a_subclass_with_arguments_of_its_own_prints_those():
    class Louder(routers.ROUTERS["topk"]):
        def __init__(self, dim, num_experts, *, volume=3):
            super().__init__(dim, num_experts, k=4)
            self.volume = volume

    assert Louder(8, 16).extra_repr() == "dim=8, num_experts=16, volume=3, parameters=128"


def test_a_tensor_is_routed_as_items():
    router = routers.build("topk", 8, 4).eval()
    x = torch.randn(6, 8)
    assert router(x).expert.equal(router(routers.Items(x)).expert)


def test_what_is_no_tensor_of_items_is_an_error():
    router = routers.build("topk", 8, 4)
    with pytest.raises(TypeError, match=r"TopK routes Items or a tensor \(N, D\), not list"):
        router([[0.0] * 8])
    with pytest.raises(ValueError, match=r"x has shape \(2, 3, 8\): expected \(N, D\)"):
        router(torch.zeros(2, 3, 8))


@pytest.mark.parametrize("name", routers.available())
def test_an_argument_that_is_set_is_checked_as_in_the_constructor(name):
    router = routers.build(name, 8, 16)
    with pytest.raises(routers.OptionError, match="num_experts=0 is invalid"):
        router.num_experts = 0
    with pytest.raises(routers.OptionError, match="num_experts=32 is invalid"):
        router.num_experts = 32
    for option, value in routers.ROUTERS.options(name).items():
        if option not in router._modules:
            setattr(router, option, value)


def test_an_argument_that_is_set_has_its_effect():
    router = routers.build("sigmoid", 8, 4, rule="quantile")
    assert "rate=0.1," in repr(router)
    with pytest.raises(routers.OptionError, match=r"k=99 is invalid: expected an integer"):
        router.k = 99
    router.k = 3
    assert router(torch.randn(5, 8)).fan_out == router.bias.k == 3
    assert "k=3" in repr(router)
    bank = experts.build("mlp", 8, 4)
    assert "hidden=32, dropout=0.0, activation='gelu', parameters=2048" in repr(bank)
    with pytest.raises(routers.OptionError, match="hidden=64 is invalid"):
        bank.hidden = 64
    bank.dropout = 0.5
    assert bank.train()._parts()[-1] == 0.5
    router.rate = 0.25
    assert router.rate == router.bias.rate == 0.25
    router = routers.build("gumbel", 8, 4)
    router.floor = 0.75
    assert router.floor == router.temperature.floor == 0.75


@pytest.mark.parametrize(
    ("part", "option", "value"),
    [
        (routers.build("hash", 8, 4), "seed", 1),
        (routers.build("oracle", 8, 4), "table", "balanced"),
        (routers.build("mapped", 8, 4), "table", [0, 1, 2, 3]),
        (routers.build("noisy_topk", 8, 4), "gate", {"name": "linear", "scale": 0.1}),
        (routers.build("frozen", 8, 4), "options", {"gate": {"name": "linear", "scale": 0.1}}),
        (routers.gates.build_gate("linear", 8, 4), "scale", 0.1),
        (routers.gates.build_gate("cosine", 8, 4), "temperature", 0.1),
    ],
)
def test_an_argument_that_only_matters_at_construction_cannot_be_set(part, option, value):
    before = getattr(part, option)
    with pytest.raises(routers.OptionError) as refused:
        setattr(part, option, value)
    assert str(refused.value).startswith(f"{option}={value} is invalid: expected ")
    assert "which only matters at construction. Build another one" in str(refused.value)
    assert getattr(part, option) is before
    setattr(part, option, part._arguments[option])


def test_a_subclass_and_a_copy_keep_arguments_of_their_own():
    class Wider(routers.ROUTERS["topk"]):
        def __init__(self, dim, num_experts, *, extra=1):
            super().__init__(dim, num_experts, k=2 + extra)

    router = Wider(8, 4)
    assert (router.extra, router.k) == (1, 3)
    twin = copy.copy(router)
    router.extra = 2
    assert (router.extra, router.k, twin.extra, twin.k) == (2, 4, 1, 3)
    assert "extra=2" in repr(router)
    assert "extra=1" in repr(twin)
    with pytest.raises(routers.OptionError, match="k=5 is invalid"):
        twin.extra = 3
