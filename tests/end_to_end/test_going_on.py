"""A finished run is the start of another: of either recipe, repeated by its run.yaml, and interrupted as any other."""

import json
import shlex
import shutil
import sys
from importlib.util import find_spec

import pytest
import torch
import yaml
from safetensors.torch import load_file
from support.paths import RECIPES
from support.rows import write_csv
from support.scripts import in_a_line, predictions, recipe, run_script

import bert_recipes as br
from bert_recipes.errors import StoppedError, UserError
from bert_recipes.training.trainer import RecipeTrainer

STEPS = ("--max_steps", "4", "--per_device_train_batch_size", "8")
CHECKPOINTS = ("--save_strategy", "steps", "--save_steps", "1", "--eval_strategy", "steps", "--eval_steps", "1")
UNMOVED = ("--learning_rate", "0")


@pytest.fixture(scope="module")
def first(competition, tiny_bert, tmp_path_factory):
    """The folders of a finished run of each recipe, the custom one with choices of its own."""
    folder = tmp_path_factory.mktemp("first")
    recipe("stock", folder / "stock", competition, tiny_bert, *STEPS)
    own = ("--pooling", "attention", "--head_layers", "1", "--head_size", "24")
    recipe("custom", folder / "custom", competition, tiny_bert, *STEPS, *own)
    return folder


@pytest.fixture
def by_script(monkeypatch):
    monkeypatch.delenv("MAKELEVEL", raising=False)
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)


def weights(folder):
    return load_file(folder / "model/model.safetensors")


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("name", ["stock", "custom"])
def test_a_run_goes_on_from_a_run_of_its_own_recipe(name, first, competition, tmp_path, capsys):
    # Weights that do not move are those that it began with.
    recipe(name, tmp_path / "next", competition, first / name, *STEPS, *UNMOVED)
    assert same(weights(tmp_path / "next"), weights(first / name))
    assert "has a head for these very labels (0, 1), which is kept." in in_a_line(capsys.readouterr().out)
    configuration = yaml.safe_load((tmp_path / "next/run.yaml").read_text())
    assert configuration["model"] == str(first / name)
    if name == "custom":
        assert (configuration["pooling"], configuration["head_layers"], configuration["head_size"]) == (
            *("attention", 1),
            24,
        )
        before = [row["1"] for row in predictions(first / name)]
        assert [row["1"] for row in predictions(tmp_path / "next")] == before


@pytest.mark.parametrize(("name", "other", "prefix"), [("stock", "custom", "bert."), ("custom", "stock", "encoder.")])
def test_a_run_goes_on_from_a_run_of_the_other_recipe(name, other, prefix, first, competition, tmp_path, capsys):
    recipe(name, tmp_path / "next", competition, first / other, *STEPS, *UNMOVED)
    there, here = weights(first / other), weights(tmp_path / "next")
    of_encoder = {k: v for k, v in there.items() if k.startswith(("bert.", "encoder."))}
    for key, value in of_encoder.items():
        assert torch.equal(here[prefix + key.partition(".")[2]], value)
    assert len(of_encoder) > 30
    said = {"stock": "a new head is begun, and a new pooler,", "custom": "these very labels (0, 1), which is kept"}
    assert said[name] in in_a_line(capsys.readouterr().out)


def test_its_configuration_repeats_it(first, competition, tmp_path):
    recipe("custom", tmp_path / "next", competition, first / "custom", *STEPS)
    again = ("--config", tmp_path / "next/run.yaml", "--output_dir", tmp_path / "again", "--debug")
    run_script(RECIPES / "custom.py", *again)
    assert same(weights(tmp_path / "again"), weights(tmp_path / "next"))
    assert not same(weights(tmp_path / "next"), weights(first / "custom"))


def test_rows_that_the_model_has_seen_are_no_secret(first, competition, tiny_bert, tmp_path, capsys):
    warning = "it may have seen rows that validate it now"
    run = ("stock", tmp_path / "next", competition)
    for model, flags, warned in (
        (tiny_bert, (), False),
        (first / "stock", (), False),
        (first / "stock/model", ("--split_seed", "7"), True),
        (first / "stock", ("--folds", "2"), True),
    ):
        capsys.readouterr()
        recipe(*run, model, *STEPS, *flags, "--overwrite")
        assert (warning in in_a_line(capsys.readouterr().out)) == warned


