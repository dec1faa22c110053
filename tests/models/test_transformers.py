"""Models of transformers as backbones: outputs, masks, tokens, causality, and errors."""

import json
import socket
import sys

import pytest
import torch
from transformers import AutoModelForCausalLM

from tasks import build_backbone, build_task, choose, compose, main, routed_layers

from ..tasks.cases import signal_at
from .test_tokenizers import TEXT, trained

SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
HEADS = {"num_attention_heads": 2}
LLAMA = {"model_type": "llama", **SIZES, **HEADS, "num_key_value_heads": 2}
BERT = {"model_type": "bert", **SIZES, **HEADS}
TINY = (
    *("moe.num_experts=4", "expert.hidden=16", "trainer.max_epochs=1", "trainer.batch_size=16"),
    *("trainer.limit_val_batches=1", "trainer.max_steps=4", "task.model=transformers"),
)
NAMES = ("task=char_names", *TINY, f"task.model.config={BERT}", "task.model.where=encoder.layer.*")


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    """Nothing is looked up on a network."""

    def refuse(*_):
        raise AssertionError("a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def files(tmp_path):
    """A text, and a tokenizer and a Llama of its tokens."""
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    tokenizer = trained()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    from transformers import AutoConfig

    settings = {**LLAMA, "vocab_size": tokenizer.get_vocab_size()}
    torch.manual_seed(1)
    AutoModelForCausalLM.from_config(
        AutoConfig.for_model(**settings)
    ).save_pretrained(tmp_path / "model")  # fmt: skip
    return tmp_path


def language(files, *overrides):
    return [
        *("task=language_model", *TINY, "task.length=24", "task.context=6", "expert=mlp"),
        *(f"task.data.path={files / 'text.txt'}", f"task.tokenizer={files}", *overrides),
    ]


def built(overrides):
    config = compose(overrides)
    config, task, _ = choose(config, build_task(config))
    return task, build_backbone(config, task)


def batch_of(task, rows=6):
    return task.collate({name: values[:rows] for name, values in task.data().train.items()})


def test_upcycled_weights_give_the_outputs_of_the_model(files):
    given = (f"task.model.pretrained={files / 'model'}", "task.model.upcycle=true")
    task, network = built(language(files, *given))
    model = AutoModelForCausalLM.from_pretrained(files / "model").eval()
    assert all(module.training for module in network.modules())
    x = batch_of(task)["x"]
    output, routings = network.eval()({"x": x})
    torch.testing.assert_close(output, model(x.long()).logits, rtol=1e-4, atol=1e-5)
    assert {type(layer.bank).__name__ for layer in routed_layers(network)} == {"GLU"}
    assert [routing.num_items for routing in routings] == [6 * 24] * 2


def test_a_run_over_tokens_resumes(files):
    """A folder with a configuration gives a model with random weights."""
    given = language(files, f"task.model.config={files / 'model'}", "router=hash")
    whole, half = files / "whole", files / "half"
    assert main([*given, f"out={whole}"]) == 0
    with signal_at(2):
        assert main([*given, f"out={half}"]) == 130
    assert main([f"resume={half}"]) == 0
    one, other = (json.loads((each / "result.json").read_text()) for each in (whole, half))
    assert one["score"] == other["score"]
    assert len(one["layers"]) == 2


@pytest.mark.parametrize("router", ["topk", "hash"])
def test_padding_has_no_effect(router):
    """Neither on logits nor on routes; a router has the ids of bytes."""
    task, network = built([*NAMES, f"router={router}"])
    batch = task.describe(batch_of(task, rows=12))
    for layer in routed_layers(network):
        layer.router.prepare(batch["ids"][batch["mask"]], task.features(batch)[batch["mask"]])
    whole, routings = network.eval()(batch)
    assert routings[0].num_real == batch["length"].sum()
    short = int(batch["length"].argmin())
    length = int(batch["length"][short])
    assert length < batch["x"].shape[1]
    alone = {name: values[short : short + 1] for name, values in batch.items()}
    cut = {name: values[:, :length] for name, values in alone.items() if values.dim() > 1}
    found, _ = network({**alone, **cut})
    torch.testing.assert_close(found[0], whole[short], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("config", [BERT, LLAMA])
def test_every_parameter_of_a_classifier_learns(config):
    where = "encoder.layer.*" if config is BERT else "*.mlp"
    task, network = built([*NAMES, f"task.model.config={config}", f"task.model.where={where}"])
    batch = batch_of(task, rows=64)
    output, _ = network(batch)
    task.loss(output, batch).backward()
    assert not [name for name, p in network.named_parameters() if p.grad is None]


def test_only_causal_models_predict(tmp_path, capsys):
    """BERT looks at later bytes, unless it is a decoder; so does a router of whole sequences."""
    given = ["task=topics", *TINY, "task.length=16", "task.context=4", f"out={tmp_path / 'run'}"]
    decoder = {**BERT, "is_decoder": True}
    where = "task.model.where=*.layer.*"
    assert main([*given, f"task.model.config={BERT}", where]) == 2
    assert "its outputs depend on later inputs, and this task predicts them" in (
        capsys.readouterr().err
    )
    assert main([*given, f"task.model.config={LLAMA}", "router=expert_choice"]) == 2
    assert "error: router=expert_choice: its routes depend on later items" in (
        capsys.readouterr().err
    )
    _, network = built([*given, f"task.model.config={decoder}", where])
    x = torch.arange(32).view(2, 16)
    later = torch.cat([x[:, :8], x[:, 8:].flip(1)], 1)
    one, other = (network.eval()({"x": each})[0] for each in (x, later))
    torch.testing.assert_close(one[:, :8], other[:, :8])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            (f"config={ {**BERT, 'model_type': 'berrt'} }",),
            "model_type=berrt: unknown to transform",
        ),
        (("config={hidden_size: 32}",), "config.model_type=None: unknown to transformers"),
        ((f"config={ {**BERT, 'hidden_size': 33} }",), "hidden size (33) is not a multiple of"),
        ((f"config={ {**BERT, 'max_position_embeddings': 9} }",), "texts have up to 83; raise it"),
        (("config=nowhere",), "config=nowhere: no such folder with config.json"),
        (("config=null",), "task.model.config=None is invalid: expected one of config and pre"),
        (("config=null", "pretrained=gpt2"), "its weights are of tokens, and texts are read as b"),
        (("where=*.mlp",), "is routed by its layer, such as 'encoder.layer.0'. Modules: embedd"),
        (
            (f"config={ {**BERT, 'hiden_size': 8} }",),
            "task.model.config.hiden_size: unknown; did you mean 'hidden_size'",
        ),
        (("where=[]",), "task.model.where=[]: is empty; give one pattern or more"),
    ],
)
def test_errors_before_work(tmp_path, capsys, options, message):
    given = [f"task.model.{option}" for option in options]
    assert main([*NAMES, *given, f"out={tmp_path / 'run'}"]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_without_the_extra(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert main([*NAMES, f"out={tmp_path / 'run'}"]) == 2
    wanted = "task.model=transformers: needs transformers; pip install 'switchyard-moe[transf"
    assert wanted in capsys.readouterr().err
