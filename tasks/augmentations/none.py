"""No augmentation."""

from torch import Tensor

from ._base import AUGMENTATIONS, Augmentation


@AUGMENTATIONS.register("none")
class NoAugmentation(Augmentation):
    """Images as they are."""

    def __call__(self, x: Tensor) -> Tensor:
        return x
