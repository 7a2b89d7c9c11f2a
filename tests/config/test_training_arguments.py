"""Precision and devices, as the launcher and the machine have them."""

import os
import subprocess
import sys

import pytest
from support.parsing import parse

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
    done = subprocess.run([sys.executable, "-c", FOUR_GPUS], capture_output=True, text=True, env=made)
    assert done.stdout.splitlines() == [
        "cuda:0 1 16",
        "4 GPUs are here and one is used: make recipe-stock PROCS=4 takes them all.",
    ], done.stderr
