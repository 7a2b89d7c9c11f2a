import pytest
import torch
from datasets import Dataset
from transformers import BertConfig, BertModel, BertTokenizerFast

WORDS = ["fire", "flood", "storm", "smoke", "rescue", "lovely", "sunny", "party", "cake", "music", "a", "in", "of"]


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory):
    vocabulary = tmp_path_factory.mktemp("vocabulary") / "vocab.txt"
    vocabulary.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]))
    return BertTokenizerFast(str(vocabulary))


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory, tokenizer):
    """The folder of a two-layer BERT with random weights and its tokenizer."""
    folder = tmp_path_factory.mktemp("tiny-bert")
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tokenized_rows(tokenizer):
    """Forty tokenized rows of uneven length with two labels."""
    texts = [" ".join(WORDS[(i * 7 + j) % len(WORDS)] for j in range(3 + i % 9)) for i in range(40)]
    rows = {"labels": [i % 3 == 0 for i in range(40)], "row": list(range(40))}
    rows["labels"] = [int(label) for label in rows["labels"]]
    return Dataset.from_dict({**tokenizer(texts), **rows})
