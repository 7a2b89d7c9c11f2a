"""submission.csv has the columns, the ids and the order of the sample."""

import csv
import shutil

import pytest
from support.rows import sentence, write_csv
from support.scripts import predictions, recipe

from bert_recipes.errors import UserError
from bert_recipes.runs.submission import competition_of


def test_the_submission_has_the_samples_ids_in_the_samples_order(finished, competition):
    _, folder = finished
    sample = (competition / "sample_submission.csv").read_text().splitlines()
    submission = (folder / "submission.csv").read_text().splitlines()
    assert submission[0] == sample[0]
    assert [line.split(",")[0] for line in submission] == [line.split(",")[0] for line in sample]
    predicted = {row["id"]: row["prediction"] for row in predictions(folder)}
    assert dict(line.split(",") for line in submission[1:]) == predicted


def test_a_sample_submission_of_other_rows_is_an_error_before_training(competition, tiny_bert, tmp_path):
    shutil.copytree(competition, tmp_path / "data")
    (tmp_path / "data/sample_submission.csv").write_text("id,target\n1,0\n999,0\n")
    with pytest.raises(UserError, match="ids that test does not have, such as 999"):
        recipe("stock", tmp_path / "run", tmp_path / "data", tiny_bert)
    assert not (tmp_path / "run").exists()


def test_a_submission_may_ask_for_one_column_per_label(tiny_bert, tmp_path):
    rows = [[i, sentence(i) + f" {i}", i % 2, i // 2 % 2] for i in range(60)]
    write_csv(tmp_path / "train.csv", [["id", "text", "hot", "wet"], *rows[:40]])
    write_csv(tmp_path / "test.csv", [["id", "text"], *(row[:2] for row in rows[40:])])
    write_csv(tmp_path / "sample_submission.csv", [["id", "wet", "hot"], *([row[0], 0, 0] for row in rows[:39:-1])])
    flags = ["--label_column", "hot", "wet", "--max_steps", "1"]
    recipe("stock", tmp_path / "run", tmp_path, tiny_bert, *flags)
    of_id = {row["id"]: row for row in predictions(tmp_path / "run")}
    with (tmp_path / "run/submission.csv").open() as file:
        submitted = list(csv.DictReader(file))
    assert [row["id"] for row in submitted] == [str(row[0]) for row in rows[:39:-1]]
    assert all(row["wet"] == of_id[row["id"]]["wet"] and row["hot"] == of_id[row["id"]]["hot"] for row in submitted)
    (tmp_path / "sample_submission.csv").write_text("id,wet,dry\n41,0,0\n")
    with pytest.raises(UserError, match="asks for a column 'dry', which is none of the labels hot, wet"):
        recipe("stock", tmp_path / "other", tmp_path, tiny_bert, *flags)


def test_a_submission_for_one_of_several_labels_gets_its_probability(tiny_bert, tmp_path):
    rows = [[i, sentence(i) + f" {i}", i % 2, i // 2 % 2] for i in range(60)]
    write_csv(tmp_path / "train.csv", [["id", "text", "hot", "wet"], *rows[:40]])
    write_csv(tmp_path / "test.csv", [["id", "text"], *(row[:2] for row in rows[40:])])
    write_csv(tmp_path / "sample_submission.csv", [["id", "wet"], *([row[0], 0] for row in rows[40:])])
    recipe("stock", tmp_path / "run", tmp_path, tiny_bert, "--label_column", "hot", "wet", "--max_steps", "1")
    with (tmp_path / "run/submission.csv").open() as file:
        assert [row["wet"] for row in csv.DictReader(file)] == [row["wet"] for row in predictions(tmp_path / "run")]


@pytest.mark.parametrize(
    ("source", "competition"),
    [
        ("/kaggle/input/nlp-getting-started", "nlp-getting-started"),
        ("/kaggle/input/competitions/spooky-author/data", "spooky-author"),
        ("data/disaster-tweets", "nlp-getting-started"),
        ("../../data/disaster-tweets/", "nlp-getting-started"),
        ("/kaggle/input", "NAME"),
        ("my-folder", "NAME"),
    ],
)
def test_the_folder_tells_the_competition(source, competition):
    assert competition_of(source) == competition
