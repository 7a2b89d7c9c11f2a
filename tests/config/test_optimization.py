"""What libraries would refuse when a training begins is refused before a folder is opened, with the flag's name."""

import importlib.util
import json

import pytest
from support.parsing import config, parse
from transformers.trainer_utils import SchedulerType
from transformers.training_args import OptimizerNames

from bert_recipes.errors import UserError

WSD = ["--lr_scheduler_type", "warmup_stable_decay"]
PACKAGES = {"bnb": "bitsandbytes", "paged": "bitsandbytes", "schedule_free": "schedulefree", "grok": "grokadamw"}
PACKAGES |= {"galore": "galore_torch", "apollo": "apollo_torch", "lomo": "lomo_optim"}


def said_of(*flags):
    """What is said of a command line; nothing where it is taken."""
    try:
        parse("--use_cpu", *flags)
    except UserError as error:
        return str(error)
    return None


@pytest.mark.parametrize("name", [one.value for one in OptimizerNames])
def test_every_optimizer_is_built_or_refused_by_name(name):
    flags = ["--optim_target_modules", "query"] if name.startswith(("galore", "apollo")) else []
    said = said_of("--optim", name, *flags)
    if said is None:
        needed = [package for part, package in PACKAGES.items() if part in name]
        assert all(importlib.util.find_spec(package) for package in needed)
    else:
        assert said.startswith(f"--optim {name} cannot be built: ")
        assert "\n" not in said


@pytest.mark.parametrize("name", [one.value for one in SchedulerType])
def test_every_schedule_is_built_or_refused_by_name(name):
    said = said_of("--lr_scheduler_type", name)
    if name in ("cosine_with_min_lr", "cosine_warmup_with_min_lr", "warmup_stable_decay"):
        assert said.startswith(f"--lr_scheduler_type {name} without --lr_scheduler_kwargs cannot be built: ")
    else:
        assert said is None
    said = said_of("--lr_scheduler_type", name, "--lr_scheduler_kwargs", '{"no_such": 1, "num_decay_steps": 1}')
    if name.startswith("constant"):
        assert said == f"--lr_scheduler_kwargs would be ignored: the schedule {name} takes none."
    else:
        assert said.startswith(f"--lr_scheduler_type {name} with --lr_scheduler_kwargs")
        assert "no_such" in said


@pytest.mark.parametrize(
    "flags",
    [
        [*WSD, "--lr_scheduler_kwargs", '{"num_decay_steps": 10}'],
        ["--lr_scheduler_type", "cosine_with_min_lr", "--lr_scheduler_kwargs", '{"min_lr": 1e-6}'],
        ["--lr_scheduler_type", "polynomial", "--warmup_steps", "5000"],
        ["--optim", "rmsprop", "--optim_args", "alpha=0.9"],
        ["--fsdp_config", "{}"],
    ],
)
def test_what_can_be_built_is_taken(flags):
    assert parse("--use_cpu", *flags)


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--deepspeed", "nothere.json"], "--deepspeed nothere.json cannot be read: No such file"),
        (["--deepspeed", "/"], "--deepspeed / cannot be read: Is a directory"),
        (["--fsdp_config", "[1]"], r"--fsdp_config \[1\] cannot be read"),
        (["--lr_scheduler_kwargs", '{"a": '], "--lr_scheduler_kwargs .* is no JSON .*: give keys and values, as in"),
        (["--lr_scheduler_kwargs", "[1]"], r"--lr_scheduler_kwargs \[1\] holds no keys and values"),
        (
            ["--optim", "rmsprop", "--optim_args", "alpha=x"],
            "--optim rmsprop with --optim_args alpha=x cannot be built",
        ),
        (["--optim", "sgd", "--optim_args", "a"], "--optim sgd with --optim_args a cannot be built"),
        (["--torch_compile_backend", "inductr"], "--torch_compile_backend inductr; did you mean inductor: take "),
        (["--torch_compile_mode", "fast"], "--torch_compile_mode fast; did you mean default: take "),
    ],
)
def test_what_cannot_be_built_names_its_flag(flags, sentence):
    with pytest.raises(UserError, match=sentence) as caught:
        parse("--use_cpu", *flags)
    assert "\n" not in str(caught.value)


def test_a_file_of_settings_may_be_damaged(tmp_path):
    path = tmp_path / "ds.json"
    for text in ("{", "[" * 10**5, "\udcff", "3"):
        path.write_bytes(text.encode(errors="surrogateescape"))
        with pytest.raises(UserError, match=r"--deepspeed .*ds.json (is no JSON|cannot be read|holds no keys)"):
            parse("--deepspeed", str(path))
    if importlib.util.find_spec("deepspeed") is None:
        path.write_text(json.dumps({"zero_optimization": {"stage": 2}}))
        with pytest.raises(UserError, match="--deepspeed cannot be honoured: its package is not installed"):
            parse("--deepspeed", str(path))


def test_keys_and_values_of_a_file_are_taken(tmp_path):
    text = "lr_scheduler_type: cosine_with_min_lr\nlr_scheduler_kwargs: {min_lr_rate: 0.1}\n"
    assert parse(*config(tmp_path, text)).training.lr_scheduler_kwargs == {"min_lr_rate": 0.1}