def test_other_labels_of_the_same_rows_are_no_other_splits(first, competition, tmp_path, capsys):
    write_csv(tmp_path / "corrections.csv", [["id", "label"], ["0", 0], ["10", 1], ["20", 1]])
    flags = ("--max_steps", "2", "--overwrite")
    for labels in (["--labels", "1", "0"], ["--corrections", tmp_path / "corrections.csv"]):
        recipe("stock", tmp_path / "run", competition, first / "stock", *labels, *flags)
        assert "in other splits" not in in_a_line(capsys.readouterr().out)
    elsewhere = f"{competition}/../{competition.name}"
    for path, seed, seen in ((elsewhere, "42", False), (elsewhere, "1", True), (competition, "1", True)):
        recipe("stock", tmp_path / "run", path, first / "stock", "--split_seed", seed, *flags)
        assert ("was trained on this data in other splits" in in_a_line(capsys.readouterr().out)) == seen


@pytest.mark.slow
def test_rows_that_a_model_further_back_has_seen_are_no_secret(first, competition, tmp_path, capsys):
    other = ("--split_seed", "7")
    recipe("stock", tmp_path / "second", competition, first / "stock", *STEPS, *other)
    run = ("stock", tmp_path / "third", competition, tmp_path / "second", *STEPS)
    capsys.readouterr()
    recipe(*run, *other)
    said = in_a_line(capsys.readouterr().out)
    assert (
        f"--model {tmp_path}/second began from {first}/stock, which was trained on this data in other splits" in said
    )
    # Its own command again does not propose to go on in the same way.
    with pytest.raises(UserError, match=r"with --overwrite\.$"):
        recipe(*run, *other)
    # What is not there any more tells nothing, and one that names itself is asked once.
    configuration = yaml.safe_load((tmp_path / "second/run.yaml").read_text())
    for gone in ("nowhere", "second"):
        values = configuration | {"model": str(tmp_path / gone)}
        (tmp_path / "second/run.yaml").write_text(yaml.safe_dump(values))
        recipe(*run, *other, "--overwrite")
        assert "it may have seen rows" not in in_a_line(capsys.readouterr().out)


def test_a_run_in_the_folder_where_one_is_is_gone_on_from_beside_it(
    first, competition, tiny_bert, by_script, monkeypatch
):
    monkeypatch.chdir(first / "stock")
    with pytest.raises(UserError) as caught:
        recipe("stock", ".", competition, tiny_bert, *STEPS[2:], "--max_steps", "10")
    command = str(caught.value).partition(" by: ")[2]
    assert f" --model {first}/stock " in command
    assert command.endswith(f" --output_dir {first}/stock-2")


def interrupt(monkeypatch, step):
    """Have a training end after the checkpoint of a step is saved, once."""
    save = RecipeTrainer._save_checkpoint

    def save_and_stop(trainer, *args):
        save(trainer, *args)
        if trainer.state.global_step == step:
            raise StoppedError("stopped", 15)

    monkeypatch.setattr(RecipeTrainer, "_save_checkpoint", save_and_stop)


@pytest.mark.parametrize("name", ["stock", "custom"])
def test_interrupted_it_ends_as_one_left_alone(name, first, competition, tmp_path, monkeypatch):
    run = (competition, first / "custom", *STEPS, *CHECKPOINTS)
    recipe(name, tmp_path / "alone", *run)
    with monkeypatch.context() as patch:
        interrupt(patch, 2)
        with pytest.raises(StoppedError):
            recipe(name, tmp_path / "resumed", *run)
    recipe(name, tmp_path / "resumed", *run)
    assert same(weights(tmp_path / "alone"), weights(tmp_path / "resumed"))
    assert (tmp_path / "alone/predictions.csv").read_bytes() == (tmp_path / "resumed/predictions.csv").read_bytes()


@pytest.mark.skipif(find_spec("peft") is None, reason="the extra 'lora' is not installed")
def test_what_lora_learned_is_a_part_of_what_it_goes_on_from(competition, tiny_bert, tmp_path):
    recipe("custom", tmp_path / "lora", competition, tiny_bert, *STEPS, "--pooling", "mean", "--lora_rank", "2")
    recipe("custom", tmp_path / "next", competition, tmp_path / "lora", *STEPS, *UNMOVED)
    assert same(weights(tmp_path / "next"), weights(tmp_path / "lora"))
    recipe("custom", tmp_path / "more", competition, tmp_path / "lora/model", *STEPS, *UNMOVED, "--lora_rank", "2")
    assert same(weights(tmp_path / "more"), weights(tmp_path / "lora"))


# More epochs in a folder whose run is finished


ASKED = [
    (("--max_steps", "10", "--learning_rate", "1e-5"), "--max_steps 6"),
    ((), "--max_steps 4"),
    (("--model", "{run}", "--max_steps", "3", "--learning_rate", "1e-5"), "--max_steps 3"),
]


