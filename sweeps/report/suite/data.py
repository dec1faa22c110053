"""The data of a suite's report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...results.suite_comparison import SuiteComparison
from ...results.suite_costs import Cost
from ..figures.style import ArmStyle, arm_styles


@dataclass(frozen=True)
class SuiteArm:
    """An arm with its style."""

    label: str
    style: ArmStyle


@dataclass(frozen=True)
class SuiteData:
    """A suite that was compared.

    Attributes:
        comparison: scores and verdicts.
        costs: load balance and compute.
        styles: by label.
        links: to the page of each benchmark, relative to the suite's; those that exist.
    """

    comparison: SuiteComparison
    costs: Sequence[Cost]
    styles: Mapping[str, ArmStyle]
    links: Mapping[str, str]

    @property
    def arms(self) -> list[SuiteArm]:
        """All arms, the best first."""
        return [SuiteArm(label, self.styles[label]) for label in self.comparison.order]


def collect_suite(
    comparison: SuiteComparison, costs: Sequence[Cost], links: Mapping[str, str]
) -> SuiteData:
    """Collect the data for the report of a suite; ``links`` are those of `SuiteData`."""
    suite = comparison.suite
    styles = arm_styles([(label, label, label in suite.controls) for label in suite.labels])
    return SuiteData(comparison, costs, styles, links)
