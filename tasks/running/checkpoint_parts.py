"""Checkpoints that are a folder with a part for each process."""

import io
import pickle
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from torch.distributed.checkpoint.metadata import Metadata

#: The index of the parts, and the file of what is no weight or optimizer state.
INDEX, STATE = ".metadata", "meta.pt"

#: The classes of torch that describe an index, and what else it may name.
_DESCRIPTION = "torch.distributed.checkpoint.metadata"
_NAMES = {
    ("torch", "Size"),
    ("torch.serialization", "_get_layout"),
    ("torch.distributed.checkpoint.filesystem", "_StorageInfo"),
    ("pathlib", "PosixPath"),
    ("pathlib", "WindowsPath"),
}


class _IndexUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module in ("torch", _DESCRIPTION) or (module, name) in _NAMES:  # no other is imported
            found = super().find_class(module, name)
            describes = getattr(found, "__module__", "") == _DESCRIPTION
            if describes or isinstance(found, torch.dtype) or (module, name) in _NAMES:
                return found
        raise pickle.UnpicklingError(f"{module}.{name} does not belong in an index")


def read_index(folder: Path) -> "Metadata":
    """The index of a checkpoint in parts, which torch can read after it without running code.

    torch reads the index, and entries that are no tensors, with an unrestricted ``pickle``.

    Raises:
        Exception: of any kind, if one of them is damaged or names anything but plain values.
    """
    from torch.distributed.checkpoint.metadata import BytesStorageMetadata

    with (folder / INDEX).open("rb") as file:
        index: Metadata = _IndexUnpickler(file).load()
    for entry, place in (index.storage_data or {}).items():
        if place.transform_descriptors:
            raise pickle.UnpicklingError(f"{entry.fqn} is compressed")
        if isinstance(index.state_dict_metadata[entry.fqn], BytesStorageMetadata):
            with (folder / place.relative_path).open("rb") as file:
                file.seek(place.offset)
                torch.load(io.BytesIO(file.read(place.length)), weights_only=True)
    return index


def read_step(path: Path) -> int:
    """The optimizer step after which a checkpoint was written, a file or in parts."""
    state = path / STATE if path.is_dir() else path
    saved = torch.load(state, map_location="cpu", mmap=True, weights_only=True)
    return int(saved["global_step"])


def shapes_of_parts(folder: Path) -> dict[str, torch.Size]:
    """Shapes of the weights in a checkpoint in parts, by name; errors as of ``read_index``."""
    entries, start = read_index(folder).state_dict_metadata, "state_dict."
    torch.load(folder / STATE, map_location="cpu", weights_only=True)
    sizes = {name: getattr(each, "size", torch.Size()) for name, each in entries.items()}
    return {name.removeprefix(start): sizes[name] for name in sizes if name.startswith(start)}


def load_parts(folder: Path) -> Any:
    """The weights and states in a checkpoint in parts; errors as of ``read_index``."""
    from torch.distributed.checkpoint.format_utils import dcp_to_torch_save

    read_index(folder)
    with TemporaryDirectory() as place, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about a single process, and storages
        whole = Path(place, "whole.ckpt")
        dcp_to_torch_save(folder, whole)
        saved = torch.load(whole, map_location="cpu", weights_only=True)
    states = [saved.pop(name) for name in [*saved] if name.startswith("optimizer_")]
    saved.update(torch.load(folder / STATE, map_location="cpu", weights_only=True))
    return {**saved, **({"optimizer_states": states} if states else {})}
