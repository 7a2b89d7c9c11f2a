"""A callback that ends a training with an average of the weights of its steps, for benchmarks/means.py."""

import torch
from transformers import TrainerCallback


class Average(TrainerCallback):
    """Keeps an average beside the weights, which become it when the last step is done.

    Args:
        share: of the newest weights in the average; by default all count alike.
        start: the share of the steps that are done before the first is taken.
    """

    def __init__(self, share: float = 0.0, start: float = 0.0):
        self.share, self.start = share, start
        self.average: list[torch.Tensor] = []
        self.steps = 0

    @torch.no_grad()
    def on_step_end(self, args, state, control, model=None, **kwargs):
        """Take the weights after a step into the average."""
        if state.global_step < self.start * state.max_steps:
            return
        weights, self.steps = list(model.parameters()), self.steps + 1
        if self.steps == 1:
            self.average = [weight.detach().clone() for weight in weights]
        for average, weight in zip(self.average, weights, strict=True):
            average.lerp_(weight, max(self.share, 1 / self.steps))
        if state.global_step >= state.max_steps:
            for average, weight in zip(self.average, weights, strict=True):
                weight.copy_(average)
