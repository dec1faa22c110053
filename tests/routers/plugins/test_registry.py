"""Registries: decorator, plug-ins, entry points, module:Class, and errors."""

from types import SimpleNamespace

import pytest

import routers
from routers import ConfigError, Router
from routers.plugins import Registry, load_plugins, registry

PLUGIN = """
from routers import Router, Routing

class Mine(Router):
    def forward(self, items):
        raise NotImplementedError

def not_a_router():
    pass
"""


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """The name of a fresh importable module that holds a router."""
    name = f"plugin_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(tmp_path)
    return name


def square(*, side: int = 2) -> int:
    return side**2


def circle(*, radius: float, name: str | None = None) -> float:
    return 3 * radius**2


def test_a_taken_name_raises():
    shapes = Registry("shape", base=None)
    shapes.register("square")(square)
    with pytest.raises(ConfigError, match=r"'square' is already registered by .*square.*circle"):
        shapes.register("square")(circle)
    assert shapes["square"] is square


def test_registering_the_same_part_again_is_harmless():
    shapes = Registry("shape", base=None)
    shapes.register("square")(square)
    shapes.register("square")(square)
    assert shapes.available() == ["square"]


def test_a_part_of_another_kind_raises():
    with pytest.raises(ConfigError, match=r"not a subclass of routers\._router\.Router"):
        routers.register("square")(square)
    assert "square" not in routers.available()


def test_unknown_name_gives_the_nearest():
    with pytest.raises(ConfigError, match=r"router=top_k: unknown; did you mean 'topk'\? Allowed:"):
        routers.build("top_k", 4, 4)


def test_unknown_option_gives_the_nearest():
    with pytest.raises(ConfigError, match=r"router\.wieghting: .*did you mean 'weighting'"):
        routers.build("topk", 4, 4, wieghting="probability")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": "2"}, r"router\.k=2: expected int, got str"),
        ({"k": 2.0}, r"router\.k=2\.0: expected int, got float"),
        ({"k": True}, r"router\.k=True: expected int, got bool"),
        ({"jitter": True}, r"router\.jitter=True: expected float, got bool"),
        ({"jitter": "high"}, r"router\.jitter=high: expected float, got str"),
        ({"weighting": 3}, r"router\.weighting=3: expected str, got int"),
        ({"gate": 3}, r"router\.gate=3: expected str or mapping, got int"),
    ],
)
def test_option_of_another_type(options, message):
    with pytest.raises(ConfigError, match=message):
        routers.build("topk", 4, 4, **options)


def test_an_integer_is_a_fine_float_and_null_a_fine_optional():
    shapes = Registry("shape", base=None)
    shapes.register("circle")(circle)
    assert shapes.build("circle", radius=2, name=None) == 12


def test_a_missing_option_is_named():
    shapes = Registry("shape", base=None)
    shapes.register("circle")(circle)
    with pytest.raises(ConfigError, match=r"shape\.radius: required; give shape\.radius=float"):
        shapes.build("circle")


def test_module_and_class(plugin):
    router = routers.build(f"{plugin}:Mine", 4, 3)
    assert isinstance(router, Router)
    assert (router.dim, router.num_experts) == (4, 3)


def test_module_and_class_that_are_not_there(plugin):
    with pytest.raises(ConfigError, match=rf"did you mean '{plugin}:Mine'"):
        routers.build(f"{plugin}:Mime", 4, 3)
    with pytest.raises(ConfigError, match=r"no such module; run from the folder that holds it"):
        routers.build("no_such_plugin:Mine", 4, 3)
    with pytest.raises(ConfigError, match=r"not_a_router is not a subclass"):
        routers.build(f"{plugin}:not_a_router", 4, 3)


@pytest.fixture
def install(monkeypatch):
    """Makes it as if a package with this entry point were installed."""

    def add(entry):
        groups = {"switchyard.routers": [entry]}
        monkeypatch.setattr(registry, "entry_points", lambda group: groups.get(group, []))
        registry._installed.cache_clear()

    yield add
    registry._installed.cache_clear()


def test_an_entry_point_may_not_take_a_name(install):
    install(SimpleNamespace(name="topk", value="theirs:TopK", load=None))
    with pytest.raises(ConfigError, match=r"'topk' names both routers\.topk.* plug-in theirs:TopK"):
        routers.build("topk", 4, 4)
    assert routers.build("uniform", 4, 4)
    install(SimpleNamespace(name="topk", value="routers.topk:TopK", load=None))
    assert routers.build("topk", 4, 4)


def test_an_entry_point_that_fails(install):
    def load():
        raise RuntimeError("no such luck")

    install(SimpleNamespace(name="theirs", value="theirs:X", load=load))
    with pytest.raises(ConfigError, match=r"router=theirs: .*test_registry.py, line .*luck"):
        routers.build("theirs", 4, 4)


def test_entry_points_are_looked_up_once(install, monkeypatch):
    install(SimpleNamespace(name="theirs", value="theirs:X", load=None))
    routers.available()
    monkeypatch.setattr(registry, "entry_points", None)
    assert "theirs" in routers.available()


def test_entry_points(install):
    topk = routers.ROUTERS["topk"]
    install(SimpleNamespace(name="theirs", value="theirs:TopK", load=lambda: topk))
    assert "theirs" in routers.available()
    assert isinstance(routers.build("theirs", 4, 4, k=3), topk)
    with pytest.raises(ConfigError, match=r"did you mean 'k'"):
        routers.build("theirs", 4, 4, kk=3)


def test_plugins_are_imported(plugin, tmp_path, monkeypatch):
    shapes = Registry("shape", base=None)
    monkeypatch.setattr(routers, "shapes", shapes, raising=False)
    (tmp_path / f"{plugin}_shapes.py").write_text(
        "import routers\n@routers.shapes.register('dot')\ndef dot():\n    return 0\n"
    )
    load_plugins([f"{plugin}_shapes"])
    assert shapes.build("dot") == 0


def test_missing_plugin_says_so():
    with pytest.raises(ConfigError, match=r"plugins=no_such_plugin: no such module"):
        load_plugins(["no_such_plugin"])


def test_an_import_error_inside_a_plugin_is_not_hidden(tmp_path, monkeypatch):
    (tmp_path / "plugin_that_lacks_something.py").write_text("import no_such_dependency")
    monkeypatch.syspath_prepend(tmp_path)
    message = r"plugin_that_lacks_something.py, line 1: .*'no_such_dependency'"
    with pytest.raises(ConfigError, match=message):
        load_plugins(["plugin_that_lacks_something"])


def test_options_lists_defaults():
    assert routers.ROUTERS.options("uniform") == {"k": 2}


def test_no_experts():
    with pytest.raises(ConfigError, match=r"num_experts=0 is invalid: expected an integer >= 1"):
        routers.build("uniform", 4, 0)
