"""Classifiers as a user writes them, for `--classifier`."""

import torch
from torch import nn
from transformers import AutoModel, AutoModelForMaskedLM


class TextAlone(nn.Module):
    """The first token's state under a linear layer."""

    def __init__(self, model_dir, task):
        super().__init__()
        self.encoder = AutoModel.from_pretrained(model_dir)
        self.encoder.pooler = None
        self.dropout = nn.Dropout(0.1)
        self.classifier = nn.Linear(self.encoder.config.hidden_size, task.num_labels)

    def forward(self, input_ids, attention_mask, token_type_ids=None):
        types = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        output = self.encoder(input_ids=input_ids, attention_mask=attention_mask, **types)
        return self.classifier(self.dropout(output.last_hidden_state[:, 0]))


class WithColumns(nn.Module):
    """Beside the text a column of categories and one of numbers. The encoder's pooler is left there, and idle."""

    def __init__(self, model_dir, task, columns):
        super().__init__()
        self.encoder = AutoModel.from_pretrained(model_dir)
        assert columns["price"] is None
        self.keywords = nn.Embedding(columns["keyword"], 4, padding_idx=0)
        self.classifier = nn.Linear(self.encoder.config.hidden_size + 5, task.num_labels)

    def forward(self, input_ids, attention_mask, keyword, price):
        states = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state[:, 0]
        return self.classifier(torch.cat([states, self.keywords(keyword), price[:, None] / 10], dim=-1))


class TiedWeights(nn.Module):
    """The encoder under the head of a language model, whose embeddings have three names, and a buffer not saved."""

    def __init__(self, model_dir, task):
        super().__init__()
        self.encoder = AutoModelForMaskedLM.from_pretrained(model_dir)
        self.words = self.encoder.get_input_embeddings()
        self.classifier = nn.Linear(self.encoder.config.hidden_size, task.num_labels)
        self.register_buffer("scale", torch.tensor([3.0]), persistent=False)

    def forward(self, input_ids, attention_mask):
        output = self.encoder(input_ids=input_ids, attention_mask=attention_mask, output_hidden_states=True)
        real = attention_mask[:, :, None]
        mean = (real * self.words(input_ids)).sum(1) / real.sum(1) + output.hidden_states[-1][:, 0]
        return self.classifier(self.scale * mean) + output.logits[:, 0].mean(-1, keepdim=True)
