"""A classifier as a graph: the model's own logits for every batch and length, by both engines, or a sentence."""

import numpy as np
import pytest
import torch
from support import untraceable
from support.encoders import FAMILY, tiny
from transformers import AutoModelForSequenceClassification, DebertaV2Config, ModernBertConfig

from bert_recipes.errors import UserError
from bert_recipes.inference.engines import open_graph
from bert_recipes.inference.export import ENGINES, check_installed, quantize_onnx, quantize_openvino, trace
from bert_recipes.modeling.models import EncoderClassifier, EncoderClassifierConfig
from bert_recipes.modeling.pooling import POOLINGS

TOKENS = ["input_ids", "attention_mask"]


def opened(engine, path, names, num_labels=2):
    return open_graph(engine, path, inputs=names, num_labels=num_labels, threads=1, bf16=False)


def path_of(engine, folder):
    return folder / {"onnx": "model.onnx", "openvino": "model.xml"}[engine]


def batch(texts, length, vocabulary=20):
    generator = np.random.default_rng(length)
    ids = generator.integers(4, vocabulary, (texts, length))
    mask = np.ones_like(ids)
    mask[1:, length // 2 :] = 0
    types = np.where(np.arange(length) < length // 3, 0, mask)
    return {"input_ids": ids * mask, "attention_mask": mask, "token_type_ids": types}


def loud(model):
    """Return a model whose weights are so large that an error of one part shows in the logits."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.copy_(torch.randn(weight.shape, generator=generator) * 0.3)
    return model.eval()


def check(model, tokens, folder):
    """Check that both graphs of a model give its logits, at every size, and in int8 logits like them."""
    traced = trace(model, 60, tokens, {})
    sizes = ((1, 3), (2, 8), (5, 33), (3, 60))
    batches = [{name: values for name, values in batch(*size).items() if name in tokens} for size in sizes]
    with torch.no_grad():
        expected = [
            model(**{name: torch.from_numpy(v) for name, v in given.items()}).logits.numpy() for given in batches
        ]
    for engine in ENGINES:
        path = path_of(engine, folder)
        traced.write(engine, path)
        forward = opened(engine, path, tokens, model.config.num_labels)
        traced.check(engine, forward)
        for given, logits in zip(batches, expected, strict=True):
            np.testing.assert_allclose(forward(given), logits, atol=1e-5)
        small = quantized(engine, path, batches)
        found = np.concatenate([opened(engine, small, tokens, model.config.num_labels)(given) for given in batches])
        assert np.corrcoef(found.ravel(), np.concatenate(expected).ravel())[0, 1] > 0.8


def quantized(engine, path, batches):
    target = path.with_stem("small")
    if engine == "onnx":
        quantize_onnx(path, target)
    else:
        quantize_openvino(path, target, batches)
    return target


# What their large models have, and the tiny ones of the tests do not.
MORE = {
    "deberta-v3": tiny(
        DebertaV2Config,
        relative_attention=True,
        pos_att_type=["p2c", "c2p"],
        position_buckets=8,
        norm_rel_ebd="layer_norm",
        share_att_key=True,
        position_biased_input=False,
        type_vocab_size=0,
    ),
    "modernbert, windows shorter than the texts": tiny(
        ModernBertConfig, bos_token_id=2, eos_token_id=3, cls_token_id=2, sep_token_id=3, local_attention=8
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILY | MORE)
def test_every_family(family, tmp_path):
    torch.manual_seed(0)
    config = (FAMILY | MORE)[family]
    types = ["token_type_ids"] if (getattr(config, "type_vocab_size", None) or 0) > 1 else []
    check(loud(AutoModelForSequenceClassification.from_config(config)), TOKENS + types, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("pooling", POOLINGS)
def test_every_pooling(pooling, tmp_path):
    torch.manual_seed(0)
    size = {"mean_max": 32, "cls_last4": 64}.get(pooling)
    options = {"head_layers": 1, "dropout_samples": 2, "num_labels": 3}
    config = EncoderClassifierConfig(FAMILY["bert"].to_dict(), pooling, size, **options)
    check(loud(EncoderClassifier(config)), [*TOKENS, "token_type_ids"], tmp_path)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_convolution_is_traced_from_the_shortest_text_on_that_it_takes(engine, tmp_path):
    model = untraceable.Convolution()
    traced, path = trace(model, 32, TOKENS, {}), path_of(engine, tmp_path)
    assert [tuple(probe["input_ids"].shape) for probe in traced.probes] == [(1, 3), (1, 13), (3, 32)]
    traced.write(engine, path)
    traced.check(engine, opened(engine, path, TOKENS))


def test_long_texts_are_no_more_at_once_than_in_a_batch_of_prediction():
    probes = trace(untraceable.MeanOfEmbeddings(), 8192, TOKENS, {}).probes
    assert [tuple(probe["input_ids"].shape) for probe in probes] == [(1, 2), (1, 13), (1, 8192)]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_column_may_have_the_name_that_a_graph_has_for_something_else(engine, tmp_path):
    columns = {name: {"mean": 0.0} for name in ("embedding", "sum_1", "logits", "price")}
    model, path = untraceable.WithColumns(), path_of(engine, tmp_path)
    traced = trace(model, 32, TOKENS, columns)
    traced.write(engine, path)
    forward = opened(engine, path, [*TOKENS, *columns])
    traced.check(engine, forward)
    given = {name: values for name, values in batch(2, 8).items() if name in TOKENS}
    given |= {name: np.array([number, -number], dtype=np.float32) for number, name in enumerate(columns, 1)}
    with torch.no_grad():
        expected = model(**{name: torch.from_numpy(values) for name, values in given.items()}).logits.numpy()
    np.testing.assert_allclose(forward(given), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        (
            "AsksForANumber",
            r"untraceable.py, line \d+ \(if mask.sum\(\).item\(\) > 10:\): GuardOnDataDependentSymNode",
        ),
        ("AsksForTheLength", r"as torch traces its code, it is for some sizes alone \(9 <= length and length <= 32\)"),
        ("TextByText", "as torch traces its code, it is for batches of one size alone"),
        ("Fails", r"untraceable.py, line \d+ \(raise .*\): ValueError: what its author says of it$"),
    ],
)
def test_code_that_cannot_be_traced_is_said_with_its_line(name, sentence, capfd):
    with pytest.raises(UserError, match=f"^the model cannot be exported: {sentence}"):
        trace(getattr(untraceable, name)(), 32, TOKENS, {})
    assert capfd.readouterr() == ("", "")


def test_code_that_asks_for_the_size_of_a_batch_is_found_out(tmp_path):
    traced = trace(untraceable.AsksForTheBatch(), 32, TOKENS, {})
    traced.write("onnx", tmp_path / "model.onnx")
    with pytest.raises(UserError, match="its graph gives other logits than the model for 1 text of 2 tokens"):
        traced.check("onnx", opened("onnx", tmp_path / "model.onnx", TOKENS))


def test_what_an_engine_does_not_have_is_said(tmp_path):
    traced = trace(untraceable.NotInOpenVino(), 32, TOKENS, {})
    with pytest.raises(UserError, match=r"cannot be written for openvino: .*No conversion rule.*fft"):
        traced.write("openvino", tmp_path / "model.xml")


def test_weights_stand_in_a_file_of_their_own(tmp_path):
    traced = trace(untraceable.MeanOfEmbeddings(), 32, TOKENS, {})
    traced.write("onnx", tmp_path / "model.onnx")
    assert {file.name for file in tmp_path.iterdir()} == {"model.onnx", "model.onnx.data"}
    traced.check("onnx", opened("onnx", tmp_path / "model.onnx", TOKENS))
    quantize_onnx(tmp_path / "model.onnx", tmp_path / "small.onnx")
    assert len({file.stat().st_mode for file in tmp_path.iterdir()}) == 1
    given = {name: values for name, values in batch(2, 8).items() if name in TOKENS}
    assert opened("onnx", tmp_path / "small.onnx", TOKENS)(given).shape == (2, 2)


@pytest.mark.parametrize("engine", ENGINES)
def test_int8_is_near(engine, tmp_path):
    torch.manual_seed(0)
    model, path = untraceable.MeanOfEmbeddings(), path_of(engine, tmp_path)
    trace(model, 32, TOKENS, {}).write(engine, path)
    given = {name: batch(4, 12)[name] for name in TOKENS}
    rows = [{name: values[i : i + 1] for name, values in given.items()} for i in range(4)]
    with torch.no_grad():
        expected = model(**{name: torch.from_numpy(values) for name, values in given.items()}).logits.numpy()
    found = opened(engine, quantized(engine, path, rows), TOKENS)(given)
    assert not np.allclose(found, expected, rtol=0, atol=1e-7)
    np.testing.assert_allclose(found, expected, atol=0.2)


@pytest.mark.parametrize(("engine", "package"), [("onnx", "onnxscript"), ("openvino", "nncf")])
def test_a_package_that_is_missing_is_named_with_its_extra(engine, package, monkeypatch):
    there = __import__("importlib.util").util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == package else there(name))
    with pytest.raises(
        UserError, match=rf"needs {package}, which is not installed: pip install 'bert-recipes\[{engine}"
    ):
        check_installed(engine, "int8")
