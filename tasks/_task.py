"""The contract of a task: data, network, loss and score."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from experts import EXPERTS, Bank, GateTopology, MoE
from routers import ConfigError, OptionError, Routing
from routers.plugins import Registry

from .pictures import Picture

if TYPE_CHECKING:
    from torchmetrics import Metric

#: Named tensors with the same first axis: ``x``, ``y`` and whatever else a task reads.
Batch = Mapping[str, Tensor]

#: Name of the table of the weights that several gates give to experts; reserved among outputs.
GATE = "gate"


class Layer(Protocol):
    """Builds the routed layer a backbone asks for."""

    def __call__(
        self,
        sample_shape: tuple[int, ...],
        wiring: Callable[[int], GateTopology] | None = None,
        bank: Callable[[int], Bank] | None = None,
    ) -> MoE:
        """A layer for samples of this shape, such as ``(L, D)``, batch axis left out.

        ``wiring`` maps the number of experts to the experts that each gate can choose, if the
        layer has several gates or inputs; None for one of each. ``bank`` maps it to the experts,
        such as copies of a module; None for those of the configuration.
        """


@dataclass(frozen=True)
class Data:
    """A data set, split once.

    Attributes:
        name: what it is called.
        sha256: of its content, so that a result names what it was measured on.
        train, val, test: the splits.
        split_sha256: of which rows went where, where the splits are not the source's own.
        made: names of the splits that were taken from training rows.
        guesses: options of the data set that were guessed, such as the column of the text.
    """

    name: str
    sha256: str
    train: Batch
    val: Batch
    test: Batch
    split_sha256: str | None = None
    made: tuple[str, ...] = ()
    guesses: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Score:
    """The score of a task: its name and ``maximize`` or ``minimize``."""

    name: str
    direction: str


def output_and_y(output: Any, batch: Batch) -> tuple[Tensor, Tensor]:
    """The input of most metrics: the output and ``batch["y"]``."""
    return output, batch["y"]


@dataclass(frozen=True)
class MetricSpec:
    """A metric and what it reads.

    Attributes:
        metric: a torchmetrics metric; a number, or a dict of numbers by label.
        reads: ``(output, batch) -> (predictions, targets)``, or further tensors that it takes.
    """

    metric: "Metric"
    reads: Callable[[Any, Batch], tuple[Tensor, ...]] = output_and_y


@dataclass(frozen=True)
class Labeling:
    """A labeling of samples, to measure which expert works on which label.

    Attributes:
        name: in the singular: ``class``, ``language``.
        names: of the labels.
        of: the label of each sample, ``(B,)``, or of each routed item, in their order; int64.
    """

    name: str
    names: tuple[str, ...]
    of: Callable[[Batch], Tensor]


@dataclass(frozen=True)
class Samples:
    """The data that a backbone is built for.

    Attributes:
        kind: ``images``, ``texts``, or ``windows`` of running text.
        shape: of the longest or only sample: ``(C, H, W)``, or ``(L,)`` bytes or tokens.
        outputs: number of classes.
        train: the training split before ``collate``, for statistics such as word frequencies.
        vocabulary: number of different values in texts, 256 for bytes.
    """

    kind: str
    shape: tuple[int, ...]
    outputs: int
    train: Batch
    vocabulary: int = 256
    _found: dict[Any, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def once(self, statistic: Callable[..., Any], *options: Hashable) -> Any:
        """``statistic(train, *options)``, computed once for all backbones of these samples."""
        key = statistic, options
        if key not in self._found:
            self._found[key] = statistic(self.train, *options)
        return self._found[key]


class Backbone(nn.Module, ABC):
    """A network with routed layers; it returns their routings and stores none.

    A backbone that ``task.model`` can name takes ``(layer, samples, *, options)``: the builder of
    its routed layers, the data it is for, and its options, which alone its docstring lists.
    Invalid options raise ``OptionError`` with their bare name.

    Class attributes:
        reads: the kind of ``Samples`` it works on, or several with spaces between them.
        reads_tokens: of texts it reads tokens too; False where it reads bytes alone.
        routes_tokens: items are patches or bytes; False where whole samples are routed. A
            backbone that routes patches has the options ``patch`` and ``overlap``.
        sample_axes: of what is routed, such as ``("D", "H", "W")`` for whole images; with none,
            whether an expert fits is known only once the network is built.
        expert: name of the expert that is used if a configuration names none.

    Attributes:
        seconds_per_sample: of a training step on two cores, about, besides the FLOPs: what the
            recipes of tasks expect.
    """

    reads: ClassVar[str] = ""
    reads_tokens: ClassVar[bool] = False
    routes_tokens: ClassVar[bool] = False
    sample_axes: ClassVar[tuple[str, ...]] = ()
    expert: ClassVar[str] = "mlp"
    seconds_per_sample: float = 0.0

    @abstractmethod
    def forward(self, batch: Batch) -> tuple[Any, list[Routing]]:
        """Output, as the task's loss reads it, and one routing per routed layer in their order."""


