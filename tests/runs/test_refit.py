"""After the folds one model of all rows: how long it is trained, where it is, what predicts, where it resumes."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from support.scripts import in_a_line, predictions, recipe
from transformers.trainer_utils import SchedulerType

import bert_recipes as br
from bert_recipes.errors import StoppedError, UserError
from bert_recipes.inference.predictor import Predictor
from bert_recipes.runs.folder import RunFolder
from bert_recipes.runs.refit import Refit, best_length
from bert_recipes.runs.settings import BY_EVALUATIONS

FLAGS = ("--folds", "2", "--refit", "--num_train_epochs", "2", "--per_device_train_batch_size", "10")


@pytest.fixture(scope="module")
def refitted(competition, tiny_bert, tmp_path_factory):
    folder = tmp_path_factory.mktemp("refit") / "run"
    recipe("custom", folder, competition, tiny_bert, *FLAGS, "--pooling", "mean")
    return folder


def test_the_last_model_is_of_all_rows(refitted):
    metrics = json.loads((refitted / "metrics.json").read_text())
    length = best_length(
        SimpleNamespace(max_steps=-1, num_train_epochs=2.0),
        [SimpleNamespace(folder=RunFolder(refitted).fold(number)) for number in (1, 2)],
    )
    # A hundred rows are ten steps to the epoch, and those of a fold five.
    assert metrics["refit"]["steps"] == pytest.approx(10 * length["num_train_epochs"])
    assert {path.name for path in (refitted / "refit").iterdir()} == {"run.yaml", "trainer_state.json"}
    assert (refitted / "model/model.safetensors").is_file()
    log = json.loads((refitted / "refit/trainer_state.json").read_text())["log_history"]
    assert not any(key.startswith("eval_") for entry in log for key in entry)
    assert yaml.safe_load((refitted / "run.yaml").read_text())["refit"] is True


def test_scores_and_predictions_stay_those_of_the_folds(refitted):
    parts = [[float(row["1"]) for row in predictions(refitted / "folds" / fold)] for fold in "12"]
    pooled = [float(row["1"]) for row in predictions(refitted)]
    np.testing.assert_allclose(pooled, np.mean(parts, axis=0), atol=1e-7)
    card = (refitted / "README.md").read_text()
    assert "The model here was trained on all of these rows in the end, for" in card
    assert 'model="model"' in card
    assert 'model="."' in (refitted / "model/README.md").read_text()


def test_it_predicts_in_place_of_the_folds_and_says_so(refitted, capsys):
    texts = ["fire in a storm", "lovely cake"]
    found = br.load(refitted).predict(texts)
    said = capsys.readouterr()
    assert said.out == ""
    assert f"{refitted} predicts with its model of all rows; {refitted}/folds/1 is one" in in_a_line(said.err)
    assert found.equals(Predictor.load(str(refitted / "model")).predict(texts))
    of_fold = br.load(refitted / "folds/1").predict(texts)
    assert capsys.readouterr().err == ""
    assert not np.allclose(found["1"], of_fold["1"], atol=1e-4)


def test_another_training_begins_from_it(refitted, competition, tmp_path, capsys):
    recipe("custom", tmp_path / "next", competition, refitted, "--max_steps", "1")
    assert "keeps its encoder and its pooling (mean)" in in_a_line(capsys.readouterr().out)


def test_killed_while_it_is_trained_it_goes_on_there(refitted, competition, tiny_bert, tmp_path, monkeypatch, capsys):
    from bert_recipes.training.trainer import RecipeTrainer

    save = RecipeTrainer._save_checkpoint

    def save_and_stop(trainer, *args):
        save(trainer, *args)
        if "/refit/" in trainer.args.output_dir:
            raise StoppedError("stopped", 15)

    run = ("custom", tmp_path / "run", competition, tiny_bert, *FLAGS, "--pooling", "mean")
    with monkeypatch.context() as patch:
        patch.setattr(RecipeTrainer, "_save_checkpoint", save_and_stop)
        with pytest.raises(StoppedError):
            recipe(*run)
    assert list((tmp_path / "run/refit/checkpoints").glob("checkpoint-*"))
    capsys.readouterr()
    finish, resumed = Refit.finish, []
    monkeypatch.setattr(Refit, "finish", lambda run, trainer: (resumed.append(run.checkpoint), finish(run, trainer)))
    recipe(*run)
    assert "Fold 2 of 2 is finished already." in capsys.readouterr().out
    assert resumed[0].endswith("refit/checkpoints/checkpoint-10")
    for name in ("model/model.safetensors", "predictions.csv", "submission.csv", "validation_predictions.csv"):
        assert (tmp_path / "run" / name).read_bytes() == (refitted / name).read_bytes()


@pytest.mark.parametrize(
    ("training", "expected"),
    [
        ({"max_steps": -1, "num_train_epochs": 3.0}, {"num_train_epochs": 5 / 3}),
        ({"max_steps": 30, "num_train_epochs": 3.0}, {"max_steps": 17}),
    ],
)
def test_it_is_as_long_as_the_folds_were_to_their_best(training, expected, tmp_path):
    folds = [fold_with_best(tmp_path / str(number), best, 30) for number, best in enumerate((10, 20, 20))]
    assert best_length(SimpleNamespace(**training), folds) == pytest.approx(expected)


def fold_with_best(path, best, steps):
    folder = RunFolder(path)
    path.mkdir()
    state = {"best_model_checkpoint": f"checkpoints/checkpoint-{best}", "global_step": steps, "max_steps": steps}
    folder.trainer_state.write_text(json.dumps(state))
    return SimpleNamespace(folder=folder)


@pytest.mark.parametrize("best", [0, 100])
def test_of_a_best_near_the_start_some_steps_are_left(best, tmp_path):
    folds = [fold_with_best(tmp_path / str(number), best, 30_000) for number in range(2)]
    found = best_length(SimpleNamespace(max_steps=-1, num_train_epochs=1.0), folds)
    assert found["num_train_epochs"] * 30_000 == pytest.approx(max(best, 1))
    assert best_length(SimpleNamespace(max_steps=30_000), folds) == {"max_steps": max(best, 1)}


def test_a_refit_that_was_done_when_it_was_killed_leaves_no_checkpoints(
    refitted, competition, tiny_bert, tmp_path, capsys
):
    run = tmp_path / "run"
    shutil.copytree(refitted, run)
    (run / "metrics.json").unlink()
    (run / "refit/checkpoints/checkpoint-10").mkdir(parents=True)
    recipe("custom", run, competition, tiny_bert, *FLAGS, "--pooling", "mean")
    assert "All rows" not in capsys.readouterr().out
    assert {path.name for path in (run / "refit").iterdir()} == {"run.yaml", "trainer_state.json"}
    assert json.loads((run / "metrics.json").read_text())["refit"]["steps"] > 0


def test_a_callback_that_stops_by_evaluations_is_left_out_and_said(competition, tiny_bert, tmp_path, capsys):
    (tmp_path / "mine.py").write_text(
        "from transformers import EarlyStoppingCallback\n\n\nclass Patience(EarlyStoppingCallback):\n    pass\n"
    )
    spec = f"{tmp_path}/mine.py:Patience"
    recipe("stock", tmp_path / "run", competition, tiny_bert, *FLAGS, "--callbacks", spec)
    said = in_a_line(capsys.readouterr().out)
    assert f"the mean of the folds' best; without {spec}, since there are no evaluations to stop by)" in said
    assert (tmp_path / "run/model/model.safetensors").is_file()
    # What is written down is what was asked for, by which the run is repeated.
    for part in ("run.yaml", "folds/1/run.yaml", "refit/run.yaml"):
        assert yaml.safe_load((tmp_path / "run" / part).read_text())["callbacks"] == [spec]


@pytest.mark.parametrize("flags", [(), ("--model", "{run}")])
def test_its_command_again_proposes_no_model_that_has_seen_the_folds(flags, refitted, competition, tiny_bert):
    own = (*FLAGS, "--pooling", "mean", *(flag.format(run=refitted) for flag in flags))
    with pytest.raises(UserError, match=r"with --overwrite\.$"):
        recipe("custom", refitted, competition, tiny_bert, *own)
    # Nor without the folds: the model has seen the rows that a split of them would validate it on.
    alone = ("--model", str(refitted), "--num_train_epochs", "2", "--per_device_train_batch_size", "10")
    with pytest.raises(UserError, match=r"with --overwrite\.$"):
        recipe("custom", refitted, competition, tiny_bert, *alone, "--pooling", "mean")


def test_where_no_checkpoint_is_chosen_it_is_as_long_as_a_fold(competition, tiny_bert, tmp_path):
    flags = ("--folds", "2", "--refit", "--load_best_model_at_end", "false", "--max_steps", "3")
    recipe("stock", tmp_path / "run", competition, tiny_bert, *flags)
    assert json.loads((tmp_path / "run/metrics.json").read_text())["refit"]["steps"] == 3


def test_overwrite_takes_all_of_it_and_nothing_else(refitted, competition, tiny_bert, tmp_path):
    shutil.copytree(refitted, tmp_path / "run")
    recipe("baseline", tmp_path / "run", competition, tiny_bert, "--overwrite")
    assert not {"model", "refit", "folds"} & {path.name for path in (tmp_path / "run").iterdir()}


@pytest.mark.parametrize(
    ("name", "flags", "sentence"),
    [
        ("stock", ["--refit"], "--refit trains on all rows once cross-validation is done: give --folds too"),
        ("baseline", ["--folds", "2", "--refit"], "--refit cannot be honoured: the baseline saves no model"),
    ],
)
def test_a_mistake_about_it_writes_nothing(name, flags, sentence, competition, tiny_bert, tmp_path):
    with pytest.raises(UserError, match=sentence):
        recipe(name, tmp_path / "run", competition, tiny_bert, *flags)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("schedule", sorted({kind.value for kind in SchedulerType} & BY_EVALUATIONS))
def test_a_schedule_that_goes_by_evaluations_writes_nothing(schedule, competition, tiny_bert, tmp_path):
    flags = ("--folds", "2", "--refit", "--lr_scheduler_type", schedule)
    with pytest.raises(UserError, match=f"by which --lr_scheduler_type {schedule} sets the learning rate"):
        recipe("stock", tmp_path / "run", competition, tiny_bert, *flags)
    assert not (tmp_path / "run").exists()


def test_the_baseline_takes_a_configuration_with_it(competition, tiny_bert, tmp_path):
    (tmp_path / "folds.yaml").write_text("folds: 2\nrefit: true\n")
    recipe("baseline", tmp_path / "run", competition, tiny_bert, "--config", str(tmp_path / "folds.yaml"))
    assert json.loads((tmp_path / "run/metrics.json").read_text()).keys() >= {"folds", "validation"}
