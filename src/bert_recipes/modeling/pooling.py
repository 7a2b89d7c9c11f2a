"""From hidden states to one vector per text.

A pooling is a module made from the encoder's configuration. It gets the encoder's output and the attention mask
`[batch, length]` and returns `[batch, size]`; padding (mask 0) must not change what it returns. One with
`all_layers = True` finds the hidden states of every layer, `[batch, length, hidden_size]` each, the embeddings' first,
in `output.hidden_states`.

This file travels with every saved model of the custom recipe: it may import nothing of this project.
"""

from typing import Any

import torch
from torch import Tensor, nn


class Pooling(nn.Module):
    """What the poolings below share: a constructor that takes the encoder's configuration and makes nothing."""

    all_layers = False

    def __init__(self, config: Any) -> None:
        super().__init__()

    def forward(self, output: Any, attention_mask: Tensor) -> Tensor:
        """Return `[batch, size]`."""
        raise NotImplementedError


class Pooler(Pooling):
    """The encoder's own pooler: in BERT the first token through a dense layer and tanh (arXiv:1810.04805)."""

    def forward(self, output: Any, attention_mask: Tensor) -> Tensor:
        """Return `[batch, hidden_size]`."""
        return output.pooler_output


class Cls(Pooling):
    """The last layer's hidden state of the first token (arXiv:1810.04805)."""

    def forward(self, output: Any, attention_mask: Tensor) -> Tensor:
        """Return `[batch, hidden_size]`."""
        return output.last_hidden_state[:, 0]


class Mean(Pooling):
    """The mean of the last layer over the tokens, as in Sentence-BERT (arXiv:1908.10084)."""

    def forward(self, output: Any, attention_mask: Tensor) -> Tensor:
        """Return `[batch, hidden_size]`."""
        return _mean(output.last_hidden_state, attention_mask)


class Max(Pooling):
    """The maximum of the last layer over the tokens, feature by feature, as in Sentence-BERT (arXiv:1908.10084)."""

    def forward(self, output: Any, attention_mask: Tensor) -> Tensor:
        """Return `[batch, hidden_size]`."""
        return _max(output.last_hidden_state, attention_mask)


class MeanMax(Pooling):
    """Mean and maximum over the tokens side by side, as ULMFiT's concat pooling has them (arXiv:1801.06146)."""

    def forward(self, output: Any, attention_mask: Tensor) -> Tensor:
        """Return `[batch, 2 * hidden_size]`."""
        hidden = output.last_hidden_state
        return torch.cat([_mean(hidden, attention_mask), _max(hidden, attention_mask)], dim=-1)


class Attention(Pooling):
    """A learned attention over the tokens: softmax of `w · tanh(W h + b)` (aclanthology.org/N16-1174).

    Its weights start at zero, so that training starts from the mean.
    """

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.projection = nn.Linear(config.hidden_size, config.hidden_size)
        self.context = nn.Parameter(torch.zeros(config.hidden_size))

    def forward(self, output: Any, attention_mask: Tensor) -> Tensor:
        """Return `[batch, hidden_size]`."""
        hidden = output.last_hidden_state
        scores = torch.tanh(self.projection(hidden)) @ self.context
        scores = scores.masked_fill(attention_mask == 0, torch.finfo(scores.dtype).min)
        return (scores.softmax(dim=1).unsqueeze(-1) * hidden).sum(1)


class ClsLast4(Pooling):
    """The first token's hidden states of the last four layers side by side (arXiv:1810.04805, table 7)."""

    all_layers = True

    def __init__(self, config: Any) -> None:
        if config.num_hidden_layers < 4:
            raise ValueError(f"it joins the last four layers, and the encoder has {config.num_hidden_layers}")
        super().__init__(config)

    def forward(self, output: Any, attention_mask: Tensor) -> Tensor:
        """Return `[batch, 4 * hidden_size]`."""
        return torch.cat([hidden[:, 0] for hidden in output.hidden_states[-4:]], dim=-1)


class LayerMix(Pooling):
    """The mean over the tokens of a learned mixture of all layers, embeddings included, as in ELMo (arXiv:1802.05365).

    The mixture is `gamma * sum_j softmax(s)_j * h_j`; it starts as the plain average of the layers.
    """

    all_layers = True

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.scores = nn.Parameter(torch.zeros(config.num_hidden_layers + 1))
        self.gamma = nn.Parameter(torch.ones(()))

    def forward(self, output: Any, attention_mask: Tensor) -> Tensor:
        """Return `[batch, hidden_size]`."""
        shares = self.scores.softmax(0)
        mixed = sum(share * hidden for share, hidden in zip(shares, output.hidden_states, strict=True))
        return self.gamma * _mean(mixed, attention_mask)


def _mean(hidden: Tensor, attention_mask: Tensor) -> Tensor:
    mask = attention_mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * mask).sum(1) / mask.sum(1).clamp(min=torch.finfo(mask.dtype).eps)


def _max(hidden: Tensor, attention_mask: Tensor) -> Tensor:
    return hidden.masked_fill(attention_mask.unsqueeze(-1) == 0, torch.finfo(hidden.dtype).min).amax(1)


POOLINGS: dict[str, type[Pooling]] = {
    "pooler": Pooler,
    "cls": Cls,
    "mean": Mean,
    "max": Max,
    "mean_max": MeanMax,
    "attention": Attention,
    "cls_last4": ClsLast4,
    "layer_mix": LayerMix,
}
