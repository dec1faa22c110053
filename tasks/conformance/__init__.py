"""The conformance kit of tasks and backbones, and functions that run it on one."""

from routers.conformance import CheckResult, Kit, checks_in

from . import data_checks, network_checks
from .harness import TaskUnderTest, subject_of

KIT = Kit(
    checks_in(data_checks, network_checks), "let the task accept the few samples of this check"
)

__all__ = ["KIT", "TaskUnderTest", "check_task", "run_task_checks"]


def check_task(name: str, *overrides: str) -> None:
    """Check that a task, its backbone and its data keep their contracts.

    Args:
        name: a registered name, or ``package.module:Class``.
        overrides: ``key=value`` as for ``python -m tasks``, such as ``task.model=NAME`` to check
            a backbone, or ``router=hash``.

    Raises:
        ConfigError: for a configuration that cannot work.
        CheckError: lists every failed check with its reason and a hint.
    """
    KIT.require(" ".join([name, *overrides]), subject_of(name, overrides))


def run_task_checks(name: str, *overrides: str) -> list[CheckResult]:
    """The result of every check; ``ConfigError`` for a configuration that cannot work."""
    return KIT.run(subject_of(name, overrides))
