"""Step b: another pooling, as a module of its own, so that the custom recipe takes it as it is.

    python recipes/examples/b_pooling.py
    python recipes/custom.py --pooling recipes/examples/b_pooling.py:FirstAndMean

Both commands do the same: the rest of that recipe comes with it, down to a saved model that carries this file. It
therefore imports nothing that a reader of the model would not have.
"""

import runpy
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig


class FirstAndMean(nn.Module):
    """The first token beside the mean over the others. Made from the encoder's configuration, as `--pooling` asks."""

    def __init__(self, config: PretrainedConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(2 * config.hidden_size)

    def forward(self, output: Any, attention_mask: Tensor) -> Tensor:
        """Return `[batch, 2 * hidden_size]`; padding, where the mask is 0, counts nothing."""
        hidden = output.last_hidden_state
        mask = attention_mask[:, 1:].unsqueeze(-1).to(hidden.dtype)
        mean = (hidden[:, 1:] * mask).sum(1) / mask.sum(1).clamp(min=1)
        return self.norm(torch.cat([hidden[:, 0], mean], dim=-1))


if __name__ == "__main__":
    sys.argv[1:1] = ["--pooling", f"{__file__}:FirstAndMean", "--output_dir", "runs/b-pooling"]
    runpy.run_path(str(Path(__file__).parents[1] / "custom.py"), run_name="__main__")
