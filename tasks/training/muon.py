"""Muon for the matrices of a network, AdamW for all its other parameters."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor
from torch.optim import AdamW, Optimizer


class Muon(Optimizer):
    """torch's ``Muon`` for hidden matrices, that of every expert for itself; AdamW for the rest.

    The rest are vectors, convolutions and the matrices that ``adamw`` names: Muon is not made for
    embeddings and output layers.

    Args:
        params: groups of named parameters.
        lr: learning rate of both.
        weight_decay: of both.
        momentum, nesterov, ns_coefficients, eps, ns_steps: as in ``torch.optim.Muon``.
        adjust_lr_fn: ``match_rms_adamw`` scales updates as large as those of AdamW, so that one
            learning rate fits both; ``original`` is torch's default.
        betas: of AdamW.
        adamw: patterns of names of matrices that AdamW updates.
    """

    def __init__(
        self,
        params: Iterable[dict[str, Any]],
        lr: float = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: Sequence[float] = (3.4445, -4.775, 2.0315),
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: str | None = "match_rms_adamw",
        betas: Sequence[float] = (0.9, 0.999),
        adamw: Sequence[str] = ("*head*", "*embed*", "*position*", "*table*", "*words*"),
    ) -> None:
        nothing: Any = [{"params": []}]
        muon: Any = torch.optim.Muon(
            nothing,
            lr,
            weight_decay,
            momentum,
            nesterov,
            ns_coefficients,  # type: ignore[arg-type]
            eps,
            ns_steps,
            adjust_lr_fn,
        )
        first, second = betas
        self._adamw = AdamW(nothing, lr, (first, second), weight_decay=weight_decay, fused=True)
        groups = []
        for group in params:
            patterns = group.get("adamw", adamw)
            matrices = [each for each in group["params"] if _is_matrix(each[0], each[1], patterns)]
            rest = [each for each in group["params"] if not _is_matrix(each[0], each[1], patterns)]
            groups.append({**muon.defaults, **group, "params": matrices, "muon": True})
            groups.append({**self._adamw.defaults, **group, "params": rest, "muon": False})
        self._names = tuple(muon.defaults)
        super().__init__([group for group in groups if group["params"]], {})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update all parameters once."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        for group in self.param_groups:
            if group["muon"]:
                self._step_matrices(group)
        # a loaded checkpoint replaces groups and state
        self._adamw.param_groups = [group for group in self.param_groups if not group["muon"]]
        self._adamw.state = self.state
        self._adamw.step()
        return loss

    def _step_matrices(self, group: dict[str, Any]) -> None:
        trained = [p for p in group["params"] if p.grad is not None]
        if views := [view for p in trained for view in self._matrices(p)]:
            options = {name: group[name] for name in self._names}
            muon: Any = torch.optim.Muon([weight for weight, _ in views], **options)
            muon.state.update((weight, {"momentum_buffer": momentum}) for weight, momentum in views)
            muon.step()

    def _matrices(self, stack: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Each matrix of a parameter with its gradient, and its momentum, as views."""
        assert stack.grad is not None
        state = self.state[stack]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(stack.grad)
        parts = (stack.detach(), stack.grad, state["momentum_buffer"])
        for weight, gradient, momentum in zip(
            *(part.view(-1, *part.shape[-2:]).unbind() for part in parts), strict=True
        ):
            weight.grad = gradient
            yield weight, momentum


def _is_matrix(name: str, parameter: Tensor, adamw: Sequence[str]) -> bool:
    """Whether Muon updates a parameter: a matrix, or a stack of those of experts."""
    return parameter.dim() in (2, 3) and not any(fnmatchcase(name, each) for each in adamw)
