"""An expert architecture: the network that processes the rows of each expert."""

from collections.abc import Sequence

from torch import Tensor

from experts import EXPERTS, Bank, check_hidden, grouped_linear, stacked


@EXPERTS.register("my_expert")
class MyExpert(Bank):
    """A feed-forward network with one hidden layer, ``relu(x V_e) W_e``.

    Replace this by what your experts do: lists show the first line of a docstring.

    Args:
        hidden: ``H``, the hidden width; ``2 * dim`` if None.

    >>> import torch
    >>> bank = MyExpert(4, 3, hidden=8)
    >>> bank(torch.ones(5, 4), load=torch.tensor([2, 0, 3])).shape
    torch.Size([5, 4])
    """

    # A row is a token. ("L", "D") are whole sequences, ("D", "H", "W") whole images.
    row_axes = ("D",)
    # Parameters of shape (E, ...), in which alone experts differ; () if they have several forms.
    expert_parameters = ("up", "down")

    # Keyword arguments are the options: expert.hidden=64 on the command line.
    def __init__(self, dim: int, num_experts: int, *, hidden: int | None = None) -> None:
        super().__init__(dim, num_experts)
        self.hidden = check_hidden(hidden, 2 * dim)
        self.up = stacked(num_experts, dim, self.hidden)
        self.down = stacked(num_experts, self.hidden, dim)

    def forward(self, rows: Tensor, load: Tensor, mask: Tensor | None = None) -> Tensor:
        """``rows`` ``(A, D)`` are sorted by expert, and ``load`` ``(E,)`` counts those of each."""
        # Experts with a module each: torch.split(rows, load.tolist()), then torch.cat.
        return grouped_linear(grouped_linear(rows, self.up, load).relu(), self.down, load)

    def flops(self, row_shape: Sequence[int]) -> tuple[int, ...]:
        """Of one row; a multiply-add is 2, and element-wise work does not count."""
        return (2 * 2 * self.dim * self.hidden,) * self.num_experts
