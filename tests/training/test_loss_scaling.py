"""Float16's loss scaling, by a real scaler, on a CPU whose gradients overflow where those in float16 would."""

import sys

import pytest
import torch
from support.cuts import logged, trainer_of
from support.started import run

from bert_recipes.errors import UserError

CASE = {"kind": "custom", "rows": 23, "batch": 4, "accumulation": 2}
LARGEST_FLOAT16 = 65504
TOO_LARGE = 2.0**24


def trained(folder, output_dir, case, scale, **options):
    trainer = trainer_of(case, folder, output_dir, **options)
    if scale is not None:
        give_scaler(trainer, scale)
    trainer.train()
    return trainer


def give_scaler(trainer, scale):
    accelerator = trainer.accelerator
    accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=scale)

    def unscale(optimizer=None):
        accelerator.scaler.unscale_(accelerator._optimizers[0].optimizer)

    accelerator.unscale_gradients = unscale  # accelerate does so under autocast to float16 alone
    for parameter in trainer.model.parameters():
        # The range of float16 without its rounding.
        parameter.register_hook(lambda g: torch.where(g.abs() > LARGEST_FLOAT16, float("inf"), g))


@pytest.mark.parametrize("kind", ["stock", "custom"])
@pytest.mark.parametrize("max_grad_norm", [0.0, 0.05])
def test_a_step_whose_gradients_overflow_is_repeated_and_none_is_lost(kind, max_grad_norm, tiny_bert, tmp_path):
    case = CASE | {"kind": kind}
    plain = trained(tiny_bert, tmp_path / "plain", case, None, max_grad_norm=max_grad_norm)
    scaled = trained(tiny_bert, tmp_path / "scaled", case, TOO_LARGE, max_grad_norm=max_grad_norm)
    assert scaled.accelerator.scaler.get_scale() < TOO_LARGE
    # A scale is a power of two, so that what is scaled and unscaled again has the same digits.
    assert logged(scaled) == logged(plain)
    for (name, expected), found in zip(plain.model.named_parameters(), scaled.model.parameters(), strict=True):
        assert torch.equal(found, expected), name


def test_a_scale_that_fits_is_left_as_it_is(tiny_bert, tmp_path):
    assert trained(tiny_bert, tmp_path, CASE, 4.0).accelerator.scaler.get_scale() == 4.0


def test_gradients_that_are_no_numbers_at_any_scale_end_in_a_sentence(tiny_bert, tmp_path):
    trainer = trainer_of(CASE, tiny_bert, tmp_path)
    give_scaler(trainer, 8.0)
    with torch.no_grad():
        trainer.model.classifier.weight.fill_(float("inf"))
    with pytest.raises(UserError, match="gradients of step 1 are not finite in float16 at any loss scale"):
        trainer.train()


def test_under_fsdp2_each_process_looks_at_its_parts(tmp_path):
    found = run([sys.executable, "-c", SHARDED, tmp_path / "store"])
    assert found.stdout.split() == ["False", "True"], found.stderr


SHARDED = """
import sys

import torch
from accelerate import Accelerator
from torch.distributed import init_device_mesh, init_process_group
from torch.distributed.fsdp import fully_shard

from bert_recipes.training.loss_scaling import overflows

init_process_group("gloo", init_method=f"file://{sys.argv[1]}", rank=0, world_size=1)
model = torch.nn.Linear(2, 2)
fully_shard(model, mesh=init_device_mesh("cpu", (1,)))
for scale in (1.0, float("inf")):
    model.zero_grad()
    (model(torch.ones(1, 2)).sum() * scale).backward()
    print(overflows(model, Accelerator(cpu=True)))
"""
