"""The contract of an augmentation."""

from abc import ABC, abstractmethod

from torch import Tensor

from routers.plugins import Registry


class Augmentation(ABC):
    """A random variant of a batch of training images; options are its keyword arguments."""

    @abstractmethod
    def __call__(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` to the same shape and type, with draws from torch's generator."""


AUGMENTATIONS = Registry("augmentation", Augmentation, group="switchyard.augmentations")
