"""Weights in a pickle are read as tensors: no code in it runs, and what is no file of tensors is one sentence."""

import json
import pickle
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.classifiers import build
from support.scripts import in_a_line, predictions, recipe

from bert_recipes.errors import UserError
from bert_recipes.modeling.pretrained import resolve_model
from bert_recipes.modeling.weights import weight_files
from bert_recipes.runs.folder import room_for_checkpoints


class Payload:
    """What runs code where it is unpickled without care."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return (eval, (f"__import__('pathlib').Path({str(self.trace)!r}).touch()",))


@pytest.fixture
def pickled(tiny_bert, tmp_path):
    """The tiny model as an older one on the Hub: its weights in pytorch_model.bin alone."""
    folder = tmp_path / "pickled"
    shutil.copytree(tiny_bert, folder)
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    return folder


def in_two_files(folder):
    """Cut the weights of a pickled model into two files under an index."""
    weights = torch.load(folder / "pytorch_model.bin")
    names = [f"pytorch_model-0000{i}-of-00002.bin" for i in (1, 2)]
    file_of = {name: names[i % 2] for i, name in enumerate(weights)}
    for file in names:
        torch.save({name: weights[name] for name in weights if file_of[name] == file}, folder / file)
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": file_of}))
    (folder / "pytorch_model.bin").unlink()


def before_torch_1_6(folder):
    """Write the weights in the format that older versions of torch wrote."""
    weights = torch.load(folder / "pytorch_model.bin")
    torch.save(weights, folder / "pytorch_model.bin", _use_new_zipfile_serialization=False)


@pytest.mark.parametrize("change", [lambda folder: None, in_two_files, before_torch_1_6], ids=["one", "two", "old"])
def test_weights_in_a_pickle_are_those_of_safetensors(change, pickled, tiny_bert, capsys):
    change(pickled)
    assert resolve_model(str(pickled)) == str(pickled)
    said = in_a_line(capsys.readouterr().out)
    assert "a pickle: only tensors are read from it, no code in it runs, and what is trained is saved as saf" in said
    for a, b in zip(build(pickled).encoder.parameters(), build(tiny_bert).encoder.parameters(), strict=True):
        assert torch.equal(a, b)
    assert room_for_checkpoints(str(pickled), 2) == pytest.approx(room_for_checkpoints(str(tiny_bert), 2), rel=0.5)


@pytest.mark.parametrize("name", ["stock", "custom"])
def test_a_recipe_trains_them_and_saves_safetensors(name, pickled, tiny_bert, competition, tmp_path):
    for model in (pickled, tiny_bert):
        recipe(name, tmp_path / "runs" / model.name, competition, model, "--max_steps", "2")
    of_pickle, of_safetensors = (tmp_path / "runs" / model.name for model in (pickled, tiny_bert))
    assert predictions(of_pickle) == predictions(of_safetensors)
    assert [file.name for file in weight_files(of_pickle / "model")] == ["model.safetensors"]
    assert not list(of_pickle.rglob("pytorch_model*"))


@pytest.mark.parametrize("place", ["pytorch_model.bin", "pytorch_model-00002-of-00002.bin"])
@pytest.mark.parametrize("kind", ["a pickle alone", "a tensor beside it", "an old file"])
def test_code_in_a_pickle_does_not_run(kind, place, pickled, competition, tmp_path):
    if place != "pytorch_model.bin":
        in_two_files(pickled)
    trace, file = tmp_path / "trace", pickled / place
    if kind == "a pickle alone":
        file.write_bytes(pickle.dumps(Payload(trace)))
    else:
        held = {"embeddings.weight": torch.zeros(2), "payload": Payload(trace)}
        torch.save(held, file, _use_new_zipfile_serialization=kind != "an old file")
    # It is a real one.
    torch.load(file, weights_only=False) if kind != "a pickle alone" else pickle.loads(file.read_bytes())
    trace.unlink()
    for name in ("stock", "custom"):
        with pytest.raises(
            UserError, match=f"{place} is damaged or holds more than tensors, and code in it"
        ) as caught:
            recipe(name, tmp_path / "run", competition, pickled)
        assert "\n" not in str(caught.value)
        assert "weights_only" not in str(caught.value)
    assert not trace.exists()
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "damage", [b"", b"\x80\x02", b"PK\x03\x04 and no more", b"<html>not found</html>", "cut", "one"]
)
def test_a_damaged_pickle_is_one_sentence(damage, pickled):
    file = pickled / "pytorch_model.bin"
    whole = file.read_bytes()
    if damage == "one":
        # A bit of the list of tensors, not of a tensor.
        at = whole.index(b"embeddings")
        file.write_bytes(whole[: at - 3] + b"\xff" + whole[at - 2 :])
    else:
        file.write_bytes(whole[: len(whole) // 2] if damage == "cut" else damage)
    with pytest.raises(UserError, match=r"pytorch_model\.bin is damaged or holds more than tensors") as caught:
        resolve_model(str(pickled))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("held", [[1, 2], {"state_dict": {"a": torch.zeros(1)}}, torch.zeros(3)])
def test_a_pickle_of_something_else_is_one_sentence(held, pickled):
    torch.save(held, pickled / "pytorch_model.bin")
    with pytest.raises(UserError, match="holds no weights by their names"):
        resolve_model(str(pickled))


def test_a_part_that_is_missing_is_named(pickled):
    in_two_files(pickled)
    (pickled / "pytorch_model-00002-of-00002.bin").unlink()
    with pytest.raises(UserError, match=r"lacks a part of its weights, pytorch_model-00002-of-00002\.bin: get"):
        resolve_model(str(pickled))
    for content in ("{", "[]", '{"weight_map": 3}'):
        (pickled / "pytorch_model.bin.index.json").write_text(content)
        with pytest.raises(UserError, match="is no index of a model's weights"):
            resolve_model(str(pickled))


def test_safetensors_are_taken_where_both_are_there(pickled, tiny_bert, tmp_path, capsys):
    (pickled / "pytorch_model.bin").write_bytes(pickle.dumps(Payload(tmp_path / "trace")))
    shutil.copy(tiny_bert / "model.safetensors", pickled)
    resolve_model(str(pickled))
    assert capsys.readouterr().out == ""
    for a, b in zip(build(pickled).encoder.parameters(), build(tiny_bert).encoder.parameters(), strict=True):
        assert torch.equal(a, b)
    assert not (tmp_path / "trace").exists()


def test_weights_of_another_format_are_named(pickled):
    (pickled / "pytorch_model.bin").rename(pickled / "tf_model.h5")
    with pytest.raises(
        UserError, match=r"has no weights \(model\.safetensors or pytorch_model\.bin\) but tf_model\.h5"
    ):
        resolve_model(str(pickled))


def test_half_precision_on_disk_is_trained_in_float32(tiny_bert, tmp_path):
    folder = tmp_path / "half"
    shutil.copytree(tiny_bert, folder)
    weights = {name: value.half() for name, value in load_file(folder / "model.safetensors").items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"dtype": "float16"}))
    assert {parameter.dtype for parameter in build(folder).parameters()} == {torch.float32}
