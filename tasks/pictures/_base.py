"""The contract of a picture of a sample."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

#: For each position of a sample its experts, the heaviest first; none where all were dropped.
Experts = Sequence[Sequence[int]]


class Picture(ABC):
    """A sample as a page shows it, its items in the colours of their experts.

    The page defines the colours as classes: ``e0`` of expert 0, ``none`` of items without one.
    """

    @abstractmethod
    def html(self, experts: Experts) -> str:
        """The sample as HTML.

        Args:
            experts: of each position, or of the whole sample if there is only one.
        """


def css_class(experts: Sequence[int]) -> str:
    """The class of an item with these experts: that of the heaviest.

    >>> css_class([3, 1]), css_class([])
    ('e3', 'none')
    """
    return f"e{experts[0]}" if experts else "none"


def words(experts: Sequence[int]) -> str:
    """A text on the experts of an item.

    >>> words([3, 1]), words([3]), words([])
    ('experts 3, 1', 'expert 3', 'no expert')
    """
    if not experts:
        return "no expert"
    return f"expert{'s' if len(experts) > 1 else ''} {', '.join(map(str, experts))}"
