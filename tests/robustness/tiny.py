"""A BERT of two small layers and a few rows: enough to run a recipe in a second or two."""

import csv
from pathlib import Path

import torch
from transformers import AutoModelForSequenceClassification, BertConfig, BertModel, BertTokenizerFast

WORDS = ("fire", "flood", "storm", "smoke", "rescue", "lovely", "sunny", "party", "cake", "music", "a", "in", "of")


def save_bert(folder: Path) -> Path:
    """Save an encoder with random weights and its tokenizer."""
    torch.manual_seed(0)
    tokenizer = _tokenizer(folder)
    BertModel(_configuration(tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def save_classifier(folder: Path) -> Path:
    """Save a classifier of two labels with random weights and its tokenizer."""
    torch.manual_seed(0)
    tokenizer = _tokenizer(folder)
    AutoModelForSequenceClassification.from_config(_configuration(tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _tokenizer(folder: Path) -> BertTokenizerFast:
    folder.mkdir(parents=True)
    vocabulary = folder / "vocab.txt"
    vocabulary.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]))
    return BertTokenizerFast(str(vocabulary), model_max_length=64)


def _configuration(tokenizer: BertTokenizerFast) -> BertConfig:
    return BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
    )


def write_competition(folder: Path, rows: int = 48) -> Path:
    """Write a folder like a competition's: `train.csv`, an unlabelled `test.csv` and a sample submission."""
    folder.mkdir(parents=True)
    train = [[10 * i, f"{sentence(i)} {i}", int(i % 3 == 0)] for i in range(rows)]
    test = [[7 * i + 1, sentence(i + rows)] for i in range(rows // 4)]
    _write(folder / "train.csv", [["id", "text", "target"], *train])
    _write(folder / "test.csv", [["id", "text"], *test])
    _write(folder / "sample_submission.csv", [["id", "target"], *([row[0], 0] for row in reversed(test))])
    return folder


def sentence(number: int) -> str:
    """Return one of some dozens of short texts."""
    return " ".join(WORDS[(number * 7 + i) % len(WORDS)] for i in range(3 + number % 9))


def _write(path: Path, rows: list[list]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
