"""Data sets from a torch ``Dataset`` or a ``LightningDataModule``, as ``module:Class``."""

import hashlib
import inspect
from abc import abstractmethod
from collections.abc import Callable, Mapping
from functools import cache, wraps
from typing import Any, ClassVar

import torch
from torch.utils.data import Dataset

from ..loading.on_demand import seeded_draws
from .data_set import DataSet
from .labels import encode, need_two
from .split import SPLITS, Splits
from .torch_samples import TorchSplit, own_code

#: Options of a ``Dataset`` that select one of its splits, with the value for each.
SELECTORS: Mapping[str, Mapping[str, Any]] = {
    "train": {"train": True, "test": False},  # as torchvision has it
    "split": {split: split for split in SPLITS},
}


def as_data_set(part: Any) -> Any:
    """A class of data sets for one of torch or Lightning; anything else as it is.

    Samples are ``(x, y)``, or mappings with such keys as ``image`` or ``text``, and ``label``.
    The input is an image (Pillow, array or tensor; uint8, or floats from 0 to 1), or a text.

    >>> class Pairs(Dataset):
    ...     def __init__(self, *, number: int = 40): self.number = number
    ...     def __len__(self): return self.number
    ...     def __getitem__(self, row): return f"{row} {'ab'[row % 2]}", row % 2
    >>> splits = as_data_set(Pairs)(number=20).read()
    >>> splits.train.texts[:2], splits.train.y[:2].tolist(), len(splits.test.texts)
    ([b'0 a', b'3 b'], [0, 1], 2)
    """
    own: Any = part
    if isinstance(part, type) and issubclass(part, Dataset):
        return _adapted(own, _Datasets)
    if isinstance(part, type) and hasattr(part, "train_dataloader") and hasattr(part, "setup"):
        return _adapted(own, _DataModule)
    return part


class TorchData(DataSet[Any]):
    """The data of a class of the user's, whose constructor's arguments are its options."""

    own: ClassVar[Any]
    chosen: ClassVar[tuple[str, ...]] = ()

    def __init__(self, **options: Any) -> None:
        self.options = options

    @abstractmethod
    def datasets(self, reseed: Callable[[int], None]) -> dict[str, Any]:
        """The ``Dataset`` of each split, ``train`` always.

        ``reseed`` sets the seed of random draws, so that each call draws the same splits.
        """

    def read(self) -> Splits[Any]:
        """Images or texts; images that are too many for the memory stay where they are.

        Samples are read once for their labels and the hash of their content. Random transforms of
        images that are kept in memory draw once.

        Raises:
            DataError: naming class, split and sample.
        """
        name = self.own.__name__
        with own_code(name), seeded_draws() as reseed:
            found = self.datasets(reseed)
        parts = {
            split: TorchSplit(f"{name}, {split}", found[split])
            for split in SPLITS
            if split in found
        }
        for part in parts.values():
            part.scan()
            part.check_alike(parts["train"])
        labels = [label for part in parts.values() for label in part.labels]
        places = [place for part in parts.values() for place in part.places()]
        sizes = {split: len(part.labels) for split, part in parts.items()}
        codes, classes = encode("label", labels, places.__getitem__, sizes, parts["train"].classes)
        need_two(name, "label", codes[: sizes["train"]], classes)
        of_parts = torch.split(torch.from_numpy(codes), list(sizes.values()))
        digest = hashlib.sha256(repr((classes, sizes)).encode())
        samples: dict[str, Any] = {}
        for (split, part), y in zip(parts.items(), of_parts, strict=True):
            digest.update(part.digest.digest() + y.numpy().tobytes())
            samples[split] = part.samples(y, classes)
        return Splits.of(name, **samples, sha256=digest.hexdigest())


class _Datasets(TorchData):
    """A class of ``Dataset``; an option ``train`` or ``split`` selects one of its splits."""

    def datasets(self, reseed: Callable[[int], None]) -> dict[str, Any]:
        selected = {"train": dict[str, Any]()}
        for option in self.chosen:
            selected = {split: {option: value} for split, value in SELECTORS[option].items()}
        found = {}
        for split, selector in selected.items():
            reseed(0)
            found[split] = self.own(**self.options, **selector)
        return found


class _DataModule(TorchData):
    """A class of ``LightningDataModule``: the data sets of its loaders."""

    def datasets(self, reseed: Callable[[int], None]) -> dict[str, Any]:
        module = self.own(**self.options)
        found: dict[str, Any] = {}
        module.prepare_data()
        for stage, splits in (("fit", ("train", "val")), ("test", ("test",))):
            loaders = {split: getattr(module, f"{split}_dataloader") for split in splits}
            own = {s: f for s, f in loaders.items() if not _is_of_lightning(f.__func__)}
            if own:
                reseed(0)  # some draw all splits again for every stage
                module.setup(stage)
            found |= {split: loader().dataset for split, loader in own.items()}
        return found


def _is_of_lightning(function: Any) -> bool:
    """Whether a hook is the one that Lightning defines, which only raises."""
    return "lightning" in function.__module__.split(".")[0]


@cache
def _adapted(own: Any, base: type[TorchData]) -> type[TorchData]:
    """A subclass of ``base`` for a class of the user's, with its options."""
    parameters = inspect.signature(own).parameters
    chosen = tuple(name for name in SELECTORS if base is _Datasets and name in parameters)[:1]

    def init(self: TorchData, **options: Any) -> None:
        base.__init__(self, **options)

    kept = [parameter for name, parameter in parameters.items() if name not in chosen]
    names = {"own": own, "chosen": chosen, "__doc__": own.__doc__, "__module__": own.__module__}
    names |= {"__init__": wraps(own.__init__)(init), "__signature__": inspect.Signature(kept)}
    return type(own.__name__, (base,), names)
