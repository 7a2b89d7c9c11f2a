"""A model is a folder that holds one, an embedded name or a Hub id; anything else is said."""

import json
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
        (
            lambda folder: (folder / "model.safetensors").unlink(),
            r"has no weights \(model\.safetensors or pytorch_model\.bin\): save",
        ),
        (lambda folder: (folder / "tokenizer.json").unlink(), "has no tokenizer"),
    ],
)
def test_a_folder_that_is_no_model(change, sentence, tiny_bert, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(tiny_bert, folder)
    change(folder)
    with pytest.raises(UserError, match=sentence):
        resolve_model(str(folder))


@pytest.fixture
def run(tiny_bert, tmp_path):
    """Return a function that makes the folder of a run, as far as `--model` looks at it."""

    def make(recipe, model="model"):
        folder = tmp_path / recipe
        folder.mkdir()
        (folder / "run.yaml").write_text(f"recipe: {recipe}\n")
        if model:
            shutil.copytree(tiny_bert, folder / model)
        return folder

    return make


def test_a_run_stands_for_its_model(run):
    folder = run("stock")
    for finished in (False, True):
        assert resolve_model(str(folder), finished=finished) == str(folder / "model")
    # One that is copied into the folder of its model is still a model.
    shutil.copy(folder / "run.yaml", folder / "model")
    assert resolve_model(str(folder / "model")) == str(folder / "model")


def test_a_run_of_the_custom_recipe_is_predicted_with_and_begun_from(run):
    folder = run("custom")
    config = folder / "model/config.json"
    config.write_text(json.dumps({"model_type": "encoder_classifier"}))
    for finished in (True, False):
        assert resolve_model(str(folder), finished=finished) == str(folder / "model")


@pytest.mark.parametrize(
    ("recipe", "model", "sentence"),
    [
        ("baseline", None, "is a run of the baseline, which saves no model: name one of stock or custom"),
        ("stock", "folds/1/model", "is a run with a model for each fold: name one, as in .*/stock/folds/1"),
        ("stock", None, r"is a run that has no model yet: finish it by .*stock.*/run\.yaml"),
    ],
)
def test_a_run_without_one_model_is_refused(recipe, model, sentence, run):
    folder = run(recipe, model)
    for finished in (False, True):
        with pytest.raises(UserError, match=sentence):
            resolve_model(str(folder), finished=finished)


@pytest.mark.parametrize("name", ["bert", "./nowhere", "/no/model", "a/b/c", __file__])
def test_a_name_that_is_no_model(name):
    with pytest.raises(UserError, match="neither a model folder nor a Hub id"):
        resolve_model(name)


def test_a_run_that_was_not_made_yet_says_to_train(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name in ("runs/stock", "runs/custom/export"):
        with pytest.raises(UserError, match=f"--model {name}: there is no such run yet; train first"):
            resolve_model(name)


def test_a_hub_id_while_offline_names_the_alternative_in_time(monkeypatch, tmp_path):
    # An address of the range kept for documentation: nothing is there to answer.
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://192.0.2.1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    started = time.monotonic()
    with pytest.raises(UserError, match=r"bert-base-uncased.* cannot be reached .*--model embedded:minilm"):
        resolve_model("google-bert/bert-base-uncased")
    assert time.monotonic() - started < 10
