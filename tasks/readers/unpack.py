"""Archives read as the folder that they hold."""

import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from .error import DataError, reading
from .growth import check_growth
from .paths import existing, split_of, visible
from .source import Source

S = TypeVar("S", bound=Source)

#: Endings of archives.
ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz")


@contextmanager
def unpacked(source: S) -> Iterator[S]:
    """The source itself, or of archives the folders in them, unpacked as long as they are read.

    If an archive holds nothing but one folder, that is the folder; of several archives, one that
    is named after a split names its folder.

    Raises:
        DataError: if one cannot be read, would unpack to far more than it holds, or is given
            together with what is no archive.
    """
    paths = [] if source.hub is not None else existing(source)
    others = [path for path in paths if not path.name.lower().endswith(ENDINGS)]
    if len(others) == len(paths):
        yield source
        return
    if others:
        raise DataError(
            f"{source.title}: {others[0]} is no archive as others are; unpack these first"
        )
    with TemporaryDirectory() as temporary:
        shown: dict[str, str] = {}
        for number, path in enumerate(paths):
            folder = inner = _unpack(path, Path(temporary, str(number), path.name))
            while len(only := visible(inner)) == 1 and only[0].is_dir():
                inner = only[0]
            place = path / inner.relative_to(folder)
            if len(paths) > 1 and split_of(path):
                named = Path(temporary, f"{number}-split", path.name)
                named.parent.mkdir()
                inner = inner.rename(named)
            shown[str(inner)] = str(place)
        folders = list(shown)
        try:
            yield replace(source, path=folders if len(folders) > 1 else folders[0])
        except DataError as error:  # it names files where they were unpacked
            message = str(error)
            for inside, there in shown.items():
                message = message.replace(inside, there)
            raise DataError(message) from error


def _unpack(path: Path, folder: Path) -> Path:
    """The folder, with what an archive holds."""
    folder.mkdir(parents=True)
    cure = "unpack it and give the folder"
    packed = path.stat().st_size
    with reading(path):
        if path.suffix.lower() == ".zip":
            with zipfile.ZipFile(path) as archive:
                check_growth(path, packed, sum(e.file_size for e in archive.infolist()), cure)
                archive.extractall(folder)
        else:
            with tarfile.open(path) as archive:
                check_growth(path, packed, sum(e.size for e in archive), cure)
                archive.extractall(folder, filter="data")
    return folder
