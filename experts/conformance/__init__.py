"""The conformance kit of expert banks, and functions that run it on one."""

from functools import partial
from typing import Any

from routers.conformance import CheckResult, Kit, checks_in

from .._bank import EXPERTS, Bank
from . import bank_checks
from .bank_checks import BankUnderTest, subject_of

KIT = Kit(checks_in(bank_checks), "let the bank accept the rows of this check")

__all__ = ["KIT", "BankUnderTest", "check_bank", "run_bank_checks"]


def check_bank(bank: str | type[Bank], **options: Any) -> None:
    """Check that an expert architecture keeps the contract of ``Bank``.

    Args:
        bank: a registered name, ``package.module:Class``, or a class.
        options: of the constructor.

    Raises:
        ConfigError: for an unknown name or invalid options.
        CheckError: lists every failed check with its reason and a hint.

    >>> check_bank("mlp", hidden=6)
    """
    KIT.require(getattr(bank, "__name__", str(bank)), _subject(bank, options))


def run_bank_checks(bank: str | type[Bank], **options: Any) -> list[CheckResult]:
    """The result of every check; ``ConfigError`` for an unknown name or invalid options."""
    return KIT.run(_subject(bank, options))


def _subject(bank: str | type[Bank], options: dict[str, Any]) -> BankUnderTest:
    if not isinstance(bank, str):
        return subject_of(partial(bank, **options))
    EXPERTS.check_options(bank, options)
    return subject_of(partial(EXPERTS.build, bank, **options))
