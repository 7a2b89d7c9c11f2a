"""Callbacks of the user's own take part in a training, and in one that was interrupted too."""

import json
import re
import threading

import pytest
import torch
import yaml
from support.killed_training import dying_after
from support.parsing import parse
from support.scripts import recipe
from transformers import PrinterCallback, TrainerCallback
from transformers.trainer_callback import ExportableState

import bert_recipes as br
from bert_recipes.errors import UserError

FILE = '''
from pathlib import Path

from transformers import TrainerCallback
from transformers.trainer_callback import ExportableState


class Counting(TrainerCallback, ExportableState):
    """Counts the steps that it saw, those before an interruption included."""

    def __init__(self):
        self.steps = 0

    def on_step_end(self, args, state, control, **kwargs):
        self.steps += 1

    def on_train_end(self, args, state, control, **kwargs):
        Path(__file__).with_name("counted.txt").write_text(f"{self.steps} {state.global_step}")

    def state(self):
        return {"args": {}, "attributes": {"steps": self.steps}}


class Stopping(TrainerCallback):
    def on_step_end(self, args, state, control, **kwargs):
        control.should_training_stop = state.global_step == 3


class Broken(TrainerCallback):
    def __init__(self):
        raise ValueError("no such thing")


class Needing(TrainerCallback):
    def __init__(self, patience):
        self.patience = patience


class Other:
    pass
'''
FLAGS = ["--max_steps", "6", "--eval_strategy", "steps", "--eval_steps", "2", "--save_strategy", "steps"]
FLAGS += ["--save_steps", "2"]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(FILE)
    return path


@pytest.mark.parametrize("name", ["stock", "custom"])
def test_they_take_part_and_are_written_down(name, file, competition, tiny_bert, tmp_path):
    folder = tmp_path / "run"
    recipe(name, folder, competition, tiny_bert, *FLAGS, "--callbacks", f"{file}:Counting", f"{file}:Stopping")
    assert (tmp_path / "counted.txt").read_text() == "3 3"
    assert yaml.safe_load((folder / "run.yaml").read_text())["callbacks"] == [f"{file}:Counting", f"{file}:Stopping"]
    assert json.loads((folder / "metrics.json").read_text())["train"]["stopped_early"] == [3, 6]
    said = "It stopped early, after step 3 of 6. Callbacks of its own took part in it: {}."
    assert said.format("`Counting`, `Stopping`") in (folder / "README.md").read_text()
    assert said.format("Counting, Stopping") in (folder / "report.html").read_text()


@pytest.mark.parametrize("step", [3, 5])
def test_their_state_outlives_an_interruption(step, file, competition, tiny_bert, tmp_path):
    flags = [*FLAGS, "--callbacks", f"{file}:Counting"]
    with dying_after(step):
        recipe("stock", tmp_path / "run", competition, tiny_bert, *flags)
    recipe("stock", tmp_path / "run", competition, tiny_bert, *flags)
    assert (tmp_path / "counted.txt").read_text() == "6 6"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Nothing", "does not define Nothing"),
        ("Other", "it is not a subclass of transformers.TrainerCallback"),
        (
            "Needing",
            "a callback is made without arguments, and it has some: missing a required argument: 'patience'",
        ),
    ],
)
def test_what_is_no_callback_is_refused_before_anything_is_written(name, said, file, competition, tiny_bert, tmp_path):
    with pytest.raises(UserError, match=re.escape(said)):
        recipe("custom", tmp_path / "run", competition, tiny_bert, "--callbacks", f"{file}:{name}")
    assert not (tmp_path / "run").exists()


def test_one_that_stops_by_evaluations_needs_some(file, competition, tiny_bert, tmp_path):
    with file.open("a") as opened:
        opened.write("\n\nfrom transformers import EarlyStoppingCallback\n")
    flags = ("--eval_strategy", "no", "--load_best_model_at_end", "false")
    with pytest.raises(
        UserError, match=r"mine\.py:EarlyStoppingCallback stops by evaluations, and there are none: give"
    ):
        recipe(
            "stock", tmp_path / "run", competition, tiny_bert, "--callbacks", f"{file}:EarlyStoppingCallback", *flags
        )
    assert not (tmp_path / "run").exists()


def test_one_that_cannot_be_made_is_a_sentence(file, competition, tiny_bert, tmp_path):
    with pytest.raises(UserError, match="it cannot be made: ValueError: no such thing"):
        recipe("custom", tmp_path / "run", competition, tiny_bert, "--callbacks", f"{file}:Broken")


@pytest.mark.parametrize(
    ("event", "body", "sentence"),
    [
        ("on_step_end", "open('nowhere.txt')", r"on_step_end fails with FileNotFoundError: .*nowhere\.txt"),
        ("on_log", "kwargs['nothing']", "on_log fails with KeyError: 'nothing'"),
        ("on_evaluate", "torch.ones(2) @ torch.ones(3)", "on_evaluate fails with RuntimeError: .*size"),
        ("on_train_end", "1 / 0", "on_train_end fails with ZeroDivisionError: division by zero"),
    ],
)
def test_one_that_fails_in_a_training_is_a_sentence(event, body, sentence, competition, tiny_bert, tmp_path):
    path = tmp_path / "mine.py"
    start = "import torch\nfrom transformers import TrainerCallback\n\n\nclass Mine(TrainerCallback):\n"
    path.write_text(f"{start}    def {event}(self, args, state, control, **kwargs):\n        {body}\n")
    with pytest.raises(UserError, match=rf"mine\.py, line 7: {sentence}") as caught:
        recipe("stock", tmp_path / "run", competition, tiny_bert, "--max_steps", "2", "--callbacks", f"{path}:Mine")
    assert "\n" not in str(caught.value)


