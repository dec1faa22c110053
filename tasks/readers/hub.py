"""Data sets of the Hugging Face hub."""

import hashlib
import os
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

from .error import DataError, check_installed, needed
from .parquet import arrow_sheet
from .sheets import Sheet, Sheets
from .source import Source
from .split import SPLITS

_NAMES = {"train": "train", "val": "validation", "test": "test"}
_OFFLINE = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE")
_SECONDS = 3.0


def hub_sheets(source: Source) -> Sheets:
    """The splits of a data set of the hub, ``NAME`` or ``NAME:CONFIG``.

    Raises:
        DataError: without the extra, without network, or where the hub has no such data.
    """
    assert source.hub is not None
    check_installed("datasets", "hub", source.title)
    if not _works_offline():
        _check_network(source)
    datasets = needed("datasets", "hub", source.title)  # takes seconds, so not before
    name, _, config = source.hub.partition(":")
    try:
        found = datasets.load_dataset(name, config or None)
        tables = {s: found[_NAMES[s]].with_format("arrow")[:] for s in SPLITS if _NAMES[s] in found}
    except Exception as error:  # network, names, scripts: a hub call may raise anything
        first = (str(error).splitlines() or [""])[0]
        raise DataError(
            f"{source.title}: cannot be loaded ({type(error).__name__}: {first}); "
            "check the name, give NAME:CONFIG where it has several, or download its files and "
            "give task.data.path"
        ) from error
    if "train" not in tables:
        raise DataError(
            f"{source.title}: has no split train but {', '.join(found)}; "
            "choose another, or download its files and give task.data.path"
        )
    sheets = {split: [_sheet(source, split, table)] for split, table in tables.items()}
    return Sheets(source, sheets, source.hub, _digest(tables))


def _sheet(source: Source, split: str, table: Any) -> Sheet:
    title = f"{source.title}, split {_NAMES[split]}"
    return arrow_sheet(title, table.schema, table.num_rows, table.column)


def _digest(tables: Mapping[str, Any]) -> str:
    """SHA-256 of the values, whatever files the hub keeps them in."""
    found = hashlib.sha256()
    for split, table in tables.items():
        for name in table.column_names:
            found.update(repr((split, name)).encode())
            for value in table.column(name).to_pylist():
                found.update(repr(value).encode())
    return found.hexdigest()


def _works_offline() -> bool:
    """Whether the hub's library is set to use downloaded data only."""
    return any(os.environ.get(name, "").upper() in ("1", "ON", "YES", "TRUE") for name in _OFFLINE)


def _check_network(source: Source) -> None:
    """Refuse at once what would hang for half a minute without network."""
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    answers: list[bool] = []
    # a thread, because looking up a name heeds no time limit
    asking = threading.Thread(target=lambda: answers.append(_answers(endpoint)), daemon=True)
    asking.start()
    asking.join(_SECONDS)
    if answers != [True]:
        raise DataError(
            f"{source.title}: {endpoint} cannot be reached; check the network, set "
            f"{_OFFLINE[0]}=1 to use what is already downloaded, or give task.data.path"
        )


def _answers(endpoint: str) -> bool:
    """Whether anything answers there, be it with an error."""
    request = urllib.request.Request(endpoint, method="HEAD")
    try:
        with urllib.request.urlopen(request, timeout=_SECONDS):
            return True
    except urllib.error.HTTPError:
        return True
    except (OSError, ValueError):
        return False
