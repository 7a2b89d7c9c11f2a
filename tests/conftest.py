import gc
import json
import os
import shutil
from collections import Counter

import pytest
import torch
from support.encoders import FAMILY
from support.figures import leave_blank, render
from support.hub import Hub
from support.rows import WORDS, sentence, write_csv
from transformers import AutoModel, BertConfig, BertModel, BertTokenizerFast

# One thread each, here and in the processes that tests start: side by side they would fight over the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
# Under `make test`, too, what a test starts was not started by make.
os.environ.pop("MAKELEVEL", None)


def pytest_collection_modifyitems(items):
    # The files with few tests are those that take long: begun last, one would keep a single process busy.
    count = Counter(item.path for item in items)
    items.sort(key=lambda item: count[item.path])


def pytest_collection_finish():
    # A training begins with a collection, which takes half a second where it looks through all that was imported.
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def figures():
    """Leave the figures of reports blank; tests of figures have a fixture of this name that renders them."""
    leave_blank()
    yield
    render()


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory):
    """Keep what the tests read out of the user's cache."""
    patch = pytest.MonkeyPatch()
    folder = str(tmp_path_factory.mktemp("datasets-cache"))
    patch.setattr("datasets.config.HF_DATASETS_CACHE", folder)
    patch.setenv("HF_DATASETS_CACHE", folder)
    modules = str(tmp_path_factory.mktemp("modules-cache"))
    patch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", modules)
    patch.setenv("HF_MODULES_CACHE", modules)
    yield
    patch.undo()


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory):
    vocabulary = tmp_path_factory.mktemp("vocabulary") / "vocab.txt"
    vocabulary.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]))
    return BertTokenizerFast(str(vocabulary), model_max_length=64)


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
def without_dropout(tiny_bert, tmp_path_factory):
    """The tiny model without dropout, which draws other numbers on two processes than on one."""
    folder = tmp_path_factory.mktemp("without-dropout")
    shutil.copytree(tiny_bert, folder, dirs_exist_ok=True)
    config = json.loads((folder / "config.json").read_text())
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="session")
def competition(tmp_path_factory):
    """A folder like the competition's: a hundred labelled rows, thirty without labels, a sample submission."""
    folder = tmp_path_factory.mktemp("competition")
    train = [[10 * i, sentence(i) + f" {i}", int(i % 3 == 0)] for i in range(100)]
    test = [[7 * i + 1, sentence(i + 50)] for i in range(30)]
    test[4][1] = ""
    write_csv(folder / "train.csv", [["id", "text", "target"], *train])
    write_csv(folder / "test.csv", [["id", "text"], *test])
    write_csv(folder / "sample_submission.csv", [["id", "target"], *([row[0], 0] for row in reversed(test))])
    return folder


@pytest.fixture(scope="session")
def encoders(tmp_path_factory, tokenizer):
    """The folders of one tiny encoder of each family."""
    folders = {}
    for name, config in FAMILY.items():
        folders[name] = tmp_path_factory.mktemp(name)
        torch.manual_seed(0)
        AutoModel.from_config(config).save_pretrained(folders[name])
        tokenizer.save_pretrained(folders[name])
    return folders


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A stand-in of the Hub, the only one that this process knows, with an empty cache and no token."""
    server = Hub()
    server.take_over(monkeypatch, tmp_path / "hub-home")
    yield server
    server.stop()
