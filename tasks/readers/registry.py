"""The registry of data sets: files of several kinds, and classes of a user's."""

import os
from collections.abc import Mapping
from typing import Any

from routers.plugins import Registry

from .corpus import CorpusSource
from .data_set import DataSet
from .error import DataError
from .images import ImageSource
from .source import KEY
from .table import TableSource
from .texts import TextSource
from .torch_data import as_data_set

DATA: Registry[DataSet[Any]] = Registry(KEY, DataSet, group="switchyard.data", adapt=as_data_set)

DATA.register("images")(ImageSource)
DATA.register("texts")(TextSource)
DATA.register("corpus")(CorpusSource)
DATA.register("table")(TableSource)


def choose_data(default: str, given: Mapping[str, Any] | DataSet[Any]) -> DataSet[Any]:
    """The data set that the option ``data`` of a task chooses.

    Args:
        default: its name if the option has no ``name``.
        given: the option: ``name``, and the options of the data set; or a data set itself.

    Raises:
        ConfigError: for an unknown name, or an unknown or invalid option.

    >>> choose_data("images", {"path": "photos", "val": 0.2}).val
    0.2
    """
    if isinstance(given, DataSet):
        return given
    options = dict(given)
    name = options.pop("name", default)
    if isinstance(name, str) and name not in DATA.available() and os.path.exists(name):
        raise DataError(f"{KEY}={name}: is no name of a data set; give {KEY}.path={name}")
    return DATA.build(name, **options)
