"""The units that a text is read in: its bytes, or the tokens of a Hugging Face tokenizer."""

import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from routers import ConfigError, OptionError
from routers.plugins import needed

from .bytes import BYTES, CLASSES, class_of, features_of, real, stream

#: Characters of running text that a tokenizer reads at a time; it is cut after the end of a line.
_CHUNK = 2**20

#: What a tokenizer is called in a folder.
FILE = "tokenizer.json"


class Vocabulary(ABC):
    """Numbers of the units of texts.

    Attributes:
        size: ``V``; units are numbers in ``[0, V)``.
        unit: what they are, in the singular.
        column: the name of a column of such numbers.
    """

    size: int
    unit: str
    column: str

    @abstractmethod
    def units(self, texts: Sequence[bytes], most: int) -> Sequence[Sequence[int]]:
        """The units of each text, cut after ``most``."""

    @abstractmethod
    def join(self, units: Sequence[Any]) -> Tensor:
        """Units of several texts, one after the other, ``(n,)`` integers."""

    @abstractmethod
    def running(self, text: Tensor) -> tuple[Tensor, Tensor | None]:
        """Units of running text ``(bytes,)``, ``(n,)``, and how many bytes each has; None for 1."""

    @abstractmethod
    def classes(self, x: Tensor) -> Tensor:
        """Indices into ``CLASSES`` of units of any shape, int64."""

    @abstractmethod
    def features(self, x: Tensor, order: int) -> Tensor:
        """Numbers that describe the last ``order`` units at each position, ``(B, L, F)``."""

    @abstractmethod
    def text(self, x: Tensor) -> str:
        """The text of units ``(n,)``."""

    @abstractmethod
    def sha256(self, data: str) -> str:
        """The hash of data that is read in these units, from that of its bytes."""

    def pad(self, units: Sequence[Any], length: int) -> tuple[Tensor, Tensor]:
        """Texts in rows ``(B, L)``, 0 after their end, and their lengths ``(B,)`` int64.

        >>> x, lengths = Bytes().pad([b"ab", b"cdef"], 3)
        >>> x.tolist(), lengths.tolist()
        ([[97, 98, 0], [99, 100, 101]], [2, 3])
        """
        cut = [each[:length] for each in units]
        lengths = torch.tensor([len(each) for each in cut], dtype=torch.int64)
        joined = self.join(cut)
        x = joined.new_zeros(len(cut), length)
        x[real(lengths, length)] = joined
        return x, lengths


class Bytes(Vocabulary):
    """Bytes, of any language or encoding."""

    size = BYTES
    unit = "byte"
    column = "byte_value"

    def units(self, texts: Sequence[bytes], most: int) -> Sequence[Sequence[int]]:
        return [text[:most] for text in texts]

    def join(self, units: Sequence[Any]) -> Tensor:
        return stream(b"".join(units))

    def running(self, text: Tensor) -> tuple[Tensor, Tensor | None]:
        return text, None

    def classes(self, x: Tensor) -> Tensor:
        return class_of(x)

    def features(self, x: Tensor, order: int) -> Tensor:
        return features_of(x, order)

    def text(self, x: Tensor) -> str:
        return bytes(x.tolist()).decode("utf-8", "surrogateescape")

    def sha256(self, data: str) -> str:
        return data