def fits(backbone: type[Backbone], bank: type[Bank]) -> bool:
    """Whether experts take the samples that a backbone routes, or it depends on their options."""
    samples, rows = backbone.sample_axes, bank.row_axes
    images = len(samples) == 3
    return not (samples and rows) or (len(rows) <= len(samples) and (len(rows) == 3) == images)


@dataclass(frozen=True)
class Baseline:
    """The score of a simple model on the splits of a task.

    Attributes:
        name: of the model.
        validation, test: its scores, as the task computes its own.
    """

    name: str
    validation: float
    test: float


class Task(ABC):
    """Data, network, loss and score; the constructor's keyword arguments are its options.

    Required are ``data``, ``backbone``, ``loss`` and ``measures``. A training step calls
    ``augment`` (training only), ``collate`` and, if a router reads ids, ``describe``, then the
    network and ``loss``, and with a teacher ``distillation_loss``. An evaluation updates
    ``measures``, combines them with ``overall`` and counts the rows of each expert by ``kinds``.
    Tables of routes also have the columns of ``content``, and their pages show ``pictures``.
    ``features`` describes ids to routers that prepare themselves from the training set.
    ``predictions`` and ``other_data`` are for the use of a trained network.

    Class attributes:
        score: name and direction of the result.
        causal: an output may not depend on later inputs, so routers must be causal.
        has_ids: batches can be described by content ids, which hash routing needs.
        has_tasks: batches name each sample's task, language or domain in ``task``.
        outputs: names of what is predicted, where it is several things at once.
        part_defaults: of parts that an option names, defaults other than their own, by option:
            ``{"model": {"dim": 128}}``; options that the named part does not have are left out.
        auto: names of options that ``recipe`` can choose by the data.
        speed: FLOPs per second of a training step on two cores, by which epochs fit into a budget.
        coupled: those of them whose values fit only to each other.
    """

    score: Score
    causal: ClassVar[bool] = False
    has_ids: bool = False
    has_tasks: bool = False
    outputs: tuple[str, ...] = ()
    part_defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    auto: ClassVar[tuple[str, ...]] = ()
    speed: ClassVar[float] = 50e9
    coupled: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def data(self) -> Data:
        """The data, the same for every seed."""

    def other_data(self, source: Mapping[str, Any], labelled: bool) -> Data:
        """The data with a test split from another source, named by values of the option ``data``.

        Labels and whatever is fitted to data stay those of the training split. If not
        ``labelled``, the source needs no labels, and what the batch holds as such has no meaning.
        """
        raise ConfigError(f"{type(self).__name__}: this task cannot read other data to test on")

    def recipe(self, seconds: float, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """Values by key for a configuration that leaves them to the data, which is read here.

        A value of a part is ``{name: …, option: …}``. What is missing keeps the value of
        ``conf/base.yaml``. ``trainer.max_epochs`` is the most that can be of use: it is lowered
        to what fits into the time. Nothing may depend on the router, so that routers are
        compared with equal settings.

        Args:
            seconds: of training on two cores, about.
            given: values by key that the configuration gives where the data could choose, of parts
                their names: ``{"task.model": "vit", "trainer.batch_size": 64}``.
        """
        return {}

    def same_data(self) -> Mapping[str, Any]:
        """Constructor arguments by which another task of this class reads no data again."""
        return {}

    def baseline(self, data: Data) -> Baseline:
        """Fit a simple model to the training split and score it on the others.

        Settings are chosen by the validation score.
        """
        raise ConfigError(f"{type(self).__name__}: this task has no simple baseline")

    @abstractmethod
    def backbone(self, layer: Layer) -> Backbone:
        """Build a network whose routed layers come from ``layer``; called after ``data``."""

    @abstractmethod
    def loss(self, output: Any, batch: Batch) -> Tensor:
        """Mean loss over the batch, a scalar."""

    def distillation_loss(
        self, output: Any, teacher: Any, batch: Batch, temperature: float
    ) -> Tensor:
        """Mean divergence of the network's output from a teacher's, a scalar.

        By default outputs are logits ``(..., C)``, or mappings of names to them, and the result is
        the mean of ``soft_divergence``. A task with other outputs overrides it; ``ConfigError``
        if there is nothing to compare.
        """
        if isinstance(output, Mapping) and isinstance(teacher, Mapping):
            both = [(output[name], teacher[name]) for name in output if name in teacher]
            found = [self.distillation_loss(*pair, batch, temperature) for pair in both]
            return torch.stack(found).mean()
        if not isinstance(output, Tensor) or output.dim() < 2 or output.shape[-1] < 2:
            raise ConfigError(
                f"{type(self).__name__}: the output is no logits (..., C) of two or more classes, "
                "which distil compares; remove distil, or define Task.distillation_loss"
            )
        if output.shape != teacher.shape:
            raise ConfigError(
                f"{type(self).__name__}: the output of the teacher is of shape "
                f"{tuple(teacher.shape)}, and of shape {tuple(output.shape)} here; give a teacher "
                "with the same classes"
            )
        return soft_divergence(output, teacher, temperature).mean()

    @abstractmethod
    def measures(self) -> dict[str, MetricSpec]:
        """Metrics of an evaluation, by name; the score is one of them, or made by ``overall``."""

    def overall(self, values: Mapping[str, float]) -> float:
        """The score, from the values of ``measures``."""
        return values[self.score.name]

    def kinds(self) -> tuple[Labeling, ...]:
        """Labelings of samples: which expert works on which class, language or domain."""
        return ()

    def content(self, batch: Batch) -> Mapping[str, Tensor]:
        """Columns of integers that identify what is routed, in addition to labels and ids.

        Each is ``(B,)``, of samples, or ``(B, L)``, of routed items in their order, of a collated
        batch: the byte of each position, the patch of an image.
        """
        return {}

    def pictures(self, batch: Batch) -> Sequence[Picture]:
        """A picture of each sample of a collated batch for pages of routes; none by default."""
        return ()

    def predictions(self, output: Any, batch: Batch) -> dict[str, list[Any]]:
        """Columns of a table of predictions by name, a value for each of ``B`` samples.

        ``class_columns`` makes those of a class.
        """
        raise ConfigError(f"{type(self).__name__}: this task defines no predictions of samples")

    def augment(self, batch: Batch) -> Batch:
        """A random variant of a training batch; called before ``collate``."""
        return batch

    def collate(self, batch: Batch) -> Batch:
        """The batch as the network reads it: scaled, cut to its longest text, all finite."""
        return batch

    def describe(self, batch: Batch) -> Batch:
        """The batch with ``ids`` added, ``(B,)`` or ``(B, L)`` as its layers route."""
        return batch

    def features(self, batch: Batch) -> Tensor:
        """A feature vector per id of a described batch, ``(*ids.shape, F)``."""
        return batch["x"]


def soft_divergence(logits: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Divergence of the classes of logits ``(..., C)`` from those of a teacher, ``(...)``.

    ``T^2 KL(softmax(teacher / T) || softmax(logits / T))``; with the factor gradients are of about
    the same size for every ``T``. Source: Hinton et al. 2015, 1503.02531, section 2.

    >>> found = soft_divergence(torch.zeros(2), torch.tensor([1.0, 3.0]).log(), temperature=1.0)
    >>> round(found.item(), 4)  # log(1/2) / 4 + 3 log(3/2) / 4
    0.1308
    """
    own, wanted = (F.log_softmax(each / temperature, -1) for each in (logits, teacher))
    return temperature**2 * F.kl_div(own, wanted, reduction="none", log_target=True).sum(-1)


def class_columns(name: str, classes: Sequence[str], probabilities: Tensor) -> dict[str, list[Any]]:
    """Columns of predictions of a class: the most probable one, and all probabilities ``(B, C)``.

    >>> from torch import tensor
    >>> class_columns("animal", ("cat", "dog"), tensor([[0.25, 0.75]]))
    {'animal': ['dog'], 'animal/cat': [0.25], 'animal/dog': [0.75]}
    """
    columns: dict[str, list[Any]] = {
        name: [classes[place] for place in probabilities.argmax(1).tolist()]
    }
    for label, values in zip(classes, probabilities.unbind(1), strict=True):
        columns[f"{name}/{label}"] = values.tolist()
    return columns


TASKS = Registry("task", Task, group="switchyard.tasks", positional=0)

BACKBONES = Registry("model", Backbone, group="switchyard.backbones", positional=2)


def check_counts(**counts: int) -> None:
    """Raise ``OptionError`` for a number below 1."""
    for name, value in counts.items():
        if value < 1:
            raise OptionError(name, value, "an integer >= 1")


#: Largest number of layers; more is taken for a typing error, as each is built.
MAX_DEPTH = 1024


def check_depth(depth: int) -> None:
    """Raise ``OptionError`` for a number of layers outside [1, 1024]."""
    if not 1 <= depth <= MAX_DEPTH:
        raise OptionError("depth", depth, f"an integer in [1, {MAX_DEPTH}]")


def check_rates(**rates: float) -> None:
    """Raise ``OptionError`` for a number outside [0, 1)."""
    for name, rate in rates.items():
        if not 0 <= rate < 1:
            raise OptionError(name, rate, "a number in [0, 1)")


@contextmanager
def keys_complete() -> Iterator[None]:
    """Mark errors raised inside as naming a complete key, which outer parts do not extend.

    A backbone builds routed layers, whose errors name ``router.k``, not ``task.model.router.k``.
    """
    try:
        yield
    except OptionError as error:
        raise ConfigError(str(error)) from error


def complete_part(
    task: type[Task], option: str, registry: Registry[Any], value: str | Mapping[str, Any]
) -> tuple[str, dict[str, Any]]:
    """Name and options of the part that an option of a task names, all defaults included.

    The default name is that of the task's constructor; the task's ``part_defaults`` override the
    defaults of the part. The value is a name, or ``{name: …, option: …}`` with either left out;
    ``OptionError`` for an unknown name, or an option that the part does not have.
    """
    given = {"name": value} if isinstance(value, str) else dict(value)
    if "name" not in given:
        given["name"] = inspect.signature(task).parameters[option].default
    name = given.pop("name")
    registry.get_part(name)
    registry.check_options(name, given)
    options = registry.options(name)
    preset = task.part_defaults.get(option, {})
    known = {key: preset[key] for key in preset if key in options}
    return name, {**options, **known, **given}


def choose_backbone(
    task: type[Task], kind: str, value: str | Mapping[str, Any], tokens: bool = False
) -> tuple[str, dict[str, Any]]:
    """Name and options of the backbone that the option ``model`` of a task chooses.

    ``OptionError`` if it does not read samples of this kind, or the ``tokens`` of a tokenizer.
    """
    name, options = complete_part(task, "model", BACKBONES, value)
    chosen = backbone_class(name)
    fitting = [each for each in BACKBONES if kind in backbone_class(each).reads.split()]
    if kind not in chosen.reads.split():
        raise OptionError("model", name, f"a backbone for {kind} ({', '.join(fitting)})")
    if tokens and not chosen.reads_tokens:
        reading = ", ".join(each for each in fitting if backbone_class(each).reads_tokens)
        expected = f"a backbone that reads tokens ({reading})"
        raise OptionError("model", name, expected, "Or leave out task.tokenizer")
    return name, options


def fitting_model(given: Mapping[str, Any], *models: str) -> str:
    """``task.model`` as given, else the first of ``models`` that fits to a given expert, if any.

    If none fits, it is the first.
    """
    if "task.model" in given:
        return str(given["task.model"])
    bank = EXPERTS.get_part(given["expert"]) if "expert" in given else Bank
    fitting = (model for model in models if fits(backbone_class(model), bank))
    return next(fitting, models[0]) if "expert" in given else models[0]


def backbone_class(name: str) -> type[Backbone]:
    """The class of the backbone called ``name``."""
    found: Any = BACKBONES[name]
    return found
