"""Nothing of the user's is lost, and no start spoils what another one has made."""

import json
import shutil
import signal
import subprocess
import sys
import time

import pytest
from support.paths import RECIPES
from support.rows import write_csv
from support.scripts import recipe
from support.started import Started

from bert_recipes.errors import UserError
from bert_recipes.training.trainer import RecipeTrainer

STEPS = ["--save_strategy", "steps", "--eval_strategy", "steps", "--save_steps", "2", "--eval_steps", "2"]


class StopHereError(Exception):
    """Raised in the middle of a training."""


@pytest.fixture
def stop_at(monkeypatch):
    """Let a training end by an exception before the step of a number."""

    def arrange(step):
        original = RecipeTrainer.training_step

        def training_step(self, *args, **kwargs):
            if self.state.global_step == step:
                raise StopHereError
            return original(self, *args, **kwargs)

        monkeypatch.setattr(RecipeTrainer, "training_step", training_step)

    yield arrange
    monkeypatch.undo()


def interrupted(stop_at, monkeypatch, folder, data, model, *flags, step=3):
    stop_at(step)
    with pytest.raises(StopHereError):
        recipe("stock", folder, data, model, *STEPS, *flags)
    monkeypatch.undo()


def files(folder):
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("thesis.tex", "also holds thesis.tex, which no run writes"),
        ("plots/photo.jpg", "also holds plots/photo.jpg"),
        ("model/notes.md", "also holds model/notes.md"),
        ("checkpoints/notes", "also holds checkpoints/notes"),
    ],
)
def test_overwrite_takes_no_strangers_file(name, told, competition, tiny_bert, tmp_path):
    run = tmp_path / "run"
    recipe("baseline", run, competition, tiny_bert)
    (run / name).parent.mkdir(exist_ok=True)
    (run / name).write_text("two years of work")
    before = files(run)
    with pytest.raises(UserError, match=told):
        recipe("baseline", run, competition, tiny_bert, "--overwrite")
    assert files(run) == before


def test_overwrite_takes_neither_its_data_nor_its_model(competition, tiny_bert, tmp_path):
    run = tmp_path / "run"
    recipe("stock", run, competition, tiny_bert, "--max_steps", "1")
    before = files(run)
    with pytest.raises(UserError, match=r"holds .*model, which is in use"):
        recipe("stock", run, competition, run / "model", "--overwrite")
    with pytest.raises(UserError, match=r"holds .*validation_predictions\.csv, which is in use"):
        recipe(
            *("stock", run, run / "validation_predictions.csv", tiny_bert, "--overwrite"),
            *("--label_column", "label", "--validation_size", "0.5"),
        )
    assert files(run) == before


def test_overwrite_asks_whether_run_yaml_is_that_of_a_run(competition, tiny_bert, tmp_path):
    (tmp_path / "run.yaml").write_text("command: make all\n")
    with pytest.raises(UserError, match=r"run\.yaml is not that of a run, so nothing is removed"):
        recipe("stock", tmp_path, competition, tiny_bert, "--overwrite")
    assert files(tmp_path) == ["run.yaml"]


def test_a_finished_run_is_there_until_its_successor_is_finished(
    stop_at, monkeypatch, competition, tiny_bert, tmp_path
):
    run = tmp_path / "run"
    recipe("stock", run, competition, tiny_bert, *STEPS, "--max_steps", "4")
    old = (run / "metrics.json").read_bytes()
    interrupted(stop_at, monkeypatch, run, competition, tiny_bert, "--max_steps", "6", "--overwrite")
    assert (run / ".replaced/metrics.json").read_bytes() == old
    assert not (run / "metrics.json").exists()
    recipe("stock", run, competition, tiny_bert, *STEPS, "--max_steps", "6")
    assert json.loads((run / "trainer_state.json").read_text())["global_step"] == 6
    assert not [name for name in files(run) if name.startswith(".")]


def test_a_run_goes_on_only_with_the_rows_that_it_began_with(stop_at, monkeypatch, competition, tiny_bert, tmp_path):
    data, run = tmp_path / "data", tmp_path / "run"
    shutil.copytree(competition, data)
    interrupted(stop_at, monkeypatch, run, data, tiny_bert, "--max_steps", "6")
    test = (data / "test.csv").read_text()
    (data / "test.csv").write_text(test.replace("fire", "cake"))
    with pytest.raises(UserError, match="began with other rows of test: give it the data of then"):
        recipe("stock", run, data, tiny_bert, *STEPS, "--max_steps", "6")
    (data / "test.csv").write_text(test)
    recipe("stock", run, data, tiny_bert, *STEPS, "--max_steps", "6")


def test_a_finished_fold_is_not_pooled_with_folds_of_other_rows(competition, tiny_bert, tmp_path):
    data, run = tmp_path / "data", tmp_path / "run"
    shutil.copytree(competition, data)
    recipe("baseline", run, data, tiny_bert, "--folds", "2")
    (run / "metrics.json").unlink()
    shutil.rmtree(run / "folds/2")
    (data / "train.csv").write_text((data / "train.csv").read_text().replace("fire", "cake"))
    with pytest.raises(UserError, match="began with other rows of train and validation"):
        recipe("baseline", run, data, tiny_bert, "--folds", "2")


def test_a_start_that_came_to_nothing_blocks_no_folder(stop_at, monkeypatch, competition, tiny_bert, tmp_path):
    run = tmp_path / "run"
    interrupted(stop_at, monkeypatch, run, competition, tiny_bert, "--learning_rate", "0.5", step=0)
    (run / ".run.yaml.4711").write_text("half writ")
    recipe("stock", run, competition, tiny_bert, "--max_steps", "1")
    assert json.loads((run / "metrics.json").read_text())
    assert not [name for name in files(run) if name.startswith(".")]


