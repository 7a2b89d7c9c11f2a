"""What a measurement of speed needs: texts as long as tweets, the rate of a matrix product, operations of a model."""

import os
import re
import time
from collections.abc import Iterator

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bert_recipes.devices import cores
from bert_recipes.errors import UserError

# Tokens of the competition's 7,613 training tweets, special ones included: the 0th, 5th, … 100th percentile.
TWEET_LENGTHS = (3, 12, 16, 20, 23, 25, 27, 29, 30, 32, 33, 35, 37, 38, 40, 42, 44, 46, 48, 53, 84)


def synthetic_texts(
    count: int, tokenizer: PreTrainedTokenizerBase, seed: int = 0, length: int | None = None
) -> Iterator[str]:
    """Yield `count` texts of random words, each as long as tweets are or of `length` tokens, special ones included."""
    words = np.array([word for word in tokenizer.get_vocab() if re.fullmatch(r"[a-z]{3,12}", word)])
    words.sort()
    random = np.random.default_rng(seed)
    special = tokenizer.num_special_tokens_to_add()
    for _ in range(count):
        percentile = random.uniform(0, len(TWEET_LENGTHS) - 1)
        tokens = length or round(np.interp(percentile, np.arange(len(TWEET_LENGTHS)), TWEET_LENGTHS))
        yield " ".join(words[random.integers(len(words), size=max(1, tokens - special))])


def matrix_rate(device: torch.device, dtype: torch.dtype, size: int | None = None, seconds: float = 0.4) -> float:
    """Return the operations per second of a product of square matrices, the best of as many as fit in `seconds`.

    By default 2048 by 2048, and on a GPU, which has hardly begun by then, 8192 by 8192.
    """
    size = size or (2048 if device.type == "cpu" else 8192)
    a, b = torch.randn(2, size, size, device=device).to(dtype)
    a @ b
    best, end = 0.0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        synchronize(device)
        started = time.perf_counter()
        a @ b
        synchronize(device)
        best = max(best, 2 * size**3 / (time.perf_counter() - started))
    return best


def synchronize(device: torch.device) -> None:
    """Wait until an accelerator has done what was asked of it."""
    if device.type != "cpu":
        torch.accelerator.synchronize()


class Operations:
    """The operations that a model's matrix products need for texts of given lengths, padding left out.

    Per token two for each weight of the encoder's layers, per text two for each weight of pooler and head, and
    4 · hidden size · length² of each layer for the attention. A training step needs three times as many: the
    gradients of the inputs and of the weights cost one forward pass each.

    Raises:
        UserError: the layers are not listed one by one, as ALBERT's are not.
    """

    def __init__(self, model: PreTrainedModel):
        config = getattr(model.config, "encoder", None) or model.config
        lists = [m for m in model.modules() if isinstance(m, nn.ModuleList) and len(m) == config.num_hidden_layers]
        if not lists:
            raise UserError(f"--model: {config.model_type} lists no layers one by one to count the operations of.")
        per_token = lists[0]
        embeddings = {id(p) for m in model.modules() if isinstance(m, nn.Embedding) for p in m.parameters()}
        self.per_token = 2 * sum(p.numel() for p in per_token.parameters())
        layers = {id(p) for p in per_token.parameters()}
        self.per_text = 2 * sum(p.numel() for p in model.parameters() if id(p) not in embeddings | layers)
        self.per_pair = 4 * config.hidden_size * config.num_hidden_layers

    def forward(self, lengths) -> float:
        """Return the operations of one forward pass over texts of these lengths in tokens."""
        lengths = np.asarray(lengths, dtype=np.float64)
        return self.per_token * lengths.sum() + self.per_text * len(lengths) + self.per_pair * (lengths**2).sum()

    def training(self, lengths) -> float:
        """Return the operations of one training step."""
        return 3 * self.forward(lengths)


def machine(device: torch.device) -> str:
    """Name the processor or the GPU, the cores in use and the system."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    name = "CPU"
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            name = next((line.split(":")[1].strip() for line in file if line.startswith("model name")), name)
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    native = [key for key in ("avx512_bf16", "amx_bf16") if capabilities.get(key)]
    return f"{name}, {cores()} cores{', ' + ' and '.join(native) if native else ''}"
