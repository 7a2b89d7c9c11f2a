"""Float16 training that loses no step: one whose gradients overflow is repeated at a lower loss scale.

`torch.amp.GradScaler` multiplies the loss so that small gradients do not vanish in float16, and skips an optimizer
step whose gradients then overflow (arXiv:1710.03740, section 3.2). `Trainer` counts such a step as done, though its
rows have changed nothing.
"""

from typing import Any

import torch
from torch import nn

from bert_recipes.errors import UserError


def overflows(model: nn.Module, accelerator: Any) -> bool:
    """Whether a gradient of the model, on any process, is infinite or no number."""
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    # Under FSDP2 a process has a part of each.
    parts = [gradient.to_local() if hasattr(gradient, "to_local") else gradient for gradient in gradients]
    finite = torch.stack([part.isfinite().all().to(accelerator.device) for part in parts]).all()
    return bool(accelerator.reduce((~finite).float(), reduction="sum") > 0)


def lower_scale(scaler: torch.amp.GradScaler, step: int) -> None:
    """Lower the loss scale by the factor of a step that `GradScaler` skips; its count up to the next raise goes on.

    Args:
        scaler: of the training.
        step: that is being made, counted from 1, for the sentence of an error.

    Raises:
        UserError: the gradients overflow without any scaling too.
    """
    if scaler.get_scale() < 1:
        raise UserError(
            f"the gradients of step {step:,} are not finite in float16 at any loss scale: lower "
            "--learning_rate, raise --warmup_steps, or train in float32 with --fp16 false."
        )
    scaler.update(scaler.get_scale() * scaler.get_backoff_factor())
