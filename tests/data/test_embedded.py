import re

import pytest

from bert_recipes.data import embedded
from bert_recipes.errors import UserError


def test_fine_foods_has_the_promised_rows_and_labels():
    frames = embedded.read_dataset("embedded:fine-foods")
    assert {split: len(frame) for split, frame in frames.items()} == {"train": 4000, "test": 1000}
    for frame in frames.values():
        assert list(frame.columns) == ["id", "text", "label"]
        assert set(frame["label"]) == {"great", "other"}
        assert frame["id"].is_unique


def test_bbc_news_has_five_topics_and_no_broken_characters():
    frame = embedded.read_dataset("embedded:bbc-news")["train"]
    assert len(frame) == 2225
    assert sorted(set(frame["label"])) == ["business", "entertainment", "politics", "sports", "tech"]
    assert frame["text"].str.contains("£").any()
    assert not frame["text"].str.contains("\N{REPLACEMENT CHARACTER}|Â£", regex=True).any()


def test_minilm_is_the_model_of_its_own_repository():
    folder = embedded.model_path("embedded:minilm")
    assert (folder / "model.safetensors").is_file()


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(UserError, match="embedded:fine-foods, embedded:bbc-news"):
        embedded.read_dataset("embedded:imdb")


def test_a_changed_file_is_refused(tmp_path, monkeypatch):
    (tmp_path / "model").mkdir()
    for name in embedded.MINILM_FILES:
        (tmp_path / "model" / name).write_bytes(b"not the model")
    monkeypatch.setattr(embedded, "_package_file", lambda package, path: tmp_path / "model")
    with pytest.raises(UserError, match=re.escape("config.json is missing or is not the file")):
        embedded.model_path("embedded:minilm")


def test_a_package_that_is_not_installed_names_the_cure(monkeypatch):
    monkeypatch.setitem(embedded.MODELS, "minilm", ("no-such-package-here", "model"))
    with pytest.raises(UserError, match="make setup"):
        embedded.model_path("embedded:minilm")
