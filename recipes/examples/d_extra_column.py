"""Step d: an extra column beside the text. The tweets' `keyword` becomes a vector that the head sees too.

    python recipes/examples/d_extra_column.py --dataset data/disaster-tweets --text_column text

Columns of the files that play no other part stay in the splits under their names. Turn one into numbers, give
`forward` an argument of that name, and it arrives there batch by batch. A number (a price, an age) goes the same way
without the embedding: standardise it and concatenate.
"""

from functools import partial
from typing import Any

import torch
from a_linear_layer import LinearOnCls, train
from datasets import DatasetDict
from torch import Tensor, nn
from transformers.modeling_outputs import SequenceClassifierOutput

from bert_recipes.cli.main import run_main
from bert_recipes.errors import UserError

COLUMN = "keyword"
SIZE = 16


class WithKeyword(LinearOnCls):
    """The model of step a with an embedding of the keyword beside the pooled text.

    Args:
        source: the pretrained encoder's folder.
        num_labels: number of labels.
        num_keywords: number of keyword ids; 0 stands for none and for those that train never had.
    """

    def __init__(self, source: str, num_labels: int, num_keywords: int):
        super().__init__(source, num_labels)
        self.keywords = nn.Embedding(num_keywords, SIZE, padding_idx=0)

    def size(self) -> int:
        """Return the size of the text's vector and the keyword's together."""
        return super().size() + SIZE

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        token_type_ids: Tensor | None = None,
        keyword_id: Tensor | None = None,
    ) -> SequenceClassifierOutput:
        """Return logits `[batch, num_labels]` for ids and mask `[batch, length]` and keyword ids `[batch]`."""
        text = self.encode(input_ids, attention_mask, token_type_ids)
        features = torch.cat([text, self.keywords(keyword_id)], dim=-1)
        return SequenceClassifierOutput(logits=self.classifier(features))


def add_keyword_ids(tokenized: DatasetDict) -> tuple[DatasetDict, dict[str, Any]]:
    """Return the splits with `keyword_id`, numbered by the train split, and how many ids there are."""
    if COLUMN not in tokenized["train"].column_names:
        raise UserError(f"this example needs a column '{COLUMN}': give --dataset data/disaster-tweets.")
    known = sorted({word for word in tokenized["train"][COLUMN] if word})
    id_of = {word: i for i, word in enumerate(known, start=1)}
    numbered = tokenized.map(lambda row: {"keyword_id": id_of.get(row[COLUMN], 0)})
    return numbered, {"num_keywords": len(known) + 1}


if __name__ == "__main__":
    run_main(partial(train, WithKeyword, doc=__doc__, name="d-extra-column", prepare=add_keyword_ids))
