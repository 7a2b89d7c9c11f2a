"""Where data comes from: a folder, a file, a Hub id, and the first of several that exists."""

import time

import pytest
from support.reading import ROWS, read

from bert_recipes.config.arguments import DataArguments
from bert_recipes.data.loading import load_data
from bert_recipes.errors import UserError


def test_a_path_that_does_not_exist():
    with pytest.raises(UserError, match="no such file or folder"):
        load_data(DataArguments(dataset="no/such/folder"))


def test_the_first_data_set_that_is_here_is_taken(folder):
    (folder / "train.csv").write_text("id,text,label\n" + ROWS)
    data = load_data(DataArguments(dataset=[str(folder / "nowhere"), str(folder), "owner/name"]))
    assert data.source == str(folder)


def test_a_hub_id_while_offline_names_the_alternatives_in_time(monkeypatch):
    # An address of the range kept for documentation: nothing is there to answer.
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://192.0.2.1")
    started = time.monotonic()
    with pytest.raises(UserError, match=r"cannot be reached .*data/here or embedded:fine-foods or embedded:bbc-news"):
        load_data(DataArguments(dataset=["data/here", "venetis/disaster_tweets"]))
    assert time.monotonic() - started < 10


def test_a_file_of_no_known_kind_and_an_empty_folder(folder):
    with pytest.raises(UserError, match=r"holds no data: expected train\.csv"):
        read(folder)
    (folder / "train.docx").write_text("x")
    with pytest.raises(UserError, match="of a type that cannot be read"):
        read(folder / "train.docx")
