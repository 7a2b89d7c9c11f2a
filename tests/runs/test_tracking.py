"""What trackers get, from real ones: TensorBoard's event files and trackio's own database."""

import json

import pytest
import yaml
from support.cuts import trainer_of
from support.killed_training import dying_after
from support.parsing import parse
from support.scripts import recipe
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from transformers.integrations import TrackioCallback, get_available_reporting_integrations

from bert_recipes.errors import UserError

EXTRA = {"eval/f1_macro", "eval/roc_auc", "eval/ece", "eval/brier", "eval/average_precision"}


def test_tensorboard_has_the_losses_and_the_extra_scores(competition, tiny_bert, tmp_path, monkeypatch, caplog):
    monkeypatch.delenv("TENSORBOARD_LOGGING_DIR", raising=False)
    recipe("stock", tmp_path / "run", competition, tiny_bert, "--report_to", "tensorboard")
    (events,) = (tmp_path / "run/logs").rglob("events.out.tfevents.*")
    found = EventAccumulator(str(events)).Reload()
    assert set(found.Tags()["scalars"]) >= {"train/loss", "train/grad_norm", "eval/loss", "eval/f1"} | EXTRA
    log = json.loads((tmp_path / "run/trainer_state.json").read_text())["log_history"]
    logged = [entry["eval_brier"] for entry in log if "eval_brier" in entry]
    assert [event.value for event in found.Scalars("eval/brier")] == pytest.approx(logged)
    assert "attempting to log a value" not in caplog.text


def test_trackio_has_them_too(competition, tiny_bert, tmp_path, trackio_runs):
    flags = ("--report_to", "trackio", "--project", "tweets", "--run_name", "first")
    recipe("custom", tmp_path / "run", competition, tiny_bert, *flags)
    logged = trackio_runs.get_logs("tweets", "first")
    assert {name for row in logged for name in row} >= {"train/loss", "eval/f1"} | EXTRA


def test_a_tracker_that_is_not_installed_is_one_sentence(competition, tiny_bert, tmp_path):
    with pytest.raises(UserError, match="--report_to mlflow cannot be honoured: it is not installed"):
        recipe("stock", tmp_path / "run", competition, tiny_bert, "--report_to", "mlflow")
    assert not (tmp_path / "run").exists()


@pytest.fixture
def trackio_runs(tmp_path, monkeypatch):
    """Return what tells the names of the runs of a project in a trackio database of its own."""
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    from trackio.sqlite_storage import SQLiteStorage

    monkeypatch.setattr("trackio.utils.TRACKIO_DIR", tmp_path / "trackio")
    monkeypatch.setattr("trackio.sqlite_storage.TRACKIO_DIR", tmp_path / "trackio")
    return SQLiteStorage


def test_several_trackers_are_given_however_one_likes(competition, tiny_bert, tmp_path, trackio_runs, monkeypatch):
    monkeypatch.delenv("TENSORBOARD_LOGGING_DIR", raising=False)
    flags = ("--report_to", "tensorboard", "trackio", "--project", "both")
    recipe("stock", tmp_path / "run", competition, tiny_bert, *flags)
    assert list((tmp_path / "run/logs").rglob("events.out.tfevents.*"))
    assert len(trackio_runs.get_runs("both")) == 1
    assert yaml.safe_load((tmp_path / "run/run.yaml").read_text())["report_to"] == ["tensorboard", "trackio"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["tensorboard", "trackio"], ["tensorboard", "trackio"]),
        (["tensorboard,trackio"], ["tensorboard", "trackio"]),
        (["tensorboard, trackio", "tensorboard"], ["tensorboard", "trackio"]),
        (["all", "trackio"], None),
        (["none"], []),
    ],
)
def test_names_may_stand_apart_or_be_joined(given, expected):
    found = parse("--report_to", *given).training.report_to
    assert found == (get_available_reporting_integrations() if expected is None else expected)


def test_none_beside_others_is_refused():
    with pytest.raises(UserError, match="--report_to none trackio: none stands alone"):
        parse("--report_to", "none", "trackio")


def test_each_fold_is_one_run(competition, tiny_bert, tmp_path, trackio_runs):
    flags = ["--report_to", "trackio", "--project", "folds", "--folds", "2", "--max_steps", "2"]
    recipe("stock", tmp_path / "mine", competition, tiny_bert, *flags)
    names = [name.rpartition("-")[0] for name in trackio_runs.get_runs("folds")]
    assert sorted(names) == ["mine-fold-1", "mine-fold-2"]
    named = [*flags[:2], "--project", "named", *flags[4:], "--run_name", "x"]
    recipe("stock", tmp_path / "other", competition, tiny_bert, *named)
    assert sorted(trackio_runs.get_runs("named")) == ["x-fold-1", "x-fold-2"]


@pytest.mark.slow
def test_each_trial_of_a_search_is_one_run_and_the_search_can_be_replaced(
    competition, tiny_bert, tmp_path, trackio_runs
):
    flags = ["--report_to", "trackio", "--project", "searched", "--trials", "2", "--max_steps", "2"]
    for more in ([], ["--overwrite"]):
        recipe("search", tmp_path / "search", competition, tiny_bert, *flags, *more)
    assert len(trackio_runs.get_runs("searched")) == 4


def test_a_second_training_of_a_trainer_is_another_run(tiny_bert, tmp_path, trackio_runs):
    case = {"kind": "custom", "rows": 8, "batch": 4, "accumulation": 1}
    trainer = trainer_of(case, tiny_bert, tmp_path / "mine", max_steps=1)
    trainer.args.report_to, trainer.args.project = ["trackio"], "twice"
    trainer.add_callback(TrackioCallback)
    for _ in range(2):
        trainer.train()
        assert trainer.args.run_name is None
    assert len(trackio_runs.get_runs("twice")) == 2


def test_an_interrupted_training_goes_on_in_its_run(competition, tiny_bert, tmp_path, trackio_runs):
    flags = ["--report_to", "trackio", "--project", "cut", "--max_steps", "4", "--eval_strategy", "steps"]
    flags += ["--eval_steps", "2", "--save_strategy", "steps", "--save_steps", "2"]
    with dying_after(3):
        recipe("custom", tmp_path / "run", competition, tiny_bert, *flags)
    recipe("custom", tmp_path / "run", competition, tiny_bert, *flags)
    (name,) = trackio_runs.get_runs("cut")
    assert [row["eval/f1"] for row in trackio_runs.get_logs("cut", name) if "eval/f1" in row]


@pytest.mark.parametrize("folds", [None, 2])
def test_wandb_has_one_run_for_each_training(folds, competition, tiny_bert, tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb", reason="the extra 'wandb' is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    flags = ["--report_to", "wandb", "--max_steps", "2", *(["--folds", str(folds)] if folds else [])]
    recipe("stock", tmp_path / "run", competition, tiny_bert, *flags)
    assert wandb.run is None
    assert len(list((tmp_path / "wandb").glob("offline-run-*"))) == (folds or 1)
    wandb.teardown()  # it would keep to this folder


def test_mlflow_goes_on_in_its_run(competition, tiny_bert, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason="the extra 'mlflow' is not installed")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    flags = ["--report_to", "mlflow", "--max_steps", "4", "--eval_strategy", "steps", "--eval_steps", "2"]
    flags += ["--save_strategy", "steps", "--save_steps", "2"]
    with dying_after(3):
        recipe("custom", tmp_path / "run", competition, tiny_bert, *flags)
    mlflow.end_run()
    recipe("custom", tmp_path / "run", competition, tiny_bert, *flags)
    assert len(mlflow.search_runs()) == 1
