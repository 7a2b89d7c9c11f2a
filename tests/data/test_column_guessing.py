"""Columns are guessed from the usual names, or asked for."""

import pandas as pd
import pytest
from support.reading import read
from support.rows import write_csv

from bert_recipes.columns import JOINT
from bert_recipes.config.saved import saved_configuration
from bert_recipes.data.column_guessing import find_columns, find_input_columns, joined
from bert_recipes.data.tokenization import tokenize
from bert_recipes.errors import UserError
from bert_recipes.inference.rows import read_stream, rows_from_python


def test_pairs_are_found_and_tokenized_together(folder, tokenizer, tiny_bert):
    rows = "".join(f"fire {i},cake,{i % 2}\n" for i in range(20))
    (folder / "train.csv").write_text("premise,hypothesis,label\n" + rows)
    data = read(folder)
    assert (data.columns.text, data.columns.text_pair) == (["premise"], "hypothesis")
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


# Header of train, and which column is found for the text, the label and the id.
USUAL = {
    "jigsaw": ("id,comment_text,label", "comment_text", "label", "id"),
    "essays": ("text_id,full_text,score", "full_text", "score", "text_id"),
    "readability": ("id,url_legal,license,excerpt,target,standard_error", "excerpt", "target", "id"),
    "movie reviews": ("PhraseId,SentenceId,Phrase,Sentiment", "Phrase", "Sentiment", "PhraseId"),
    "news topics": ("index,title,topic_idx", "title", "topic_idx", "index"),
    "stories": ("id,text,author", "text", "author", "id"),
    "intents": ("Utterance,Intent", "Utterance", "Intent", None),
    "shop": ("REVIEW_ID,BODY,STARS", "BODY", "STARS", "REVIEW_ID"),
    "a title beside the text": ("title,text,rating,label", "text", "label", None),
    "a usual pair": ("Premise,title,Hypothesis,label", "Premise", "label", None),
    "an id of the first tier": ("index,id,text,label", "text", "label", "id"),
}


@pytest.mark.parametrize("case", USUAL)
def test_usual_names_are_known_in_any_case(case):
    header, text, label, id = USUAL[case]
    found = find_columns(header.split(","), "here")
    assert (found.text, found.label, found.id) == ([text], [label], id)


