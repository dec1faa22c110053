"""Readers of a user's own data: files, folders and data sets of the hub."""

from .corpus import read_corpus
from .error import DataError
from .images import Images, read_images
from .source import (
    CorpusSource,
    ImageSource,
    Source,
    TableSource,
    TargetColumn,
    TextSource,
    source_of,
)
from .split import Splits
from .table import Table, read_table
from .texts import Texts, read_texts

__all__ = [
    "CorpusSource",
    "DataError",
    "ImageSource",
    "Images",
    "Source",
    "Splits",
    "Table",
    "TableSource",
    "TargetColumn",
    "TextSource",
    "Texts",
    "read_corpus",
    "read_images",
    "read_table",
    "read_texts",
    "source_of",
]
