"""Options of a part as words of a command line."""

from collections.abc import Sequence
from typing import Any

from .errors import ConfigError


def parse_options(words: Sequence[str]) -> dict[str, Any]:
    """Options from words ``key=value``; values are read as YAML.

    >>> parse_options(["k=4", "gate=mlp"])
    {'k': 4, 'gate': 'mlp'}
    """
    from omegaconf import OmegaConf

    for text in words:
        if not text.partition("=")[0].isidentifier() or "=" not in text:
            raise ConfigError(
                f"{text} is invalid: expected key=value, an option of the part's constructor"
            )
    try:
        found: Any = OmegaConf.to_container(OmegaConf.from_dotlist(list(words)))
    except Exception as error:  # of YAML
        problem = f"{' '.join(words)}: not readable as YAML ({getattr(error, 'problem', error)})"
        raise ConfigError(f"{problem}; quote text with brackets or a colon") from error
    return {str(key): value for key, value in found.items()}