def test_an_id_of_the_second_tier_tells_all_rows_apart(folder):
    rows = "".join(f"{i},{i // 2},{100 - i},text {i},{i % 2}\n" for i in range(20))
    (folder / "train.csv").write_text("n,qid,row_id,text,label\n" + rows)
    data = read(folder)
    assert data.columns.id == "row_id"
    assert data.splits["validation"]["qid"][:] == [str((100 - int(i)) // 2) for i in data.splits["validation"]["id"]]
    (folder / "test.csv").write_text("row_id,text\n1,a\n1,b\n")
    assert read(folder).columns.id is None
    (folder / "test.csv").write_text("text\na\nb\n")
    assert read(folder).splits["test"]["id"][:] == ["0", "1"]
    with pytest.raises(UserError, match="the test split has no column row_id"):
        read(folder, id_column="row_id")


def test_lists_are_no_ids(folder):
    frame = pd.DataFrame({"index": [[i] for i in range(20)], "text": [f"t{i}" for i in range(20)]})
    frame.assign(label=[0, 1] * 10).to_json(folder / "train.jsonl", orient="records", lines=True)
    assert read(folder).columns.id is None


def test_several_texts_of_one_tier_can_be_joined(folder):
    with pytest.raises(UserError, match=r"any of title, body; .* or join them with --text_column title body"):
        find_columns(["title", "body", "label"], "here")
    rows = [["body", "label", "title"], *([f"fire {i}", i % 2, f"cake {i}"] for i in range(20))]
    rows[3][0], rows[4][2], rows[5][0] = "", "", "  "
    write_csv(folder / "train.csv", rows)
    write_csv(folder / "test.csv", [["title", "body"], ["a", "b"], ["", ""], ["", "c"]])
    data = read(folder, text_column=["title", "body"])
    assert data.columns.text == ["title", "body"]
    of_id = {id: text for split in ("train", "validation") for id, text in _texts(data.splits[split])}
    assert [of_id[str(i)] for i in range(5)] == [
        "cake 0 [SEP] fire 0",
        "cake 1 [SEP] fire 1",
        "cake 2",
        "fire 3",
        "cake 4",
    ]
    assert data.splits["test"]["text"][:] == ["a [SEP] b", "", "c"]
    assert "body" not in data.splits["train"].column_names
    assert find_columns(["title", "body", "label"], "here", text_pair="body").text == ["title"]


def _texts(rows):
    return zip(rows["id"], rows["text"], strict=True)


def test_a_row_without_any_of_the_joined_texts_is_named(folder):
    rows = [["title", "body", "label"], *([f"a{i}", "", i % 2] for i in range(20))]
    rows[8][:2] = " ", ""
    write_csv(folder / "train.csv", rows)
    with pytest.raises(UserError, match=r"columns 'title', 'body' are all empty in 1 row \(number 7"):
        read(folder, text_column=["title", "body"])
    with pytest.raises(UserError, match="one column cannot play two parts"):
        read(folder, text_column=["title", "title"])
    with pytest.raises(UserError, match=r"--text_column lead: .* it has title, body, label"):
        read(folder, text_column=["title", "lead"])


def test_predicting_joins_as_training_did(tmp_path):
    write_csv(tmp_path / "new.csv", [["body", "title", "text"], ["b", "a", "x"], ["", "a", "y"]])
    trained = {"text_column": ["title", "body"]}
    joint = [f"a{JOINT}b", "a"]
    assert [row.text for row in read_stream(str(tmp_path / "new.csv"), trained_on=trained)] == joint
    frame = pd.read_csv(tmp_path / "new.csv", keep_default_na=False)
    assert [row.text for row in rows_from_python(frame, trained)] == joint
    asked = read_stream(str(tmp_path / "new.csv"), text_column=["text", "title"])
    assert [row.text for row in asked] == [f"x{JOINT}a", f"y{JOINT}a"]
    with pytest.raises(UserError, match=r"trained on title and body joined, and of these it has title alone"):
        list(rows_from_python(frame.drop(columns="body"), trained))
    alone = rows_from_python(frame.drop(columns=["body", "title"]), trained)
    assert [row.text for row in alone] == ["x", "y"]


def test_a_run_of_an_older_version_has_one_text_column(tmp_path):
    (tmp_path / "run.yaml").write_text("recipe: stock\ntext_column: body\n")
    assert saved_configuration(tmp_path)["text_column"] == ["body"]
    assert find_input_columns(["body", "text"], "rows", trained={"text": "body"}).text == ["body"]


def test_another_text_than_the_trained_one_is_told_of_once(capsys):
    def said(names, **asked):
        found = find_input_columns(names, "new.csv", trained={"text": ["body"]}, **asked)
        return found.text, capsys.readouterr().err

    assert said(["id", "title", "body"]) == (["body"], "")
    assert said(["id", "comment"], text="comment") == (["comment"], "")
    text, told = said(["id", "comment"])
    assert text == ["comment"]
    assert told == (
        "new.csv has no column body, which the model was trained on: comment is read for it; --text_column names "
        "another.\n"
    )
    assert said(["id", "comment"]) == (["comment"], "")


def test_a_less_usual_id_is_found_in_rows_to_predict_unless_the_model_knew_none():
    names = ["index", "title"]
    assert find_input_columns(names, "rows").id == "index"
    assert find_input_columns(names, "rows", trained={"text": ["title"], "id": None}).id is None
    assert find_input_columns(names, "rows", trained={"text": ["title"], "id": "index"}).id == "index"


def test_what_is_left_of_a_text():
    assert joined(["a"]) == joined(["a", None]) == joined(["", "a", " "]) == "a"
    # A single column stays as it is, spaces and all.
    assert (joined(["  "]), joined([None]), joined([None, ""])) == ("  ", "", "")


def test_korean_names_are_guessed():
    found = find_columns(["번호", "문장", "라벨"], "mine")
    assert (found.text, found.label, found.id) == (["문장"], ["라벨"], "번호")
