"""Modules that stand for a user's classifier, and that torch traces, or does not, each in its way."""

from types import SimpleNamespace

import torch
from torch import nn


class MeanOfEmbeddings(nn.Module):
    """The mean of the embeddings under a linear layer."""

    def __init__(self):
        super().__init__()
        self.config = SimpleNamespace(pad_token_id=0)
        self.embeddings = nn.Embedding(20, 8)
        self.classifier = nn.Linear(8, 2)

    def forward(self, input_ids, attention_mask):
        return SimpleNamespace(logits=self.logits(input_ids, attention_mask[:, :, None]))

    def logits(self, ids, mask):
        return self.classifier((self.embeddings(ids) * mask).sum(1) / mask.sum(1))


class Convolution(MeanOfEmbeddings):
    """Takes no text of fewer than three tokens."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv1d(8, 8, 3)

    def logits(self, ids, mask):
        return self.classifier(self.convolution((self.embeddings(ids) * mask).transpose(1, 2)).amax(2))


class WithColumns(MeanOfEmbeddings):
    """Adds columns of numbers to the logits."""

    def forward(self, input_ids, attention_mask, **columns):
        logits = super().forward(input_ids, attention_mask).logits
        return SimpleNamespace(logits=logits + sum(columns.values())[:, None])


class AsksForANumber(MeanOfEmbeddings):
    def logits(self, ids, mask):
        if mask.sum().item() > 10:
            ids = ids * 1
        return super().logits(ids, mask)


class AsksForTheLength(MeanOfEmbeddings):
    def logits(self, ids, mask):
        return super().logits(ids, mask) * (2 if ids.shape[1] > 8 else 1)


class AsksForTheBatch(MeanOfEmbeddings):
    """Gives a text other logits alone: a batch of one is what torch does not trace."""

    def logits(self, ids, mask):
        return super().logits(ids, mask) * (2 if ids.shape[0] == 1 else 1)


class TextByText(MeanOfEmbeddings):
    def logits(self, ids, mask):
        return torch.stack(
            [super(TextByText, self).logits(i[None], m[None])[0] for i, m in zip(ids, mask, strict=True)]
        )


class Fails(MeanOfEmbeddings):
    def logits(self, ids, mask):
        raise ValueError("what its author\nsays of it")


class NotInOpenVino(MeanOfEmbeddings):
    def logits(self, ids, mask):
        return self.classifier(torch.fft.fft(self.embeddings(ids) * mask, dim=-1).abs().mean(1))
