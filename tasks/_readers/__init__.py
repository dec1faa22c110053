"""Readers of a user's own data: files, folders and data sets of the hub."""

from ._corpus import read_corpus
from ._error import DataError
from ._images import read_images
from ._kinds import Images, Table, Texts
from ._source import (
    CorpusSource,
    ImageSource,
    Source,
    TableSource,
    Target,
    TextSource,
    source_of,
)
from ._split import Splits
from ._table import read_table
from ._texts import read_texts

__all__ = [
    "CorpusSource",
    "DataError",
    "ImageSource",
    "Images",
    "Source",
    "Splits",
    "Table",
    "TableSource",
    "Target",
    "TextSource",
    "Texts",
    "read_corpus",
    "read_images",
    "read_table",
    "read_texts",
    "source_of",
]
