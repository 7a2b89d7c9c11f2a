"""A model is a folder that holds one, an embedded name or a Hub id; anything else is said."""

import shutil
import time

import pytest

from bert_recipes.errors import UserError
from bert_recipes.modeling.pretrained import resolve_model


def test_a_folder_is_taken_as_it_is(tiny_bert):
    assert resolve_model(str(tiny_bert)) == str(tiny_bert)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda folder: (folder / "config.json").unlink(), "it has no config.json"),
        (lambda folder: (folder / "config.json").write_text("{"), "config.json that cannot be read"),
        (lambda folder: (folder / "config.json").write_text('{"model_type": "abacus"}'), "model_type abacus"),
        (lambda folder: (folder / "model.safetensors").unlink(), "no weights in the safetensors format"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "has no tokenizer"),
    ],
)
def test_a_folder_that_is_no_model(change, sentence, tiny_bert, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(tiny_bert, folder)
    change(folder)
    with pytest.raises(UserError, match=sentence):
        resolve_model(str(folder))


@pytest.mark.parametrize("name", ["bert", "./nowhere", "/no/model", "a/b/c", __file__])
def test_a_name_that_is_no_model(name):
    with pytest.raises(UserError, match="neither a model folder nor a Hub id"):
        resolve_model(name)


def test_a_hub_id_while_offline_names_the_alternative_in_time(monkeypatch, tmp_path):
    # An address of the range kept for documentation: nothing is there to answer.
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://192.0.2.1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    started = time.monotonic()
    with pytest.raises(UserError, match=r"bert-base-uncased.* cannot be reached .*--model embedded:minilm"):
        resolve_model("google-bert/bert-base-uncased")
    assert time.monotonic() - started < 10