@pytest.mark.parametrize(("flags", "steps"), ASKED)
def test_more_steps_of_a_finished_run_are_a_command_that_works(flags, steps, first, competition, tiny_bert, by_script):
    run = first / "custom"
    own = ("--pooling", "attention", "--head_layers", "1", "--head_size", "24")
    with pytest.raises(UserError, match="its model is trained on, with a schedule of its own, by: ") as caught:
        recipe("custom", run, competition, tiny_bert, *STEPS, *own, *(flag.format(run=run) for flag in flags))
    command = str(caught.value).partition(" by: ")[2]
    assert command.startswith(f"python {RECIPES}/custom.py --dataset {competition} --model {run} ")
    assert steps in command
    assert command.endswith(f" --output_dir {run}-2")
    run_script(RECIPES / "custom.py", *shlex.split(command)[2:], "--debug")
    done = json.loads((first / "custom-2/trainer_state.json").read_text())["global_step"]
    assert done == int(steps.split()[1])
    shutil.rmtree(first / "custom-2")


@pytest.mark.parametrize(
    "flags", [("--max_steps", "2"), ("--max_steps", "9", "--seed", "3"), ("--max_steps", "9", "--max_length", "16")]
)
def test_another_run_than_a_longer_one_is_no_reason_to_go_on(flags, first, competition, tiny_bert, by_script):
    with pytest.raises(UserError, match=r"another configuration .* with --overwrite\.$"):
        recipe("stock", first / "stock", competition, tiny_bert, *STEPS, *flags)


def test_from_python_the_command_is_a_call(competition, tiny_bert, tmp_path):
    given = {"dataset": str(competition), "model": str(tiny_bert), "max_length": 32, "output_dir": tmp_path / "run"}
    br.train("stock", max_steps=1, bf16=False, **given)
    with pytest.raises(UserError) as caught:
        br.train("stock", max_steps=3, bf16=False, **given)
    call = f"dataset='{competition}', model='{tmp_path}/run', max_length=32, output_dir='{tmp_path}/run-2')"
    said = str(caught.value).partition(" by: ")[2]
    assert said == f'br.train("stock", max_steps=2, bf16=False, {call}'


# A chosen checkpoint


@pytest.fixture
def stopped(competition, tiny_bert, tmp_path, monkeypatch):
    """A run of four steps that was interrupted after the third, and what starts it again."""

    def start(*flags, folder=tmp_path / "run", lengths=("--save_total_limit", "9")):
        recipe("stock", folder, competition, tiny_bert, *STEPS, *CHECKPOINTS, *lengths, *flags)

    with monkeypatch.context() as patch:
        interrupt(patch, 3)
        with pytest.raises(StoppedError):
            start()
    return tmp_path / "run", start


def test_a_run_goes_on_from_the_checkpoint_that_is_chosen(stopped, tmp_path, capsys, monkeypatch):
    folder, start = stopped
    chosen = ("--resume_from_checkpoint", str(folder / "checkpoints/checkpoint-1"))
    capsys.readouterr()
    with monkeypatch.context() as patch:
        interrupt(patch, 2)
        with pytest.raises(StoppedError):
            start(*chosen)
    said = in_a_line(capsys.readouterr().out)
    assert "Going on from checkpoint-1; what comes after it is removed: checkpoint-3, checkpoint-2." in said
    names = {path.name for path in (folder / "checkpoints").glob("checkpoint-*")}
    assert names == {"checkpoint-1", "checkpoint-2"}
    start()
    start(folder=tmp_path / "alone")
    assert same(weights(folder), weights(tmp_path / "alone"))
    assert "resume_from_checkpoint" not in (folder / "run.yaml").read_text()


def test_a_checkpoint_that_cannot_be_gone_on_from_is_one_sentence(stopped, tmp_path):
    folder, start = stopped
    there = folder / "checkpoints"
    shutil.copytree(folder, tmp_path / "other")
    (there / "checkpoint-2/optimizer.pt").write_bytes(b"x")
    for name, flags, sentence in (
        (there / "checkpoint-9", (), r"has no such checkpoint: it has checkpoint-1, checkpoint-2, checkpoint-3"),
        (there, (), "is not a checkpoint of the run in"),
        (
            tmp_path / "other/checkpoints/checkpoint-1",
            (),
            r"is not a checkpoint of .*, but of the run in .*/other: it has",
        ),
        (there / "checkpoint-2", (), r"cannot be used \(optimizer\.pt is damaged\): name another one"),
        (there / "checkpoint-1", ("--seed", "7"), "holds a run of another configuration .seed is 42 there and 7 here"),
        (there / "checkpoint-1", ("--overwrite",), "leave out one of them"),
        (there / "checkpoint-1", ("--folds", "2"), "with --folds there are several trainings"),
    ):
        with pytest.raises(UserError, match=sentence) as caught:
            start("--resume_from_checkpoint", str(name), *flags)
        assert "\n" not in str(caught.value)
    assert {path.name for path in there.glob("checkpoint-*")} == {f"checkpoint-{i}" for i in (1, 2, 3)}
