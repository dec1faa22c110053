"""Commands that use a trained run: ``test``, ``predict``, ``routes``, ``probe`` and so on."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from routers import ConfigError

from ..config.compose import user_path
from ..readers import check_installed
from .edit import edit_folder
from .export import WEIGHTS, check_export, export
from .predictions import FORMATS, write_predictions
from .probe import USAGE as PROBE_USAGE
from .probe import write_probe
from .result import print_result
from .routes import USAGE, write_routes
from .run_dir import RESULT, read_json, write_json, writing
from .trained import load
from .weights import LAST, weights_of

if TYPE_CHECKING:
    from rich.console import Console


class Command(NamedTuple):
    """A command: how to write it, endings of its ``out`` (a folder has none), and what it does."""

    usage: str
    endings: tuple[str, ...]
    needs_out: bool
    run: Callable[["Console", Path, Sequence[str], str, Path | None], None]


def use(name: str, words: Sequence[str]) -> None:
    """Run the command called ``name`` with the words after it; ``ConfigError`` for bad ones."""
    command = COMMANDS[name]
    if not words or "=" in words[0]:
        raise ConfigError(f"{name}: the folder of a run is missing; write {command.usage}")
    overrides, own = [], dict[str, str]()
    for text in words[1:]:
        key, _, value = text.partition("=")
        if key in ("out", "checkpoint"):
            own[key] = value
        else:
            overrides.append(text)
    if command.needs_out and "out" not in own:
        raise ConfigError(f"{name}: out is missing; write {command.usage}")
    out = _unused(own["out"], command) if "out" in own else None
    from rich.console import Console

    checkpoint = own.get("checkpoint", LAST)
    command.run(Console(), user_path(words[0]), overrides, checkpoint, out)


def _unused(text: str, command: Command) -> Path:
    """The path that ``out`` names; ``ConfigError`` if it is taken, or has another ending."""
    out = user_path(text)
    if command.endings and out.suffix not in command.endings:
        allowed = ", ".join(command.endings)
        raise ConfigError(f"out={out}: unknown ending {out.suffix!r}; allowed: {allowed}")
    if out.exists():
        raise ConfigError(f"out={out}: exists already; choose another out, or remove it")
    if not out.parent.is_dir():
        raise ConfigError(f"out={out}: {out.parent} is no folder; create it, or choose another out")
    return out


def _test(
    console: "Console", folder: Path, overrides: Sequence[str], checkpoint: str, out: Path | None
) -> None:
    result = load(folder, *overrides, checkpoint=checkpoint).test()
    if out is not None:
        with writing(f"out={out}"):
            write_json(out, result)
    print_result(console, result)
    data = result["data"]
    console.print(f"Tested on {data['rows']['test']:,} samples of {data['name']}", soft_wrap=True)
    changes = [text for text in overrides if not text.startswith(("plugins=", "trainer."))]
    if changes and checkpoint == LAST and _same_score(folder, result):
        which = f"The score is that of {folder / RESULT}"
        console.print(f"{which}: {' '.join(changes)} did not change it", soft_wrap=True)


def _same_score(folder: Path, result: Mapping[str, Any]) -> bool:
    """Whether a result has the score of the run, on the data of the run."""
    if not (folder / RESULT).is_file():
        return False
    then = read_json(folder / RESULT)
    found = [
        (each["data"], each["score"]["name"], each["score"]["value"]) for each in (then, result)
    ]
    return found[0] == found[1]


def _predict(
    console: "Console", folder: Path, overrides: Sequence[str], checkpoint: str, out: Path | None
) -> None:
    assert out is not None
    if out.suffix == ".parquet":
        check_installed("pyarrow", "data", f"out={out}")
    columns = load(folder, *overrides, labelled=False, checkpoint=checkpoint).predict()
    rows = len(next(iter(columns.values())))
    with writing(f"out={out}"):
        write_predictions(out, {"index": range(rows), **columns})
    console.print(f"{rows:,} predictions are in {out}", soft_wrap=True)


def _export(
    console: "Console", folder: Path, overrides: Sequence[str], checkpoint: str, out: Path | None
) -> None:
    assert out is not None
    if overrides:
        raise ConfigError(f"{overrides[0]}: export takes no key but checkpoint and out")
    check_export(folder)
    weights, result = weights_of(folder, checkpoint), read_json(folder / RESULT)
    if checkpoint != LAST:  # the result of the run is that of its last weights
        result = load(folder, checkpoint=checkpoint).test()
    with writing(f"out={out}"):
        export(folder, weights, result, out)
    console.print(f"The weights are in {out / WEIGHTS}", soft_wrap=True)


def _edit(
    console: "Console", folder: Path, words: Sequence[str], checkpoint: str, out: Path | None
) -> None:
    assert out is not None
    with writing(f"out={out}"):
        print_result(console, edit_folder(folder, words, checkpoint, out))
    console.print(f"The edited run is in {out}", soft_wrap=True)


COMMANDS = {
    "test": Command(
        "python -m tasks test DIR [key=value …] [checkpoint=best] [out=FILE.json]",
        (".json",),
        False,
        _test,
    ),
    "predict": Command(
        "python -m tasks predict DIR [key=value …] [checkpoint=best] out=FILE.csv|jsonl|parquet",
        tuple(FORMATS),
        True,
        _predict,
    ),
    "edit": Command(
        "python -m tasks edit DIR 'edits=[{prune: {keep: 4}}]' [checkpoint=best] out=FOLDER",
        (),
        True,
        _edit,
    ),
    "routes": Command(USAGE, (), False, write_routes),
    "probe": Command(PROBE_USAGE, (), False, write_probe),
    "export": Command("python -m tasks export DIR [checkpoint=best] out=FOLDER", (), True, _export),
}
