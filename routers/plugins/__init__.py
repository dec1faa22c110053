"""Registries, checks of options against signatures, rebuilt parts, and configuration errors."""

from .errors import (
    ConfigError,
    OptionError,
    named,
    nearest_name,
    option_errors_under,
    unknown,
    unknown_option,
)
from .extras import missing, needed
from .rebuilding import arguments_of, fill, named_state, rebuilt, set_tensor
from .registry import Registry, import_parts, load_plugins
from .signature import (
    ShowsArguments,
    check_options,
    check_type,
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
    "arguments_of",
    "check_options",
    "check_type",
    "defaults",
    "fill",
    "fits_hint",
    "hint_mismatch",
    "import_parts",
    "load_plugins",
    "missing",
    "named",
    "named_state",
    "nearest_name",
    "needed",
    "option_errors_under",
    "parse_options",
    "rebuilt",
    "set_tensor",
    "unknown",
    "unknown_option",
]
