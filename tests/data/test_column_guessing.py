"""Columns are guessed from the usual names, or asked for."""

import pytest
from support.reading import read
from support.rows import write_csv

from bert_recipes.data.tokenization import tokenize
from bert_recipes.errors import UserError
from bert_recipes.inference.rows import read_stream


def test_pairs_are_found_and_tokenized_together(folder, tokenizer, tiny_bert):
    rows = "".join(f"fire {i},cake,{i % 2}\n" for i in range(20))
    (folder / "train.csv").write_text("premise,hypothesis,label\n" + rows)
    data = read(folder)
    assert (data.columns.text, data.columns.text_pair) == ("premise", "hypothesis")
    assert 1 in tokenize(data.splits, tokenizer, 16, str(tiny_bert))["train"][0]["token_type_ids"]


def test_a_column_called_as_one_of_the_runs_own_is_left_out_aloud(folder):
    (folder / "train.csv").write_text(
        "id,text,target,fold,place\n" + "".join(f"{i},t{i},{i % 2},1,x\n" for i in range(20))
    )
    data = read(folder)
    assert "Left out, since a run has columns of that name itself: fold." in data.notes
    assert data.splits["train"].column_names == ["id", "text", "labels", "place"]


def test_a_model_of_pairs_asks_for_the_second_text(tmp_path):
    write_csv(tmp_path / "new.csv", [["text", "b"], ["fire", "cake"]])
    with pytest.raises(UserError, match=r"trained on pairs: name the second text with --text_pair_column"):
        read_stream(str(tmp_path / "new.csv"), trained_on={"text_column": "text", "text_pair_column": "more"})
