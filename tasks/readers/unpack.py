"""Archives read as the folder that they hold."""

import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from .error import DataError, reading
from .growth import check_growth
from .paths import existing, visible
from .source import Source

S = TypeVar("S", bound=Source)


@contextmanager
def unpacked(source: S) -> Iterator[S]:
    """The source itself, or of a ``.zip`` the folder in it, unpacked as long as it is read.

    If the archive holds nothing but one folder, that is the folder.

    Raises:
        DataError: if it cannot be read, or would unpack to far more than it holds.
    """
    if source.hub is not None or existing(source).suffix.lower() != ".zip":
        yield source
        return
    path = existing(source)
    with TemporaryDirectory() as temporary:
        folder = Path(temporary, path.name)
        with reading(path), zipfile.ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
            check_growth(path, path.stat().st_size, unpacked, "unpack it and give the folder")
            archive.extractall(folder)
        while len(inner := visible(folder)) == 1 and inner[0].is_dir():
            folder = inner[0]
        try:
            yield replace(source, path=str(folder))
        except DataError as error:  # it names files where they were unpacked
            shown = str(error).replace(temporary, os.path.dirname(path) or ".")
            raise DataError(shown) from error
