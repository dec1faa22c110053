"""Readers of a user's own data: files, folders and data sets of the hub."""

from .corpus import read_corpus, read_other_corpus
from .error import DataError, check_installed, needed
from .images import Images, read_images, read_other_images
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
from .table import Table, read_other_table, read_table
from .texts import Texts, read_other_texts, read_texts

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
    "check_installed",
    "needed",
    "read_corpus",
    "read_images",
    "read_other_corpus",
    "read_other_images",
    "read_other_table",
    "read_other_texts",
    "read_table",
    "read_texts",
    "source_of",
]
