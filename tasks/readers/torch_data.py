"""Data sets from a torch ``Dataset`` or a ``LightningDataModule``, as ``module:Class``."""

import hashlib
import inspect
import re
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import cache, wraps
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, Dataset

from ..loading.on_demand import seeded_draws
from .data_set import DataSet
from .error import DataError
from .images import Images
from .labels import encode, encode_as, need_two
from .split import SPLITS, Splits
from .texts import Texts
from .torch_samples import TorchSplit, own_code

#: Options of a ``Dataset`` that select one of its splits, with the values for each.
SELECTORS: Mapping[str, Mapping[str, Sequence[Any]]] = {
    "train": {"train": [True], "test": [False]},  # as torchvision has it
    "split": {"train": ["train"], "val": ["val", "valid", "validation"], "test": ["test"]},
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
        found = self._found()
        parts = {split: TorchSplit(f"{name}, {split}", found[split]) for split in found}
        for part in parts.values():
            part.scan()
            part.check_alike(parts["train"])
        labels = [label for part in parts.values() for label in part.labels]
        places = [place for part in parts.values() for place in part.places()]
        sizes = {split: part.size for split, part in parts.items()}
        codes, classes = encode("label", labels, places.__getitem__, sizes, parts["train"].classes)
        need_two(name, "label", codes[: sizes["train"]], classes)
        of_parts = torch.split(torch.from_numpy(codes), list(sizes.values()))
        labelled = dict(zip(parts, zip(parts.values(), of_parts, strict=True), strict=True))
        samples: dict[str, Any] = {s: part.samples(y, classes) for s, (part, y) in labelled.items()}
        return Splits.of(name, **samples, sha256=_sha256(classes, labelled))

    def read_other(self, trained: DataSet[Any], known: Splits[Any], labelled: bool) -> Splits[Any]:
        """The splits of a training, but with the samples of this class to test on.

        Classes and their order stay as they were. If not ``labelled``, labels are not read, and
        ``y`` is -1; a sample may then be the input alone.

        Raises:
            DataError: naming class and sample, also for a class that is new or another size.
        """
        train, name = known.train, self.own.__name__
        if not isinstance(train, Images | Texts) or getattr(train, "group", None) is not None:
            raise DataError(
                f"{name}: has images or texts without groups, and the model was trained on other "
                "data; give data of the same kind"
            )
        found = self._found()
        split = "test" if "test" in found else "train"
        dataset: Any = found[split]
        if split == "train" and len(found) > 1:
            dataset = ConcatDataset(found.values())
            dataset.classes = getattr(found["train"], "classes", ())
        part = TorchSplit(f"{name}, {split}", dataset, labelled)
        part.scan()
        part.check_trained(tuple(train.x.shape[1:]) if isinstance(train, Images) else ())
        y, places = torch.full((part.size,), -1), list(part.places())
        if labelled:
            found_labels = (part.labels, places.__getitem__, part.classes)
            y = torch.from_numpy(encode_as(train.classes, "label", *found_labels))
        sha256 = _sha256(train.classes, {split: (part, y)})
        return known.tested_on(name, sha256, part.samples(y, train.classes))

    def _found(self) -> dict[str, Any]:
        """The ``Dataset`` of each split, in the order of ``SPLITS``."""
        with own_code(self.own.__name__), seeded_draws() as reseed:
            found = self.datasets(reseed)
        return {split: found[split] for split in SPLITS if split in found}


def _sha256(classes: tuple[str, ...], parts: Mapping[str, tuple[TorchSplit, Tensor]]) -> str:
    """SHA-256 of scanned samples and their labels, by split."""
    sizes = {split: part.size for split, (part, _) in parts.items()}
    digest = hashlib.sha256(repr((classes, sizes)).encode())
    for part, y in parts.values():
        digest.update(part.digest.digest() + y.numpy().tobytes())
    return digest.hexdigest()


class _Datasets(TorchData):
    """A class of ``Dataset``; an option ``train`` or ``split`` selects one of its splits."""

    def datasets(self, reseed: Callable[[int], None]) -> dict[str, Any]:
        if not self.chosen:
            reseed(0)
            return {"train": self.own(**self.options)}
        found: dict[str, Any] = {}
        for split, values in SELECTORS[self.chosen[0]].items():
            for value in values:
                reseed(0)
                try:
                    found[split] = self.own(**self.options, **{self.chosen[0]: value})
                except (ValueError, KeyError) as error:
                    if split == "train" or not re.search(rf"\b{value}\b", str(error)):
                        raise  # it is not about a split that the class does not have
                else:
                    break
        return found


class _DataModule(TorchData):
    """A class of ``LightningDataModule``: the data sets of its loaders."""

    def datasets(self, reseed: Callable[[int], None]) -> dict[str, Any]:
        module = self.own(**self.options)
        if _is_of_lightning(module.train_dataloader.__func__):
            problem = "has no train_dataloader, and training needs its samples; define it"
            raise DataError(f"{self.own.__name__}: {problem}")
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
