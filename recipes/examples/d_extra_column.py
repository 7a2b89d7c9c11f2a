"""Step d: an extra column beside the text. The tweets' `keyword` becomes a vector that the linear layer sees too.

    python recipes/examples/d_extra_column.py --dataset data/disaster-tweets
    python recipes/custom.py --classifier recipes/examples/d_extra_column.py:WithKeyword --dataset data/disaster-tweets

Both commands do the same. Columns of the files that play no other part are the model's to take: it is given those
that `forward` names. One of texts arrives as the numbers of its categories, learned from the training rows alone, with
0 for a row that has none of them; one of numbers (a price, an age) as they are.
"""

import runpy
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModel

SIZE = 16


class WithKeyword(nn.Module):
    """The model of step a with an embedding of the keyword beside the text's vector.

    Args:
        model_dir: the pretrained encoder's folder.
        task: what the labels are; of it the number of labels is needed.
        columns: how many categories each column has, 0 included.
    """

    def __init__(self, model_dir: str, task: Any, columns: dict[str, int]):
        super().__init__()
        self.encoder = AutoModel.from_pretrained(model_dir)
        self.encoder.pooler = None  # it would get no gradient
        self.keywords = nn.Embedding(columns["keyword"], SIZE, padding_idx=0)
        self.classifier = nn.Linear(self.encoder.config.hidden_size + SIZE, task.num_labels)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, keyword: Tensor) -> Tensor:
        """Return logits `[batch, num_labels]` for ids and mask `[batch, length]` and categories `[batch]`."""
        output = self.encoder(input_ids=input_ids, attention_mask=attention_mask)
        return self.classifier(torch.cat([output.last_hidden_state[:, 0], self.keywords(keyword)], dim=-1))


if __name__ == "__main__":
    sys.argv[1:1] = ["--classifier", f"{__file__}:WithKeyword", "--output_dir", "runs/d-extra-column"]
    runpy.run_path(str(Path(__file__).parents[1] / "custom.py"), run_name="__main__")