class Tokens(Vocabulary):
    """Tokens of a Hugging Face tokenizer in a local file, or in a folder with ``tokenizer.json``.

    A byte that is no UTF-8 reaches the tokenizer as a replacement character. Settings for
    padding and truncation in the file have no effect.

    Raises:
        OptionError: naming ``tokenizer``, if the file is missing or no tokenizer.
        ConfigError: without the package ``tokenizers``, with its install command.
    """

    unit = "token"
    column = "token"

    def __init__(self, path: str) -> None:
        file = Path(path).expanduser()
        file = file / FILE if file.is_dir() else file
        if not file.is_file():
            raise OptionError.about(
                "tokenizer", f"={path}: no such file; give {FILE}, or a folder that holds it"
            )
        library = needed("tokenizers", "transformers", f"task.tokenizer={path}")
        content = file.read_bytes()
        try:
            self.tokenizer = library.Tokenizer.from_buffer(content)
        except Exception as error:  # the library raises plain exceptions
            raise OptionError.about(
                "tokenizer",
                f"={path}: is no tokenizer ({error}); give a {FILE} of the library tokenizers",
            ) from error
        self.tokenizer.no_padding()
        self.path, self._sha256 = path, hashlib.sha256(content).hexdigest()
        self.size = max(self.tokenizer.get_vocab().values(), default=-1) + 1
        if not self.size:
            raise OptionError.about("tokenizer", f"={path}: has no tokens; train it first")
        self._read: dict[bytes, tuple[Tensor, Tensor]] = {}

    def units(self, texts: Sequence[bytes], most: int) -> Sequence[Sequence[int]]:
        """With the tokens that the tokenizer adds to a text, such as ``[CLS]``."""
        self.tokenizer.enable_truncation(most)
        found = self.tokenizer.encode_batch([_text(text) for text in texts])
        units: list[list[int]] = [each.ids for each in found]
        empty = next((text for text, ids in zip(texts, units, strict=True) if not ids), None)
        if empty is not None:
            raise ConfigError(
                f"task.tokenizer={self.path}: the text {_text(empty)[:40]!r} has no token; remove "
                "it, or give another tokenizer"
            )
        return units

    def join(self, units: Sequence[Any]) -> Tensor:
        return torch.tensor(list(chain.from_iterable(units)), dtype=torch.int32)

    def running(self, text: Tensor) -> tuple[Tensor, Tensor | None]:
        """No tokens are added. Bytes from the end of a token to that of the next belong to the
        next; of a character in several tokens the first has all bytes. ``ConfigError`` unless the
        tokens give back the text: what a tokenizer leaves out would be predicted for free.
        """
        content = text.numpy().tobytes()
        key = hashlib.sha256(content).digest()
        if key not in self._read:
            self._read[key] = self._running(content.decode("utf-8", "surrogateescape"))
        return self._read[key]

    def _running(self, text: str) -> tuple[Tensor, Tensor]:
        self.tokenizer.no_truncation()
        ids, widths = list[int](), list[int]()
        for part in _chunks(text):
            chunk = _without_surrogates(part)
            found = self.tokenizer.encode(chunk, add_special_tokens=False)
            back = self.tokenizer.decode(found.ids, skip_special_tokens=False)
            if back != chunk:
                place = next(
                    (at for at, (one, other) in enumerate(zip(chunk, back, strict=False))
                     if one != other),
                    min(len(chunk), len(back)),
                )  # fmt: skip
                raise ConfigError(
                    f"task.tokenizer={self.path}: its tokens do not give back the text: "
                    f"{chunk[place : place + 20]!r} becomes {back[place : place + 20]!r}, so bits "
                    "per byte would leave out a part; give a tokenizer of bytes (ByteLevel) "
                    "without normalizer and without add_prefix_space"
                )
            ids += found.ids
            widths += _widths(part, [end for _, end in found.offsets])
        return torch.tensor(ids, dtype=torch.int32), torch.tensor(widths, dtype=torch.int32)

    @cached_property
    def _last_bytes(self) -> Tensor:
        """The last byte of each token's text, ``(V,)`` uint8; 0 where it has none."""
        texts = self.tokenizer.decode_batch([[token] for token in range(self.size)], False)
        return stream(b"".join(text.encode("utf-8", "replace")[-1:] or b"\0" for text in texts))

    def classes(self, x: Tensor) -> Tensor:
        """The classes of the last bytes of tokens: many begin with a space."""
        return class_of(self._last_bytes.to(x.device)[x.long()])

    def features(self, x: Tensor, order: int) -> Tensor:
        """Classes and bits of the numbers of tokens."""
        places = torch.arange(max(self.size - 1, 1).bit_length(), device=x.device)
        bits = (x.unsqueeze(-1).long() >> places) & 1
        each = torch.cat([F.one_hot(self.classes(x), len(CLASSES)), bits], -1).float()
        back = range(order - 1, -1, -1)
        return torch.cat([F.pad(each, (0, 0, n, 0))[:, : x.shape[1]] for n in back], -1)

    def text(self, x: Tensor) -> str:
        found: str = self.tokenizer.decode(x.tolist())
        return found

    def sha256(self, data: str) -> str:
        return hashlib.sha256(f"{data} {self._sha256}".encode()).hexdigest()


def read_vocabulary(tokenizer: str | None) -> Vocabulary:
    """The tokens of a tokenizer, or bytes if None."""
    return Bytes() if tokenizer is None else Tokens(tokenizer)


def _text(text: bytes) -> str:
    return _without_surrogates(text.decode("utf-8", "surrogateescape"))


def _without_surrogates(text: str) -> str:
    """The text with a replacement character for each byte that is no UTF-8."""
    return re.sub("[\udc80-\udcff]", "\ufffd", text)


def _chunks(text: str) -> list[str]:
    r"""Text in parts that end with a line, if there is one in time.

    >>> len(_chunks("word " * 2**18)), [len(part) for part in _chunks("a\n" * 2**19 + "b")]
    (2, [1048576, 1])
    """
    parts, start = [], 0
    while start < len(text):
        end = min(start + _CHUNK, len(text))
        line = text.rfind("\n", start, end) + 1 if end < len(text) else end
        parts.append(text[start : line or end])
        start = line or end
    return parts


def _widths(text: str, ends: Sequence[int]) -> list[int]:
    """Bytes of each token by the places after their last characters; the last has the rest.

    >>> _widths("né e", [2, 2, 4])  # é has two bytes, and is in two tokens
    [3, 0, 2]
    >>> _widths("abc", [2, 1, 3])  # ends need not ascend
    [2, 0, 1]
    """
    place, widths = 0, list[int]()
    for end in [*ends[:-1], len(text)]:
        widths.append(len(text[place:end].encode("utf-8", "surrogateescape")))
        place = max(place, end)
    return widths
