"""Step a: the plain model and a linear layer, as an `nn.Module` of your own, through the whole recipe.

    python recipes/examples/a_linear_layer.py
    python recipes/custom.py --classifier recipes/examples/a_linear_layer.py:LinearOnCls --output_dir runs/a

Both commands do the same. What the stock classifier hides is ten lines: an encoder, one vector per text, a linear
layer. `forward` takes no labels and returns logits; the loss is a function beside the model. This file goes along with
the saved model, so it imports nothing that a reader of the model would not have.
"""

import runpy
import sys
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from transformers import AutoModel


class LinearOnCls(nn.Module):
    """An encoder, the hidden state of `[CLS]`, and a linear layer.

    Args:
        model_dir: the pretrained encoder's folder.
        task: what the labels are; of it the number of labels is needed.
    """

    def __init__(self, model_dir: str, task: Any):
        super().__init__()
        self.encoder = AutoModel.from_pretrained(model_dir)
        self.encoder.pooler = None  # it would get no gradient
        self.classifier = nn.Linear(self.encoder.config.hidden_size, task.num_labels)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return logits `[batch, num_labels]` for ids and mask `[batch, length]`."""
        output = self.encoder(input_ids=input_ids, attention_mask=attention_mask)
        return self.classifier(output.last_hidden_state[:, 0])


if __name__ == "__main__":
    sys.argv[1:1] = ["--classifier", f"{__file__}:LinearOnCls", "--output_dir", "runs/a-linear-layer"]
    runpy.run_path(str(Path(__file__).parents[1] / "custom.py"), run_name="__main__")
