"""Run a recipe that kills itself (SIGKILL) at a chosen moment: killed.py MOMENT STEP RECIPE FLAGS..."""

import os
import runpy
import shutil
import signal
import sys
from pathlib import Path

import torch
import transformers
from transformers import TrainerState

import bert_recipes.training.trainer
from bert_recipes.training.trainer import RecipeTrainer


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def die_on_entry(owner, name, when):
    """Make the function `name` of `owner` a death where `when` says so of its arguments."""
    original = getattr(owner, name)
    setattr(owner, name, lambda *args, **kwargs: die() if when(*args) else original(*args, **kwargs))


def die_half_written(owner, name, path_of, end):
    """Make `name`, which writes the file `path_of(*args)`, a death after half of it if the path ends so."""
    original = getattr(owner, name)

    def write(*args, **kwargs):
        original(*args, **kwargs)
        path = path_of(*args)
        if str(path).endswith(end):
            os.truncate(path, Path(path).stat().st_size // 2)
            die()

    setattr(owner, name, write)


def aim(moment, step):
    checkpoint = f"checkpoint-{step}"
    second = lambda *args: args[1]  # noqa: E731
    if moment == "training":
        die_on_entry(RecipeTrainer, "training_step", lambda trainer, *_: trainer.state.global_step == step)
    elif moment == "evaluating":
        die_on_entry(RecipeTrainer, "prediction_step", lambda trainer, *_: trainer.state.global_step == step)
    elif moment == "writing the weights":
        die_half_written(transformers.modeling_utils, "safe_save_file", second, f"{checkpoint}/model.safetensors")
    elif moment == "writing the optimizer":
        die_half_written(torch, "save", second, f"{checkpoint}/optimizer.pt")
    elif moment == "writing the state":
        die_half_written(TrainerState, "save_to_json", second, f"{checkpoint}/trainer_state.json")
    elif moment == "sealing":
        die_on_entry(bert_recipes.training.trainer, "seal", lambda path: path.name == checkpoint)
    elif moment == "removing":
        die_on_entry(shutil, "rmtree", lambda path, *_: "checkpoint-" in str(path))
    else:
        raise ValueError(moment)


if __name__ == "__main__":
    chosen, at, script = sys.argv[1:4]
    aim(chosen, int(at))
    sys.argv = sys.argv[3:]
    runpy.run_path(script, run_name="__main__")
