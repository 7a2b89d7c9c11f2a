import hashlib
import io
import re
import zipfile

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
    monkeypatch.setattr(embedded, "_package_file", lambda package, path, required="": tmp_path / "model")
    with pytest.raises(UserError, match=re.escape("config.json is missing or is not the file")):
        embedded.model_path("embedded:minilm")


def test_a_package_that_is_not_installed_names_the_cure(monkeypatch):
    monkeypatch.setattr(embedded, "MINILM_PACKAGE", ("no-such-package-here", "model"))
    with pytest.raises(UserError, match="make setup"):
        embedded.model_path("embedded:minilm")


CONTENTS = {name: f"the content of {name}".encode() * 50 for name in embedded.MPNET_FILES}


@pytest.fixture
def packed(tmp_path, monkeypatch):
    """A small archive in the five packages of mpnet; returns the paths of the parts."""
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in [*CONTENTS.items(), ("desktop.ini", b"not of the model")]:
            archive.writestr(f"{embedded.MPNET}/{name}", content)
    size = len(whole.getvalue()) // 5 + 1
    parts = [tmp_path / f"part{number}" for number in embedded.MPNET_PARTS]
    for number, part in enumerate(parts):
        part.write_bytes(whole.getvalue()[number * size : (number + 1) * size])
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in CONTENTS.items()}
    monkeypatch.setattr(embedded, "MPNET_FILES", digests)
    pinned = {number: hashlib.sha256(part.read_bytes()).hexdigest() for number, part in enumerate(parts, 1)}
    monkeypatch.setattr(embedded, "MPNET_PARTS", pinned)
    monkeypatch.setattr(embedded, "_package_file", lambda package, path, required: tmp_path / f"part{package[-1]}")
    # huggingface_hub has read HF_ASSETS_CACHE already.
    monkeypatch.setattr("huggingface_hub.utils._cache_assets.HF_ASSETS_CACHE", str(tmp_path / "assets"))
    return parts


def test_mpnet_is_joined_from_its_parts(packed, tmp_path):
    folder = embedded.model_path("embedded:mpnet")
    assert folder.is_relative_to(tmp_path / "assets")
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == CONTENTS


def test_mpnet_is_joined_once_and_again_where_a_file_was_changed(packed):
    folder = embedded.model_path("embedded:mpnet")
    taken = [part.read_bytes() for part in packed]
    for part in packed:
        part.unlink()
    assert embedded.model_path("embedded:mpnet") == folder
    for part, content in zip(packed, taken, strict=True):
        part.write_bytes(content)
    (folder / "vocab.txt").write_bytes(b"changed")
    assert (embedded.model_path("embedded:mpnet") / "vocab.txt").read_bytes() == CONTENTS["vocab.txt"]


def test_mpnet_says_where_it_cannot_be_unpacked(packed, tmp_path):
    (tmp_path / "assets").write_text("no folder")
    with pytest.raises(UserError, match=r"^embedded:mpnet cannot be unpacked \(.*assets.*\): set HF_ASSETS_CACHE to"):
        embedded.model_path("embedded:mpnet")


@pytest.mark.parametrize("damage", ["missing", "empty", "flipped"])
def test_a_damaged_part_of_mpnet_is_refused_and_nothing_unpacked(damage, packed, tmp_path):
    content = packed[1].read_bytes()
    if damage == "missing":
        packed[1].unlink()
    else:
        packed[1].write_bytes(b"" if damage == "empty" else content[:20] + bytes([content[20] ^ 255]) + content[21:])
    with pytest.raises(UserError, match=r"part2 is missing or is not .* --require-hashes -r embedded-mpnet\.txt"):
        embedded.model_path("embedded:mpnet")
    assert not [file for file in (tmp_path / "assets").rglob("*") if file.is_file()]


def test_the_packages_of_mpnet_are_asked_for_by_their_own_target(monkeypatch, tmp_path):
    monkeypatch.setattr(embedded, "MPNET", "no-such-model")
    monkeypatch.setattr("huggingface_hub.utils._cache_assets.HF_ASSETS_CACHE", str(tmp_path))
    assert not embedded.has_mpnet()
    with pytest.raises(UserError, match="make setup-mpnet"):
        embedded.model_path("embedded:mpnet")
