"""A finished run is pushed in one commit, and what would stop that is said before the training."""

import re

import pytest
from huggingface_hub import HfApi
from support.hub import READER, TOKEN, point_to
from support.paths import RECIPES
from support.rows import write_csv
from support.scripts import in_a_line, recipe, run_script

from bert_recipes.errors import UserError
from bert_recipes.runs.push import HubPush


def push_flags(*more):
    return "--push_to_hub", "--hub_model_id", "somebody/mine", "--hub_token", TOKEN, *more


def test_a_finished_run_is_pushed_and_predicts_from_the_hub_as_it_does_here(
    hub, competition, tiny_bert, tmp_path, capsys
):
    run = tmp_path / "run"
    recipe("custom", run, competition, tiny_bert, *push_flags(), "--max_steps", "1", "--pooling", "mean")
    assert "Pushed to http" in capsys.readouterr().out
    (commit,) = hub.repositories["models", "somebody/mine"].commits.values()
    files = {file.name: file.read_bytes() for file in (run / "model").iterdir()}
    assert {path: commit[path] for path in files} == files
    assert files.keys() >= {"config.json", "model.safetensors", "tokenizer.json", "models.py", "pooling.py"}
    assert commit["README.md"] == (run / "README.md").read_bytes()
    assert re.search(rb'model="somebody/mine", top_k=None,.*, trust_remote_code=True', commit["README.md"])
    # The secret is in none of the run's files.
    written = [file for file in run.rglob("*") if file.is_file()]
    assert not [file.name for file in written if TOKEN.encode() in file.read_bytes()]

    write_csv(tmp_path / "new.csv", [["id", "text"], ["a", "fire in a storm"], ["b", "lovely cake"]])
    for model, output in ((run, "here.csv"), ("somebody/mine", "hub.csv")):
        flags = ("--model", model, "--input", tmp_path / "new.csv", "--output", tmp_path / output, "--bf16", "false")
        run_script(RECIPES / "predict.py", *flags, "--max_length", "32", "--debug")
    assert (tmp_path / "hub.csv").read_text() == (tmp_path / "here.csv").read_text()


def test_of_folds_the_model_of_all_rows_is_pushed_and_gone_on_from(hub, competition, tiny_bert, tmp_path, capsys):
    run, steps = tmp_path / "run", ("--max_steps", "1")
    folds = ("--folds", "2", "--refit", "--pooling", "mean")
    recipe("custom", run, competition, tiny_bert, *push_flags(), *steps, *folds)
    (commit,) = hub.repositories["models", "somebody/mine"].commits.values()
    assert commit["model.safetensors"] == (run / "model/model.safetensors").read_bytes()
    written = [file for file in run.rglob("*") if file.is_file()]
    assert not [file.name for file in written if TOKEN.encode() in file.read_bytes()]
    capsys.readouterr()
    recipe("custom", tmp_path / "next", competition, "somebody/mine", *steps, "--learning_rate", "0")
    assert "keeps its encoder and its pooling (mean)" in in_a_line(capsys.readouterr().out)
    assert (tmp_path / "next/model/model.safetensors").read_bytes() == commit["model.safetensors"]


def test_a_private_model_is_made_and_a_second_push_is_its_next_commit(hub, competition, tiny_bert, tmp_path):
    for name in ("one", "two"):
        recipe(
            *("stock", tmp_path / name, competition, tiny_bert, *push_flags("--hub_private_repo", "true")),
            *("--max_steps", "1", "--seed", str(len(name + name))),
        )
    repository = hub.repositories["models", "somebody/mine"]
    assert repository.private
    assert len(repository.commits) == 2


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ((r"POST .*/commit/", 507), r"a fault of its own \(507\)"),
        ((r"PUT /stored/", 403), r"403 Forbidden"),
        ((r"/preupload/", 429), r"asked too often \(429\)"),
        ((r"/repos/create", 500), r"a fault of its own \(500\)"),
    ],
)
def test_a_push_that_fails_leaves_a_finished_run(fault, sentence, hub, competition, tiny_bert, tmp_path, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    hub.fail(*fault)
    whole = (
        rf"is finished, and the Hub did not take it \(.*{sentence}.*\): push it with hf upload somebody/mine \S+/model"
    )
    with pytest.raises(UserError, match=whole) as refused:
        recipe("stock", tmp_path / "run", competition, tiny_bert, *push_flags(), "--max_steps", "1")
    assert "\n" not in str(refused.value)
    assert (tmp_path / "run/metrics.json").exists()


def test_a_hub_that_is_gone_by_then_leaves_a_finished_run(hub, competition, tiny_bert, tmp_path, monkeypatch):
    def stop_then(*args, **kwargs):
        hub.stop()
        return made(*args, **kwargs)

    made = HfApi.create_repo
    monkeypatch.setattr(HfApi, "create_repo", stop_then)
    with pytest.raises(UserError, match=r"did not take it \(the connection failed \(.*hf upload somebody/mine"):
        recipe("stock", tmp_path / "run", competition, tiny_bert, *push_flags(), "--max_steps", "1")


def test_what_would_stop_a_push_is_said_before_the_training(hub, competition, tiny_bert, tmp_path, monkeypatch):
    for change, sentence in (
        (("--hub_token", "hf_other"), "the Hub refuses the token: give one that may write with --hub_token"),
        (("--hub_token", READER), "needs a token that may write, and this one only reads"),
        (("--hub_model_id", "a/b/c"), "--hub_model_id a/b/c is no name for a repository"),
    ):
        with pytest.raises(UserError, match=sentence):
            recipe("stock", tmp_path / "run", competition, tiny_bert, *push_flags(*change))
    with pytest.raises(UserError, match="needs a token that may write: hf auth login"):
        recipe("stock", tmp_path / "run", competition, tiny_bert, "--push_to_hub")
    assert not (tmp_path / "run").exists()
    assert HubPush("mine", TOKEN, None).repository == "somebody/mine"
    for status, sentence in ((429, "asked too often"), (500, "a fault of its own")):
        hub.faults.clear()
        hub.fail("/whoami", status)
        with pytest.raises(UserError, match=sentence):
            HubPush("mine", TOKEN, None)


def test_without_a_hub_it_says_so(monkeypatch):
    point_to("http://127.0.0.1:9", monkeypatch)
    with pytest.raises(UserError, match="the Hub cannot be reached"):
        HubPush("somebody/mine", TOKEN, None)
