"""The time limit of a training, as ``trainer.max_time`` gives it."""

import re
from datetime import timedelta
from typing import Any

from routers import OptionError

from .schema import MAX_TIME

_UNITS = ("days", "hours", "minutes", "seconds")


def read_max_time(value: Any) -> timedelta:
    """The time limit of a configuration.

    Args:
        value: ``DD:HH:MM:SS``, or units by name such as ``{hours: 2}``; else ``OptionError``.

    >>> read_max_time("00:00:01:30").seconds, read_max_time({"hours": 2}).seconds
    (90, 7200)
    """
    text = value.strip() if isinstance(value, str) else ""
    if found := re.fullmatch(r"(\d+):(\d\d):(\d\d):(\d\d)", text):
        units: Any = dict(zip(_UNITS, map(int, found.groups()), strict=True))
    else:
        units = value
    try:
        limit = timedelta(**units)
    except (TypeError, ValueError, OverflowError) as error:
        expected = "DD:HH:MM:SS, or units such as {hours: 2, minutes: 30}"
        raise OptionError(MAX_TIME, value, expected) from error
    if limit <= timedelta():
        raise OptionError(MAX_TIME, value, "more than no time")
    return limit
