"""Readers of a user's own data: files, folders and data sets of the hub."""

from .answers import TargetColumn
from .corpus import CorpusSource
from .data_set import DataSet, read_as
from .error import DataError, check_installed, needed
from .images import Images, ImageSource
from .registry import DATA, choose_data
from .source import Source
from .split import Splits
from .table import Table, TableSource
from .texts import Texts, TextSource

__all__ = [
    "DATA",
    "CorpusSource",
    "DataError",
    "DataSet",
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
    "choose_data",
    "needed",
    "read_as",
]
