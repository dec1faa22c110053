"""Text models of Hugging Face transformers with routed layers."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from routers import ConfigError, OptionError, Routing
from routers.plugins import needed, unknown_option

from .._task import BACKBONES, Backbone, Batch, Layer, Samples
from ..text.bytes import BYTES
from ._routed_model import one_line, passed, put_layers, tried
from .encoder import pooled

#: Names that an error shows.
_SHOWN = 3

#: Outputs of a model that differ by less, relative to their deviation, are equal.
_EQUAL = 1e-5

#: What to do about a model that does not run.
_CURE = "choose another model, or settings that fit, such as longer max_position_embeddings"

#: Tokens by which a model is tried.
_TRIED = 8


@BACKBONES.register("transformers")
class Transformers(Backbone):
    """A model of transformers, with routed layers in place of modules such as ``layers.0.mlp``.

    Texts are classified by the mean and the largest value of the last hidden states over real
    positions and a linear head, as in ``encoder``; running text is predicted by the causal language
    model. Values are bytes, or the tokens of ``task.tokenizer``, and the embedding has a row for
    each. Needs the extra ``transformers``. Nothing is downloaded unless ``pretrained`` is a name.

    Args:
        config: of a model with random weights: ``{model_type: llama, hidden_size: 64, …}``, or a
            folder with ``config.json``; in both, the size of the vocabulary is that of the data.
        pretrained: instead, a folder with a model and its weights, or a name on the Hugging Face
            hub, from which it is then downloaded; needs ``task.tokenizer``.
        where: patterns of names of the modules to route, such as ``"*.mlp"``; for models like
            BERT, whose feed-forward network is no module, those of its layers,
            ``"encoder.layer.*"``.
        upcycle: each expert starts as a copy of the module that it replaces; ``expert`` then has
            no effect.
    """

    reads = "texts windows"
    reads_tokens = True
    routes_tokens = True

    def __init__(
        self,
        layer: Layer,
        samples: Samples,
        *,
        config: Mapping[str, Any] | str | None = None,
        pretrained: str | None = None,
        where: str | Sequence[str] = "*.mlp",
        upcycle: bool = False,
    ) -> None:
        super().__init__()
        self.predicts = samples.kind == "windows"
        library = needed("transformers", "transformers", "task.model=transformers")
        kind = library.AutoModelForCausalLM if self.predicts else library.AutoModel
        if (config is None) == (pretrained is None):
            expected = "one of config and pretrained, such as config={model_type: llama}"
            raise OptionError("config", config, expected)
        if pretrained is None:
            settings = _settings(library, config, samples)
            self.model = _built("config", config, partial(kind.from_config, settings))
        else:
            self.model = _pretrained(kind, pretrained, samples)
        self.model.train()
        if getattr(self.model, "pooler", None) is not None:
            self.model.pooler = None  # of a single token; it would have no gradient
        self.model.config.use_cache = False
        self.head: nn.Module = nn.Identity()
        length = samples.shape[0]
        given = f"config={_named(config)}" if pretrained is None else f"pretrained={pretrained}"
        what = f"task.model.{given}"
        ids = torch.arange(2 * length).view(2, length) % samples.vocabulary
        found = tried(self.model, lambda: self._run(ids, None), what, _CURE)
        if self.predicts:
            self._check_causal(ids[:1, :_TRIED], what)
        else:
            self.head = nn.Linear(2 * found.shape[-1], samples.outputs)
        put_layers(self.model, where, layer, length, upcycle)

    def forward(self, batch: Batch) -> tuple[Tensor, list[Routing]]:
        """``batch["x"]`` ``(B, L)`` to logits: ``(B, classes)``, or ``(B, L, V)`` of the next."""
        mask = batch.get("mask")
        run = partial(self._run, batch["x"].long(), mask)
        x, routings = passed(self.model, run, mask, batch.get("ids"), batch.get("task"))
        if mask is None:
            return x, routings
        return self.head(pooled(x, mask)), routings

    def _run(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Logits of a language model, else the last hidden states."""
        given = {} if mask is None else {"attention_mask": mask.long()}
        output = self.model(input_ids=x, **given)
        found: Tensor = output.logits if self.predicts else output.last_hidden_state
        return found

    def _check_causal(self, ids: Tensor, what: str) -> None:
        """Refuse a model whose outputs change with later inputs."""
        later = torch.cat([ids[:, :-1], (ids[:, -1:] + 1) % ids.max().clamp_min(2)], 1)
        one, other = (
            tried(self.model, partial(self._run, x, None), what, _CURE) for x in (ids, later)
        )
        if ((one - other)[:, :-1].abs() > _EQUAL * one.std()).any():
            raise ConfigError(
                f"{what}: its outputs depend on later inputs, and this task predicts them; choose "
                "a causal model such as gpt2 or llama, or set is_decoder: true in its config"
            )


