"""Commands for parts outside of the project: ``new`` writes one, ``check`` checks a task."""

import re
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from keyword import iskeyword
from pathlib import Path
from typing import NamedTuple

from routers import ConfigError, OptionError
from routers.plugins import unknown

from ..config.auto import AUTO
from ..config.compose import user_path
from ..config.overrides import parse
from ..templates import KINDS, class_name, used_names, written
from .run_dir import write_text, writing


class PartCommand(NamedTuple):
    """A command: how to write it, and what returns its exit code for the words after it."""

    usage: str
    run: Callable[[Sequence[str]], int]


def _new(words: Sequence[str]) -> int:
    """Write a part and its test, and print what to do with them."""
    if len(words) < 2 or "=" in "".join(words[:2]):
        usage = PART_COMMANDS["new"].usage
        raise ConfigError(f"new: kind or name is missing; write {usage}. Kinds: {', '.join(KINDS)}")
    kind, name, *rest = words
    if kind not in KINDS:
        raise unknown("kind", kind, KINDS)
    for text in rest:
        if not text.startswith("out="):
            raise ConfigError(f"{text}: new takes no key but out")
    folder = user_path(rest[-1].removeprefix("out=")) if rest else Path()
    files = {folder / file: text for file, text in written(kind, name).items()}
    _check_name(kind, name, list(files))
    with writing(f"out={folder}"):
        folder.mkdir(parents=True, exist_ok=True)
        for path, text in files.items():
            write_text(path, text)
    print(_next_steps(kind, name, folder))
    return 0


def _check_name(kind: str, name: str, files: Sequence[Path]) -> None:
    """Raise ``ConfigError`` for a name that cannot be used, or that is in use."""
    if not re.fullmatch("[a-z][a-z0-9_]*", name) or _is_keyword(name):
        words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|\W+", "_", name).strip("_").lower()
        near = words if re.fullmatch("[a-z][a-z0-9_]*", words) else f"my_{words or kind}"
        near = f"my_{near}" if _is_keyword(near) else near
        expected = "lower-case letters, digits and _, a letter first, no keyword of Python or YAML"
        raise OptionError("name", name, expected, f"Try {near}")
    registry = KINDS[kind].registry()
    if name in registry.available():
        raise ConfigError(
            f"name={name}: {registry.key}={name} is registered already; choose another, such as "
            f"my_{name}"
        )
    if {name, class_name(name)} & used_names(kind):
        raise ConfigError(
            f"name={name}: the code of a new {kind} uses this name for something else; choose "
            f"another, such as my_{name}"
        )
    for path in files:
        if path.exists():
            raise ConfigError(
                f"name={name}: {path} exists already; choose another name, or remove it"
            )
    if find_spec(name) is not None:
        raise ConfigError(
            f"name={name}: a module of this name exists already, and one would hide the other; "
            f"choose another, such as my_{name}"
        )


def _is_keyword(name: str) -> bool:
    """Whether Python, YAML or a configuration reads a name as something else."""
    _, _, read = parse(f"plugins=[{name}]", (), lambda _: False)
    return iskeyword(name) or iskeyword(class_name(name)) or read != [name] or name == AUTO


def _next_steps(kind: str, name: str, folder: Path) -> str:
    """The use of the files of a new part."""

    def filled(text: str) -> str:
        return text.replace("NAME", name).replace("CLASS", class_name(name))

    of = KINDS[kind]
    target = name if kind == "loss" else class_name(name)
    group = of.registry().group
    use = filled(f"python -m tasks plugins=[NAME] {of.use}").rstrip()
    place = "" if folder == Path() else f"  first    cd {folder}\n"
    return (
        f"{folder / name}.py and {folder / f'test_{name}'}.py are written: change them.\n{place}"
        f"  check    {filled(of.check)}\n"
        f"  test     pytest test_{name}.py\n"
        f"  train    {use}\n"
        "  publish  in the pyproject.toml of a package, after which no plugins= is needed:\n"
        f'           [project.entry-points."{group}"]\n'
        f'           {name} = "{name}:{target}"'
    )


def _check(words: Sequence[str]) -> int:
    """Run the conformance kit on a task; the exit code is 1 if a check fails."""
    if not words or "=" in words[0]:
        usage = PART_COMMANDS["check"].usage
        raise ConfigError(f"check: the name of a task is missing; write {usage}")
    from rich.console import Console

    from routers.conformance import results_table

    from ..conformance import run_task_checks

    found = run_task_checks(words[0], *words[1:])
    Console(highlight=False).print(results_table(" ".join(words), found))
    return int(any(result.failure for result in found))


PART_COMMANDS = {
    "new": PartCommand("python -m tasks new KIND NAME [out=FOLDER]", _new),
    "check": PartCommand("python -m tasks check NAME [key=value …]", _check),
}
