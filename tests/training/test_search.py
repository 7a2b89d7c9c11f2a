"""A search resumes where it stopped, prunes, and its best trial is a configuration."""

import optuna
import pytest
import yaml
from support.classifiers import build
from support.paths import RECIPES
from support.scripts import in_a_line, recipe, run_script

from bert_recipes.errors import UserError


def trials(folder):
    return optuna.load_study(study_name="custom", storage=f"sqlite:///{folder / 'trials.sqlite3'}").trials


def test_a_search_goes_on_and_its_best_is_a_configuration(competition, tiny_bert, tmp_path, capsys):
    folder = tmp_path / "search"
    recipe("search", folder, competition, tiny_bert, "--trials", "2")
    first = trials(folder)
    assert len(first) == 2
    assert set(first[0].params) == {
        *("learning_rate", "num_train_epochs", "per_device_train_batch_size", "pooling", "layer_decay"),
    }
    capsys.readouterr()
    recipe("search", folder, competition, tiny_bert, "--trials", "4")
    assert "2 of 4 trials are made already." in capsys.readouterr().out
    found = trials(folder)
    assert [trial.params for trial in found[:2]] == [trial.params for trial in first]
    assert found[2].params not in [trial.params for trial in first]
    complete = [trial for trial in found if trial.state.name == "COMPLETE"]
    top = [trial.params for trial in complete if trial.value == max(trial.value for trial in complete)]
    configuration = yaml.safe_load((folder / "best.yaml").read_text())
    assert configuration["recipe"] == "custom"
    best = {name: configuration[name] for name in top[0]}
    assert best in top
    assert {path.name for path in folder.iterdir()} <= {"search.yaml", "trials.sqlite3", "best.yaml", "trials"}
    flags = ("--config", folder / "best.yaml", "--output_dir", tmp_path / "run", "--debug")
    run_script(RECIPES / "custom.py", *flags)
    made = yaml.safe_load((tmp_path / "run/run.yaml").read_text())
    own = ("pooling", "layer_decay", "learning_rate")
    assert {name: made[name] for name in own} == {name: best[name] for name in own}
    with pytest.raises(UserError, match=r"holds trials of another configuration \(max_length is 32 there and 16 here"):
        recipe("search", folder, competition, tiny_bert, "--max_length", "16")


def test_a_trial_that_falls_behind_is_pruned(competition, tiny_bert, tmp_path, monkeypatch):
    monkeypatch.setattr("bert_recipes.training.search.STARTUP_TRIALS", 1)
    monkeypatch.setattr(optuna.pruners.MedianPruner, "prune", lambda self, study, trial: trial.number == 1)
    recipe("search", tmp_path / "search", competition, tiny_bert, "--trials", "3")
    made = trials(tmp_path / "search")
    assert [list(trial.intermediate_values) for trial in (made[0], made[2])] == [
        list(range(1, trial.params["num_train_epochs"] + 1)) for trial in (made[0], made[2])
    ]
    states = [trial.state.name for trial in made]
    assert states == ["COMPLETE", "PRUNED", "COMPLETE"]


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--folds", "3"], "--folds cannot be honoured"),
        (["--eval_strategy", "no", "--load_best_model_at_end", "false"], "--eval_strategy no cannot be honoured"),
        (
            ["--eval_strategy", "steps", "--eval_steps", "2", "--load_best_model_at_end", "false"],
            "--eval_strategy steps cannot be honoured: a search evaluates each trial after every epoch",
        ),
        (["--resume_from_checkpoint", "x"], "--resume_from_checkpoint cannot be honoured: the same command goes on"),
        (["--trials", "0"], "--trials 0: give 1 or more"),
        (["--metric_for_best_model", "pearson"], "pearson is no score of a binary task: take one of f1"),
    ],
)
def test_a_mistake_writes_nothing(flags, sentence, competition, tiny_bert, tmp_path):
    with pytest.raises(UserError, match=sentence):
        recipe("search", tmp_path / "search", competition, tiny_bert, *flags)
    assert not (tmp_path / "search").exists()


def test_a_search_starts_from_no_model_whose_head_is_chosen(competition, tiny_bert, tokenizer, tmp_path):
    build(tiny_bert).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    with pytest.raises(UserError, match="is a model of the custom recipe, whose pooling and head are chosen"):
        recipe("search", tmp_path / "search", competition, tmp_path / "model")
    assert not (tmp_path / "search").exists()


def test_rows_that_the_model_has_seen_are_no_secret(competition, tiny_bert, tmp_path, capsys):
    recipe("stock", tmp_path / "run", competition, tiny_bert, "--max_steps", "2", "--max_length", "16")
    for flags, warned in (((), False), (("--split_seed", "7"), True)):
        capsys.readouterr()
        recipe("search", tmp_path / "search", competition, tmp_path / "run", "--trials", "1", "--overwrite", *flags)
        said = in_a_line(capsys.readouterr().out)
        assert ("it may have seen rows that validate it now" in said) == warned


@pytest.mark.parametrize("stranger", ["thesis.tex", "trials/notes.txt", "logs/slurm-1.out"])
def test_overwriting_a_search_takes_no_strangers_file(stranger, competition, tiny_bert, tmp_path):
    (tmp_path / "search.yaml").write_text("recipe: search\n")
    (tmp_path / "trials.sqlite3").write_text("")
    (tmp_path / stranger).parent.mkdir(exist_ok=True)
    (tmp_path / stranger).write_text("two years of work")
    with pytest.raises(UserError, match=f"also holds {stranger}, which no search writes"):
        recipe("search", tmp_path, competition, tiny_bert, "--trials", "1", "--overwrite")
    assert (tmp_path / stranger).read_text() == "two years of work"
    assert (tmp_path / "search.yaml").exists()