def test_a_loss_that_fails_in_a_training_is_a_sentence(competition, tiny_bert, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "from torch.nn.functional import cross_entropy\n\nCALLS = []\n\n\ndef mine(logits, labels):\n"
        "    CALLS.append(1)\n    if len(CALLS) > 3:\n        logits = logits[:1]\n"
        "    return cross_entropy(logits, labels, reduction='none')\n"
    )
    with pytest.raises(UserError, match=r"mine\.py, line 10: mine fails with ValueError: Expected input batch_size"):
        recipe("custom", tmp_path / "run", competition, tiny_bert, "--loss", f"{path}:mine")


def test_a_flag_that_would_bring_a_request_to_stop_back_is_refused():
    with pytest.raises(UserError, match="restores its callbacks by itself"):
        parse("--restore_callback_states_from_checkpoint", "true")


class Watching(TrainerCallback, ExportableState):
    """One with arguments, which a program makes itself."""

    def __init__(self, every):
        self.every = every
        self.seen = []

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step % self.every == 0:
            self.seen.append(state.global_step)

    def state(self):
        return {"args": {"every": self.every}, "attributes": {"seen": self.seen}}


def test_from_python_classes_and_objects_are_taken(file, competition, tiny_bert, tmp_path, capsys):
    watching = Watching(every=2)
    flags = {"dataset": str(competition), "model": str(tiny_bert), "max_length": 32, "max_steps": 4, "bf16": False}
    run = br.train(
        "stock",
        callbacks=[watching, PrinterCallback, f"{file}:Counting"],
        output_dir=str(tmp_path / "run"),
        eval_strategy="no",
        load_best_model_at_end=False,
        **flags,
    )
    assert watching.seen == [2, 4]
    assert (tmp_path / "counted.txt").read_text() == "4 4"
    assert "'train_runtime'" in capsys.readouterr().out  # PrinterCallback's
    named = yaml.safe_load((run.folder / "run.yaml").read_text())["callbacks"]
    assert [spec.rpartition("/")[2] for spec in named] == [
        "own_callback_1.py:Watching",
        "own_callback_2.py:PrinterCallback",
        "mine.py:Counting",
    ]
    assert "class Watching" in (run.folder / "code/own_callback_1.py").read_text()
    assert (
        "from transformers.trainer_callback import PrinterCallback"
        in (run.folder / "code/own_callback_2.py").read_text()
    )


@pytest.fixture
def few(competition, tiny_bert, tmp_path):
    flags = {"dataset": str(competition), "model": str(tiny_bert), "max_length": 32, "max_steps": 2, "bf16": False}
    return flags | {"output_dir": str(tmp_path / "run"), "eval_strategy": "no", "load_best_model_at_end": False}


def test_each_fold_has_a_copy_of_an_object(few):
    watching = Watching(every=1)
    br.train("stock", callbacks=watching, folds=2, **few)
    assert watching.seen == []
    with pytest.raises(UserError, match="needs an object for each fold, and Holding cannot be copied"):
        br.train("stock", callbacks=[Holding()], folds=2, overwrite=True, **few)


class Holding(TrainerCallback):
    """One that holds what can neither be copied nor pickled, and that is false."""

    def __init__(self):
        self.lock = threading.Lock()
        self.steps = 0

    def __len__(self):
        return 0

    def on_step_end(self, args, state, control, **kwargs):
        self.steps += 1


def test_an_object_that_cannot_be_pickled_is_no_hindrance_to_checkpoints(few):
    holding = Holding()
    br.train("stock", callbacks=[holding], **few, save_strategy="steps", save_steps=1)
    assert holding.steps == 2


def test_an_empty_list_takes_those_of_a_configuration_away(few, file, tmp_path):
    (tmp_path / "config.yaml").write_text(f"callbacks: ['{file}:Counting']\n")
    br.train("stock", config=tmp_path / "config.yaml", callbacks=[], **few)
    assert not (tmp_path / "counted.txt").exists()


def test_what_goes_on_from_python_names_the_objects(few, file):
    flags = few | {"callbacks": [PrinterCallback, f"{file}:Counting"], "pooling": Pooling}
    br.train("custom", **flags)
    with pytest.raises(UserError) as caught:
        br.train("custom", **flags | {"max_steps": 5})
    line = str(caught.value).partition("by: ")[2]
    assert f"callbacks=[PrinterCallback, '{file}:Counting']" in line
    assert "pooling=Pooling" in line
    assert "max_steps=3" in line


class Pooling(torch.nn.Module):
    def __init__(self, config):
        super().__init__()

    def forward(self, output, attention_mask):
        return output.last_hidden_state[:, 0]
