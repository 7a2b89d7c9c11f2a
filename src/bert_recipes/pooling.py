"""From hidden states to one vector per text: `(encoder output, attention mask) -> [batch, hidden_size]`."""

from collections.abc import Callable

import torch
from torch import Tensor


def cls(output, attention_mask: Tensor) -> Tensor:
    """The last layer's hidden state of the first token, `[batch, hidden_size]`, as in BERT (arXiv:1810.04805)."""
    return output.last_hidden_state[:, 0]


def mean(output, attention_mask: Tensor) -> Tensor:
    """The mean of the last layer over the tokens that are no padding, as in Sentence-BERT (arXiv:1908.10084)."""
    mask = attention_mask.unsqueeze(-1).to(output.last_hidden_state.dtype)
    return (output.last_hidden_state * mask).sum(1) / mask.sum(1).clamp(min=torch.finfo(mask.dtype).eps)


def pooler(output, attention_mask: Tensor) -> Tensor:
    """The encoder's own pooler, `[batch, hidden_size]`: in BERT the first token through a dense layer and tanh."""
    return output.pooler_output


POOLINGS: dict[str, Callable[..., Tensor]] = {"pooler": pooler, "cls": cls, "mean": mean}
