"""A training stops early where its score no longer improves, wherever it was interrupted."""

import json

import pytest
from support.parsing import parse
from support.scripts import recipe

from bert_recipes.errors import UserError
from bert_recipes.training.early_stopping import EarlyStopping

# Twelve evaluations, if nothing stops it; a score that steps of this size do not change soon.
FLAGS = ["--max_steps", "24", "--eval_strategy", "steps", "--eval_steps", "2", "--save_strategy", "steps"]
FLAGS += ["--save_steps", "2", "--early_stopping_patience", "3"]


def state_of(folder):
    return json.loads((folder / "trainer_state.json").read_text())


def end_of(folder):
    state = state_of(folder)
    scores = [entry["eval_f1"] for entry in state["log_history"] if "eval_f1" in entry]
    return state["global_step"], scores, (folder / "model/model.safetensors").read_bytes()


@pytest.fixture(scope="module", params=["stock", "custom"])
def stopped(request, competition, tiny_bert, tmp_path_factory):
    folder = tmp_path_factory.mktemp("stopped") / "run"
    recipe(request.param, folder, competition, tiny_bert, *FLAGS)
    return request.param, folder


def test_it_stops_once_the_score_has_not_improved_that_often(stopped):
    _, folder = stopped
    steps, scores, _ = end_of(folder)
    assert steps < 24
    assert steps == 2 * len(scores)
    assert max(scores[-3:]) <= max(scores[:-3])
    # Not an evaluation later than it could have.
    assert all(max(scores[: n + 1][-3:]) > max(scores[: n - 2]) for n in range(3, len(scores) - 1))


@pytest.mark.parametrize("evaluations", [1, 3])
def test_an_interrupted_run_stops_where_it_would_have(
    evaluations, stopped, competition, tiny_bert, tmp_path, monkeypatch
):
    name, folder = stopped
    seen = []
    whole = EarlyStopping.on_evaluate

    def dying(self, *args, **kwargs):
        whole(self, *args, **kwargs)
        seen.append(1)
        if len(seen) == evaluations + 1:
            raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(EarlyStopping, "on_evaluate", dying)
        with pytest.raises(RuntimeError, match="killed"):
            recipe(name, tmp_path / "run", competition, tiny_bert, *FLAGS)
    recipe(name, tmp_path / "run", competition, tiny_bert, *FLAGS)
    assert end_of(tmp_path / "run") == end_of(folder)


def test_a_run_that_had_stopped_trains_no_further(stopped, competition, tiny_bert, tmp_path, monkeypatch):
    name, folder = stopped
    with monkeypatch.context() as patch:
        patch.setattr("bert_recipes.runs.run.Run.finish", lambda *_: (_ for _ in ()).throw(RuntimeError("killed")))
        with pytest.raises(RuntimeError, match="killed"):
            recipe(name, tmp_path / "run", competition, tiny_bert, *FLAGS)
    recipe(name, tmp_path / "run", competition, tiny_bert, *FLAGS)
    assert end_of(tmp_path / "run") == end_of(folder)


def test_the_card_says_so(stopped):
    _, folder = stopped
    steps, _, _ = end_of(folder)
    assert f"It stopped early, after step {steps} of 24" in (folder / "README.md").read_text()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--early_stopping_threshold", "0.1"], "needs --early_stopping_patience"),
        (["--early_stopping_patience", "2", "--load_best_model_at_end", "false"], "needs --load_best_model_at_end"),
        (["--early_stopping_patience", "0"], "give 1 or more"),
        (["--patience", "2"], "it is called --early_stopping_patience here"),
    ],
)
def test_what_it_needs_is_said(flags, said):
    with pytest.raises(UserError, match=said):
        parse("--use_cpu", *flags)
