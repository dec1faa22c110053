"""Results of checks, for the kits of all kinds of parts."""

import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import torch

if TYPE_CHECKING:
    from types import ModuleType

    from rich.console import RenderableType

Subject = TypeVar("Subject")


class CheckError(AssertionError):
    """A broken contract or trait: ``why`` states what failed, ``hint`` how to fix it."""

    def __init__(self, why: str, hint: str) -> None:
        super().__init__(f"{why}\n  hint: {hint}")
        self.why = why
        self.hint = hint


def require(kept: object, why: str, hint: str) -> None:
    """Raise ``CheckError`` unless ``kept``."""
    if not kept:
        raise CheckError(why, hint)


@dataclass(frozen=True)
class CheckResult:
    """The result of one check on one part.

    Attributes:
        check: its name, such as ``causal``.
        note: why the check did not apply, such as ``not declared``; empty otherwise.
        failure: what failed and how to fix it; None if the check passed.
    """

    check: str
    note: str = ""
    failure: CheckError | None = None


def checks_in(*modules: "ModuleType") -> list[Callable[..., Any]]:
    """The checks that modules define: their functions named ``check_…``, in order."""
    return [
        check
        for module in modules
        for name, check in vars(module).items()
        if name.startswith("check_") and check.__module__ == module.__name__
    ]


def check_name(check: Callable[..., Any]) -> str:
    """The name of a check in reports.

    >>> from routers.conformance.suite import CHECKS
    >>> check_name(CHECKS[0])
    'work_is_bounded'
    """
    return check.__name__.removeprefix("check_")


def result_of(check: Callable[..., Any], run: Callable[[], str | None], hint: str) -> CheckResult:
    """The result of a check that ``run`` runs; ``hint`` helps if the part raises an error."""
    try:
        return CheckResult(check_name(check), note=run() or "")
    except CheckError as broken:
        failure = broken
    except Exception as error:  # an error of the part is a result of the check
        failure = CheckError(f"{type(error).__name__}: {error}", hint)
        failure.__cause__ = error
    return CheckResult(check_name(check), failure=failure)


def raise_failures(part: str, found: Iterable[CheckResult], total: int) -> None:
    """Raise one ``CheckError`` that lists every failure, if there are any."""
    lines = [f"{result.check}: {result.failure}" for result in found if result.failure]
    if lines:
        why = f"{part} fails {len(lines)} of {total} checks\n" + "\n".join(lines)
        raise CheckError(why, "fix the failures in the order listed")


def results_table(part: str, found: Sequence[CheckResult]) -> "RenderableType":
    """Table of checks with the reason and a hint for each failure, and a summary line."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    for result in found:
        shown = [Text(result.note or "pass", style="dim" if result.note else "green")]
        if result.failure is not None:
            why = f"why   {result.failure.why}\nhint  {result.failure.hint}"
            shown = [Text("FAIL", style="bold red"), Text(why)]
        table.add_row(result.check.replace("_", " "), *shown)
    passed = sum(result.failure is None for result in found)
    return Group(table, Text(f"\n{part}: {passed} of {len(found)} checks pass"))


@dataclass(frozen=True)
class Kit(Generic[Subject]):
    """The checks of one kind of part.

    Attributes:
        checks: each takes a subject, raises ``CheckError`` if it fails, and returns a note if it
            does not apply.
        hint: helps if a part raises another error in a check.
    """

    checks: Sequence[Callable[[Subject], str | None]]
    hint: str

    def run(self, subject: Subject) -> list[CheckResult]:
        """The result of every check in order, each with random numbers from one seed."""
        found = []
        for check in self.checks:
            with seeded(0):
                found.append(result_of(check, partial(check, subject), self.hint))
        return found

    def require(self, part: str, subject: Subject) -> None:
        """Raise one ``CheckError`` that lists the failures, if there are any."""
        raise_failures(part, self.run(subject), len(self.checks))


def require_summary(part: object) -> None:
    """Raise ``CheckError`` unless the docstring of a part starts with a summary of one line."""
    doc = inspect.getdoc(part) if part.__doc__ else None  # the part's own, not an inherited one
    require(doc, "there is no docstring", "describe the part; lists show the first line")
    why = "the docstring does not start with a summary of one line"
    hint = "lists show the first line: put an empty line after it"
    require("\n" not in (doc or "").split("\n\n")[0], why, hint)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the global generator inside and restore it afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # the CPU's alone: checks run there
        yield
