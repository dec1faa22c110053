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
    check_options,
    defaults,
    describe_arguments,
    fits_hint,
    hint_mismatch,
    record_arguments,
)

__all__ = [
    "ConfigError",
    "OptionError",
    "Registry",
    "check_options",
    "defaults",
    "describe_arguments",
    "fits_hint",
    "hint_mismatch",
    "import_parts",
    "load_plugins",
    "nearest_name",
    "option_errors_under",
    "record_arguments",
    "unknown",
    "unknown_option",
]
