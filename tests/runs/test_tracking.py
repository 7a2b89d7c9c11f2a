"""What trackers get, from real ones: TensorBoard's event files and trackio's own database."""

import json

import pytest
from support.scripts import recipe
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

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


def test_trackio_has_them_too(competition, tiny_bert, tmp_path, monkeypatch):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    from trackio.sqlite_storage import SQLiteStorage

    monkeypatch.setattr("trackio.utils.TRACKIO_DIR", tmp_path / "trackio")
    monkeypatch.setattr("trackio.sqlite_storage.TRACKIO_DIR", tmp_path / "trackio")
    flags = ("--report_to", "trackio", "--project", "tweets", "--run_name", "first")
    recipe("custom", tmp_path / "run", competition, tiny_bert, *flags)
    logged = SQLiteStorage.get_logs("tweets", "first")
    assert {name for row in logged for name in row} >= {"train/loss", "eval/f1"} | EXTRA


def test_a_tracker_that_is_not_installed_is_one_sentence(competition, tiny_bert, tmp_path):
    with pytest.raises(UserError, match="--report_to mlflow cannot be honoured: it is not installed"):
        recipe("stock", tmp_path / "run", competition, tiny_bert, "--report_to", "mlflow")
    assert not (tmp_path / "run").exists()
