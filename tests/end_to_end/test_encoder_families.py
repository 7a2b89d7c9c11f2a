"""Both recipes on other encoders than BERT."""

import shutil

import numpy as np
import pytest
from scipy.special import softmax
from support.encoders import FAMILY
from support.rows import sentence, write_csv
from support.scripts import predictions, recipe
from support.trained_tokenizers import like_bertweet
from transformers import AutoTokenizer, RobertaConfig, RobertaModel

from bert_recipes.errors import UserError
from bert_recipes.inference.predictor import Predictor
from bert_recipes.inference.rows import TextRow


@pytest.mark.parametrize("family", ["distilbert", "roberta", "deberta-v2", "modernbert"])
@pytest.mark.parametrize("name", ["stock", "custom"])
def test_a_recipe_on_another_encoder(name, family, encoders, competition, tmp_path):
    flags = ["--max_steps", "2", *(["--pooling", "mean_max", "--layer_decay", "0.8"] if name == "custom" else [])]
    recipe(name, tmp_path / "run", competition, encoders[family], *flags)
    assert len(predictions(tmp_path / "run")) == 30


def test_more_tokens_than_an_encoder_has_positions_for(encoders, competition, tmp_path):
    # RoBERTa's positions start after its padding id.
    with pytest.raises(UserError, match="--max_length 64 is more than the 63 that the model takes"):
        recipe("stock", tmp_path / "run", competition, encoders["roberta"], "--max_length", "64")


@pytest.mark.parametrize("name", ["stock", "custom"])
def test_pairs_for_an_encoder_with_one_token_type(name, encoders, tmp_path):
    rows = [[sentence(i) + f" {i}", sentence(i + 1), i % 2] for i in range(40)]
    write_csv(tmp_path / "train.csv", [["sentence1", "sentence2", "label"], *rows])
    recipe(name, tmp_path / "run", tmp_path / "train.csv", encoders["roberta"], "--max_steps", "1")
    found = predictions(tmp_path / "run")
    assert len(found) == 4
    pairs = [TextRow(row["id"], *rows[int(row["id"])][:2]) for row in found]
    ((_, logits),) = Predictor.load(str(tmp_path / "run"), bf16=False).logits(pairs)
    expected = [float(row["1"]) for row in found]
    np.testing.assert_allclose(softmax(logits, axis=1)[:, 1], expected, atol=1e-5)


@pytest.mark.parametrize("name", ["stock", "custom"])
def test_predicting_truncates_from_the_side_that_training_did(name, tiny_bert, tmp_path):
    shutil.copytree(tiny_bert, tmp_path / "left")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "left", truncation_side="left")
    tokenizer.save_pretrained(tmp_path / "left")
    # They differ in the end alone, far behind what is read from the beginning.
    texts = ["fire " * 3000 + sentence(i) for i in range(40)]
    write_csv(tmp_path / "train.csv", [["id", "text", "label"], *([i, text, i % 2] for i, text in enumerate(texts))])
    recipe(name, tmp_path / "run", tmp_path / "train.csv", tmp_path / "left", "--max_steps", "2")
    found = predictions(tmp_path / "run")
    rows = [TextRow(row["id"], texts[int(row["id"])]) for row in found]
    ((_, probabilities),) = Predictor.load(str(tmp_path / "run"), bf16=False).probabilities(rows)
    assert len(np.unique(probabilities[:, 1])) == len(rows)
    np.testing.assert_allclose(probabilities[:, 1], [float(row["1"]) for row in found], atol=1e-5)


@pytest.mark.parametrize("name", ["stock", "custom"])
def test_a_tokenizer_that_is_not_fast(name, competition, tmp_path):
    tokenizer = like_bertweet(tmp_path)
    config = FAMILY["roberta"].to_dict() | {"vocab_size": len(tokenizer), "pad_token_id": 1}
    RobertaModel(RobertaConfig.from_dict(config)).save_pretrained(tmp_path / "tweets")
    tokenizer.save_pretrained(tmp_path / "tweets")
    flags = ["--max_steps", "2", "--max_length", "16"]
    recipe(name, tmp_path / "run", competition, tmp_path / "tweets", *flags)
    test = [line.split(",") for line in (competition / "test.csv").read_text().splitlines()[1:]]
    ((_, found),) = Predictor.load(str(tmp_path / "run"), bf16=False).probabilities(TextRow(*row) for row in test)
    np.testing.assert_allclose(found[:, 1], [float(row["1"]) for row in predictions(tmp_path / "run")], atol=1e-5)
    # Its files are known as a run's own.
    recipe(name, tmp_path / "run", competition, tmp_path / "tweets", *flags, "--overwrite")


def test_what_an_encoder_cannot_do_is_said_before_anything_is_written(encoders, competition, tmp_path):
    for flags, sentence_ in (
        (["--gradient_checkpointing"], "AlbertModel does not support it"),
        (["--layer_decay", "0.9"], "AlbertModel does not have 4 layers of its own"),
    ):
        with pytest.raises(UserError, match=sentence_):
            recipe("custom", tmp_path / "run", competition, encoders["albert"], *flags)
    assert not (tmp_path / "run").exists()