def _settings(library: Any, config: Mapping[str, Any] | str | None, samples: Samples) -> Any:
    """The configuration of a model for some samples."""
    if isinstance(config, str):
        folder = Path(config).expanduser()
        if not (folder / "config.json").is_file():
            raise OptionError.about(
                "config", f"={config}: no such folder with config.json; give one, or a mapping "
                "such as {model_type: llama}"
            )  # fmt: skip
        read = partial(library.AutoConfig.from_pretrained, folder, local_files_only=True)
        settings = _built("config", config, read)
    else:
        given = dict(config or {})
        _check_type(given.pop("model_type", None), library.CONFIG_MAPPING)
        kind = dict(config or {})["model_type"]
        build = partial(library.AutoConfig.for_model, kind)
        settings = _built("config", config, partial(build, **given))
        default = build()
        for name in given:  # of an unknown one the library makes an attribute, without effect
            if hasattr(settings, name) and not hasattr(default, name):
                raise unknown_option("config", name, default.to_dict())
    settings.vocab_size = samples.vocabulary
    places = getattr(settings, "max_position_embeddings", None)
    if places is not None and places < samples.shape[0]:
        raise OptionError.about(
            "config.max_position_embeddings",
            f"={places}: texts have up to {samples.shape[0]}; raise it, or lower task.length or "
            "task.max_length",
        )
    for token in ("bos_token_id", "eos_token_id", "pad_token_id"):  # none of them is ever used
        if (getattr(settings, token, None) or 0) >= samples.vocabulary:
            setattr(settings, token, None)
    return settings


def _pretrained(kind: Any, place: str, samples: Samples) -> nn.Module:
    """A model with weights; ``ConfigError`` if it has fewer tokens than the data."""
    if samples.vocabulary == BYTES:
        raise ConfigError(
            f"task.model.pretrained={place}: its weights are of tokens, and texts are read as "
            "bytes; give task.tokenizer, the tokenizer.json of the model"
        )
    folder = Path(place).expanduser()
    if folder.is_dir():
        read = partial(kind.from_pretrained, folder, local_files_only=True)
    elif place.startswith((".", "/", "~")):
        raise OptionError.about("pretrained", f"={place}: no such folder")
    else:
        read = partial(kind.from_pretrained, place)
    model: nn.Module = _built("pretrained", place, partial(read, dtype=torch.float32))
    rows = model.get_input_embeddings().num_embeddings  # type: ignore[operator]
    if rows < samples.vocabulary:
        raise ConfigError(
            f"task.model.pretrained={place}: has {rows} tokens, and task.tokenizer has "
            f"{samples.vocabulary}; give the tokenizer of the model"
        )
    return model


def _check_type(name: Any, known: Any) -> None:
    """Raise ``OptionError`` with the nearest types for one that the library does not know."""
    if name in known:
        return
    near = get_close_matches(str(name or ""), list(known), _SHOWN)
    guess = f"; did you mean {', '.join(map(repr, near))}?" if near else "."
    raise OptionError.about(
        "config.model_type",
        f"={name}: unknown to transformers{guess} Of {len(list(known))} some are bert, gpt2, llama",
    )


def _built(option: str, value: Any, build: Any) -> Any:
    """Call the library; ``OptionError`` about the option if it raises anything."""
    try:
        return build()
    except Exception as error:
        raise OptionError.about(option, f"={_named(value)}: {one_line(error)}") from error


def _named(value: Any) -> str:
    return str(dict(value) if isinstance(value, Mapping) else value)
