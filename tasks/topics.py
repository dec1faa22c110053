"""English that ships with Python: its help topics, to be predicted byte by byte."""

import hashlib
from collections.abc import Mapping
from pydoc_data import topics as pydoc

from torch import Tensor

from ._task import TASKS
from .bases.language import Language
from .readers import Splits
from .text.bytes import stream

#: Of validation and test, in bytes of the whole.
_SHARE = 0.1

#: Topics that share a paragraph of at least so many characters stay together.
_LONG = 60


@TASKS.register("topics")
class Topics(Language):
    """Predicts Python's help topics byte by byte: about 470,000 bytes of technical English.

    The text differs from one version of Python to the next; its hash identifies it. About
    80, 10 and 10% of the bytes train, validate and test. It is cut between topics, and topics
    that share a paragraph are on the same side, for many repeat each other; within a split
    topics follow each other by name.

    Args:
        model, length, context, ids, tokenizer: as in ``language_model``, as are windows and score.

    >>> corpus = Topics().corpus()
    >>> round(len(corpus.test) / sum(map(len, (corpus.train, corpus.val, corpus.test))), 1)
    0.1
    """

    def corpus(self) -> Splits[Tensor]:
        texts = {key: text.encode() for key, text in sorted(pydoc.topics.items())}
        parts = split(texts)
        where = "\n".join(" ".join(keys) for keys in parts)
        return Splits(
            "topics",
            _sha256(b"".join(texts.values())),
            _sha256(where.encode()),
            *(stream(b"".join(texts[key] for key in keys)) for keys in parts),
        )


def split(texts: Mapping[str, bytes]) -> tuple[list[str], list[str], list[str]]:
    """Names of texts to train, validate and test on, sorted.

    Groups of related texts, shuffled by a hash of their names, go to validation while they fit
    into a tenth of all bytes, then to test, and else to training.

    >>> [len(part) for part in split({name: name.encode() * 50 for name in "abcdefghij"})]
    [8, 1, 1]
    """
    room = _SHARE * sum(map(len, texts.values()))
    held_out: tuple[list[str], list[str]] = ([], [])
    left = [room, room]
    train: list[str] = []
    for keys in sorted(related(texts), key=lambda keys: _sha256(keys[0].encode())):
        size = sum(len(texts[key]) for key in keys)
        fits = [place for place in (0, 1) if size <= left[place]]
        if fits:
            left[fits[0]] -= size
        (held_out[fits[0]] if fits else train).extend(keys)
    return sorted(train), sorted(held_out[0]), sorted(held_out[1])


def related(texts: Mapping[str, bytes]) -> list[list[str]]:
    """Names in groups: texts that share a long paragraph, white space aside, are in the same.

    >>> same = b"a paragraph of more than sixty characters, which is " b"in two of the texts"
    >>> related({"a": same, "b": b"short", "c": b"short\\n\\n" + same})
    [['a', 'c'], ['b']]
    """
    group = {key: [key] for key in sorted(texts)}
    first: dict[bytes, str] = {}
    for key in group:
        for paragraph in texts[key].split(b"\n\n"):
            words = b" ".join(paragraph.split())
            if len(words) >= _LONG:
                one, other = group[first.setdefault(words, key)], group[key]
                if one is not other:
                    one += other
                    group |= dict.fromkeys(other, one)
    return list({id(keys): sorted(keys) for keys in group.values()}.values())


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
