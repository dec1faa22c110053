"""A data set, for a task that exists."""

import torch

from routers import OptionError
from tasks import DATA, DataSet, Images, Splits


@DATA.register("my_data")
class MyData(DataSet[Images]):
    """Bright squares on noise: is a square at the top or at the bottom?

    Replace this by what your data is: lists show the first line of a docstring.

    Args:
        number: of images.

    >>> len(MyData(number=100).read().train.y)
    80
    """

    # Keyword arguments are the options: task.data.number=1000 on the command line.
    def __init__(self, *, number: int = 400) -> None:
        if number < 40:
            raise OptionError("number", number, "an integer >= 40")
        self.number = number

    def read(self) -> Splits[Images]:
        """The splits, the same at every call: read your files here.

        ``Images`` are for ``task=image``, ``Texts`` for ``text_classification``, a ``Table`` for
        ``multitask`` and a tensor of bytes for ``language_model``.
        """
        draw = torch.Generator().manual_seed(0)
        y = torch.arange(self.number) % 2
        x = torch.randint(100, (self.number, 1, 16, 16), generator=draw).byte()  # (N, C, H, W)
        for image, label in zip(x, y.tolist(), strict=True):
            image[:, 8 * label : 8 * label + 8, 4:12] += 100
        images = Images(x, y, classes=("top", "bottom"))
        # Validation and test are taken from the images; val=… and test=… give your own.
        return Splits.of("squares", images)
