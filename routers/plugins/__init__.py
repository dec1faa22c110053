"""Registries, the checks of options against signatures, and configuration errors."""

from .errors import (
    ConfigError,
    OptionError,
    nearest_name,
    option_errors_under,
    unknown,
    unknown_option,
)
from .registry import Registry, import_parts, load_plugins
from .signature import (
    ShowsArguments,
    check_options,
    defaults,
    fits_hint,
    hint_mismatch,
)
from .words import parse_options

__all__ = [
    "ConfigError",
    "OptionError",
    "Registry",
    "ShowsArguments",
    "check_options",
    "defaults",
    "fits_hint",
    "hint_mismatch",
    "import_parts",
    "load_plugins",
    "nearest_name",
    "option_errors_under",
    "parse_options",
    "unknown",
    "unknown_option",
]
