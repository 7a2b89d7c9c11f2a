"""Precision and devices, as the launcher and the machine have them."""

import os
import sys

import pytest
from support.parsing import parse
from support.started import run

from bert_recipes.errors import UserError


@pytest.mark.parametrize(
    ("launched", "flags", "expected"),
    [
        ("no", ["--bf16", "false"], "no"),
        ("bf16", [], "bf16"),
        ("bf16", ["--bf16", "false"], None),
        ("fp8", [], None),
    ],
)
def test_the_launchers_precision_is_taken_or_refused(launched, flags, expected, monkeypatch):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", launched)
    if expected:
        assert parse("--use_cpu", *flags).training.mixed_precision == expected
    else:
        with pytest.raises(UserError, match=f"accelerate launch asks for {launched}"):
            parse("--use_cpu", *flags)


@pytest.mark.parametrize(("launched", "flags"), [("no", ["--fp16"]), ("fp16", [])])
def test_float16_on_a_cpu_which_accelerate_would_ignore_is_refused(launched, flags, monkeypatch):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", launched)
    with pytest.raises(UserError, match="float16 cannot be honoured on a CPU: leave out --fp16"):
        parse("--use_cpu", *flags)


ON_A_GPU = """
import sys

import torch

major, launched = int(sys.argv.pop(1)), sys.argv.pop(1)
torch.cuda.is_available = torch.accelerator.is_available = lambda: True
torch.cuda.device_count = lambda: 1
torch.cuda.set_device = lambda device: None
torch.cuda.get_device_name = lambda *_: "GPU"
torch.cuda.get_device_capability = lambda *_: (major, 0)
torch.cuda.is_bf16_supported = lambda **_: major >= 8

from bert_recipes.config.arguments import StockArguments
from bert_recipes.config.parsing import parse_arguments
from bert_recipes.devices import describe_device

training = parse_arguments(StockArguments, "", "stock", sys.argv[1:]).training
written = training.configuration
print(training.mixed_precision, written["bf16"], written["fp16"], describe_device(training).partition(" in ")[2])
"""


@pytest.mark.parametrize(
    ("major", "launched", "flags", "expected"),
    [
        (8, "no", [], "bf16 True False bfloat16"),
        (7, "no", [], "fp16 False True float16 with loss scaling"),
        (6, "no", [], "no False False float32"),
        (7, "no", ["--fp16", "false"], "no False False float32"),
        (7, "no", ["--bf16", "false"], "no False False float32"),  # as a run.yaml of before says it
        (8, "no", ["--fp16", "false"], "bf16 True False bfloat16"),
        (8, "no", ["--fp16"], "fp16 False True float16 with loss scaling"),
        (8, "fp16", [], "fp16 False True float16 with loss scaling"),
        (6, "fp16", [], "fp16 False True float16 with loss scaling"),
    ],
)
def test_the_precision_is_that_of_the_gpu_the_launcher_or_the_flag(major, launched, flags, expected):
    # In a process of its own: accelerate keeps the devices that it has found.
    environment = os.environ | {"ACCELERATE_MIXED_PRECISION": launched}
    command = [sys.executable, "-c", ON_A_GPU, str(major), launched, *flags]
    done = run(command, environment=environment)
    assert done.stdout.split("\n")[0] == expected, done.stderr


def test_fsdp_on_cpus_where_every_process_would_train_alone_is_refused(monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(UserError, match="FSDP cannot be honoured on CPUs"):
        parse("--use_cpu")


FOUR_GPUS = """
import torch

torch.cuda.is_available = torch.accelerator.is_available = lambda: True
torch.cuda.device_count = lambda: 4
torch.cuda.set_device = lambda device: None
torch.cuda.is_bf16_supported = lambda **_: True

from bert_recipes.config.arguments import StockArguments
from bert_recipes.config.parsing import parse_arguments
from bert_recipes.runs.run import say_which_gpus_idle

args = parse_arguments(StockArguments, "", "stock", ["--per_device_train_batch_size", "16"])
print(args.training.device, args.training.n_gpu, args.training.train_batch_size)
say_which_gpus_idle("stock", args.training, args.start)
"""


def test_of_several_gpus_without_a_launcher_one_is_used_and_the_way_to_all_is_said():
    # In a process of its own: accelerate keeps the devices that it has found.
    made = os.environ | {"MAKELEVEL": "1"}
    done = run([sys.executable, "-c", FOUR_GPUS], environment=made)
    assert done.stdout.splitlines() == [
        "cuda:0 1 16",
        "4 GPUs are here and one is used: make recipe-stock PROCS=4 takes them all.",
    ], done.stderr


@pytest.mark.parametrize(
    ("processes", "flags", "refused"),
    [(1, [], False), (2, [], True), (2, ["--ddp_backend", "gloo"], True), (2, ["--use_cpu"], False)],
)
def test_processes_that_would_share_a_gpu_are_refused(processes, flags, refused):
    environment = os.environ | {"LOCAL_WORLD_SIZE": str(processes)}
    command = [sys.executable, "-c", ON_A_GPU, "8", "no", *flags]
    error = run(command, environment=environment).stderr
    sentence = "2 processes were started for 1 GPU, and each needs one of its own: start 1."
    assert (sentence in error) == refused, error


def test_what_keeping_the_best_checkpoint_takes_is_said():
    steps = ["--eval_strategy", "steps", "--eval_steps", "5"]
    with pytest.raises(UserError, match="give --save_strategy steps --save_steps 5 beside --eval_strategy steps"):
        parse(*steps)
    assert parse(*steps, "--save_strategy", "steps", "--save_steps", "5").training.save_steps == 5
    with pytest.raises(
        UserError, match="with --eval_strategy no there is none: give --load_best_model_at_end false too"
    ):
        parse("--eval_strategy", "no")
    assert not parse(*steps, "--load_best_model_at_end", "false").training.load_best_model_at_end