def test_only_a_half_written_file_is_as_good_as_an_empty_folder(competition, tiny_bert, tmp_path):
    (tmp_path / ".run.yaml.4711").write_text("half writ")
    recipe("baseline", tmp_path, competition, tiny_bert)
    assert not (tmp_path / ".run.yaml.4711").exists()


@pytest.mark.parametrize("schedule", ["linear", "constant"])
def test_a_run_whose_steps_are_done_goes_straight_to_its_end(schedule, competition, tiny_bert, tmp_path, monkeypatch):
    flags = ["--max_steps", "3", "--lr_scheduler_type", schedule, "--save_steps", "1", "--eval_steps", "1"]
    alone, again = tmp_path / "alone", tmp_path / "again"
    recipe("stock", alone, competition, tiny_bert, *STEPS, *flags)

    def die(self, trainer):
        raise StopHereError

    monkeypatch.setattr("bert_recipes.runs.run.Run.finish", die)
    with pytest.raises(StopHereError):
        recipe("stock", again, competition, tiny_bert, *STEPS, *flags)
    monkeypatch.undo()
    recipe("stock", again, competition, tiny_bert, *STEPS, *flags)
    for name in ("model/model.safetensors", "predictions.csv"):
        assert (again / name).read_bytes() == (alone / name).read_bytes()
    states = [json.loads((run / "trainer_state.json").read_text()) for run in (alone, again)]
    assert [state["global_step"] for state in states] == [3, 3]
    losses = [json.loads((run / "metrics.json").read_text())["train"]["train_loss"] for run in (alone, again)]
    assert losses[0] == losses[1] > 0


def test_the_loss_of_an_interrupted_training_is_that_of_all_its_steps(
    stop_at, monkeypatch, competition, tiny_bert, tmp_path
):
    alone, again = tmp_path / "alone", tmp_path / "again"
    recipe("stock", alone, competition, tiny_bert, *STEPS, "--max_steps", "6")
    interrupted(stop_at, monkeypatch, again, competition, tiny_bert, "--max_steps", "6", step=5)
    recipe("stock", again, competition, tiny_bert, *STEPS, "--max_steps", "6")
    losses = [json.loads((run / "metrics.json").read_text())["train"]["train_loss"] for run in (alone, again)]
    assert losses[0] == losses[1]


def test_a_figure_that_cannot_be_drawn_is_a_warning_beside_a_finished_run(
    competition, tiny_bert, tmp_path, monkeypatch, capsys
):
    def fail(*args):
        raise ValueError("no such font:\nnowhere")

    monkeypatch.setattr("bert_recipes.reporting.plots.confusion", fail)
    recipe("baseline", tmp_path / "run", competition, tiny_bert)
    assert json.loads((tmp_path / "run/metrics.json").read_text())["validation"]["f1"] >= 0
    said = " ".join(capsys.readouterr().out.split())
    assert "warning: report.html could not be made (ValueError: no such font: nowhere)" in said


def test_two_starts_do_not_share_a_folder(competition, tiny_bert, tmp_path):
    command = [sys.executable, str(RECIPES / "stock.py"), "--dataset", str(competition), "--model", str(tiny_bert)]
    command += ["--output_dir", str(tmp_path / "run"), "--max_length", "32", "--num_train_epochs", "500"]
    first = Started([*command, *STEPS])
    try:
        wait_for(lambda: list((tmp_path / "run").glob("checkpoints/checkpoint-*/sealed.json")))
        with pytest.raises(UserError, match=f"is in use by process {first.pid} on"):
            recipe("stock", tmp_path / "run", competition, tiny_bert, "--overwrite")
    finally:
        first.send_signal(signal.SIGTERM)
    assert first.wait(60) == 128 + signal.SIGTERM
    assert not (tmp_path / "run/.lock").exists()


@pytest.mark.slow
def test_a_comparison_that_is_ended_ends_its_runs(competition, tiny_bert, tmp_path):
    flags = ["--dataset", competition, "--model", tiny_bert, "--max_length", "32", "--num_train_epochs", "500", *STEPS]
    (tmp_path / "empty.yaml").write_text("weight_decay: 0.01\n")
    command = [sys.executable, RECIPES / "compare.py", "stock", "baseline", "--seeds", "1", "--output_dir"]
    command += [tmp_path / "compare", "--config", tmp_path / "empty.yaml", *flags]
    comparing = subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, text=True)
    run = tmp_path / "compare/stock-seed-1"
    wait_for(lambda: list(run.glob("checkpoints/checkpoint-*/sealed.json")))
    second = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert second.returncode == 2
    assert f"is in use by process {comparing.pid}" in second.stderr
    comparing.terminate()
    assert comparing.wait(60) == 128 + signal.SIGTERM
    assert "the same command goes on from there" in comparing.stderr.read()
    assert "the checkpoint is in" in (tmp_path / "compare/stock-seed-1.log").read_text()
    assert not (run / ".lock").exists()  # its process has ended too


def test_clean_leaves_what_is_not_its_own(tmp_path):
    shutil.copy(RECIPES.parent / "Makefile", tmp_path)
    (tmp_path / "build/lib").mkdir(parents=True)
    write_csv(tmp_path / "build/table.csv", [["mine"]])
    (tmp_path / "runs").mkdir()
    write_csv(tmp_path / "runs/table.csv", [["mine"]])
    subprocess.run(["make", "-C", tmp_path, "clean"], check=True, capture_output=True)
    assert (tmp_path / "build/table.csv").exists()
    assert not (tmp_path / "build/lib").exists()
    assert (tmp_path / "runs/table.csv").exists()


def wait_for(condition, seconds=90):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.05)
