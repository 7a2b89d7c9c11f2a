"""submission.csv has the columns, the ids and the order of the sample."""

import csv
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from datasets import DatasetDict
from support.paths import RECIPES
from support.rows import sentence, write_csv
from support.scripts import predictions, recipe, run_script

from bert_recipes.data.column_guessing import Columns
from bert_recipes.data.loading import TextData
from bert_recipes.data.sample import Sample
from bert_recipes.errors import UserError
from bert_recipes.evaluation.decoding import predictions_of
from bert_recipes.runs.submission import Submission, competition_of
from bert_recipes.task import Task


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


BINARY, STARS = Task("binary", ["no", "yes"], ["y"]), Task("multi-class", ["1", "2", "3"], ["y"])
AUTHORS = Task("multi-class", ["EAP", "HPL", "MWS"], ["author"])
TAGS = Task("multi-label", ["a", "b", "c d"], ["tags"], delimiter=";")
TOXIC = Task("multi-label", ["toxic", "threat"], ["toxic", "threat"])
SCORE, MOODS = Task("regression", ["score"], ["score"]), Task("regression", ["joy", "fear"], ["joy", "fear"])


def submitted(folder, task, header, cells, probabilities, **configuration):
    """Return the cells that are written for one row, beside its id, and what is said of them."""
    cells = cells if isinstance(cells[0], list) else [cells] * (len(header.split(",")) - 1)
    sample = Sample(folder / "sample.csv", header.split(","), ["7"], cells)
    data = TextData(DatasetDict(), task, Columns(["text"], None, task.columns, "id"), "here", sample)
    configuration = {
        "submission": None,
        "metric_for_best_model": "f1",
        "decision": "argmax",
        "decimal": ".",
    } | configuration
    submission = Submission.of(data, configuration)
    values = np.array([probabilities])
    submission.write(folder / "out.csv", ["7"], predictions_of(values, task.label_names, task.problem_type), values)
    with (folder / "out.csv").open(newline="") as file:
        names, row = csv.reader(file)
    assert (names, row[0]) == (header.split(","), "7")
    return row[1:], submission.sentence(Path("out.csv"), 1)


P, Q = [0.25, 0.75], [0.125, 0.625, 0.25]
# Task, header, cells, probabilities, configuration; what is written, and what is said.
FORMS = {
    "labels": (BINARY, "id,y", ["no"], P, {}, ["yes"], "a label for each row, as in sample.csv; --submission prob"),
    "other labels": (BINARY, "id,y", ["0"], P, {}, ["yes"], "a label for each row, though sample.csv has 0 in their"),
    "fractions": (BINARY, "id,y", ["0.1", "0"], P, {}, ["0.75000000"], "the probability of 'yes', as in .* its 0.1"),
    "a ranking": (
        BINARY,
        "id,y",
        ["no"],
        P,
        {"metric_for_best_model": "roc_auc"},
        ["0.75000000"],
        "since --metric_for",
    ),
    "asked for": (BINARY, "id,y", ["no"], P, {"submission": "probabilities"}, ["0.75000000"], "as --submission asks"),
    "labels asked for": (BINARY, "id,y", ["0.5"], P, {"submission": "labels"}, ["yes"], "--submission probabilities"),
    "by threshold": (BINARY, "id,y", ["0.5"], P, {"decision": "threshold"}, ["yes"], "as --decision asks"),
    "fractions that are labels": (
        Task("binary", ["0.5", "1.5"], ["y"]),
        *("id,y", ["0.5"], P, {}, ["1.5"], "a label for each row, as in sample.csv"),
    ),
    "one class by its name": (BINARY, "id,no", ["0.5"], P, {}, ["0.25000000"], "the probability of each label"),
    "a column called as a class": (BINARY, "id,yes", ["no", "yes"], P, {}, ["yes"], "a label for each row"),
    "both classes": (BINARY, "id,yes,no", ["0"], P, {}, ["0.75000000", "0.25000000"], "says no more with its 0"),
    "a class": (STARS, "id,y", ["1"], Q, {}, ["2"], "a label for each row, as in sample.csv.$"),
    "a class and a ranking": (
        STARS,
        "id,y",
        ["1"],
        Q,
        {"metric_for_best_model": "roc_auc"},
        ["2"],
        "a label for each",
    ),
    "a column per class": (
        *(AUTHORS, "id,MWS,EAP,HPL", ["0.33"], Q, {}, ["0.25000000", "0.12500000", "0.62500000"]),
        "the probability of each label, as in sample.csv with its 0.33; --submission labels writes labels",
    ),
    "whole numbers": (AUTHORS, "id,EAP,HPL", ["0", "1"], Q, {}, ["0.12500000", "0.62500000"], "each label, since"),
    "one-hot": (AUTHORS, "id,HPL,EAP,MWS", ["0.3"], Q, {"submission": "labels"}, ["1", "0", "0"], "1 for each label"),
    "a prefix": (AUTHORS, "id,p_MWS,p_EAP", ["0.3"], Q, {}, ["0.25000000", "0.12500000"], "the probability"),
    "another case": (AUTHORS, "Id,Hpl, eap", ["0.3"], Q, {}, ["0.62500000", "0.12500000"], "the probability"),
    "numbers behind a prefix": (
        AUTHORS,
        "id,class_2,class_0",
        ["0.3"],
        Q,
        {},
        ["0.25000000", "0.12500000"],
        "the prob",
    ),
    "numbers": (AUTHORS, "id,1,0", ["0.3"], Q, {}, ["0.62500000", "0.12500000"], "the probability"),
    "labels that are numbers": (STARS, "id,class_1,class_3", ["0.3"], Q, {}, ["0.12500000", "0.25000000"], "the prob"),
    "a prefix that begins as the labels do": (
        Task("multi-class", ["apple", "avocado", "pear"], ["y"]),
        *("id,is_avocado,is_apple", ["0.5"], Q, {}, ["0.62500000", "0.12500000"], "the probability"),
    ),
    "0 or 1 for each label": (TOXIC, "id,threat,toxic", ["0", "1"], P, {}, ["1", "0"], "as the 0s and 1s of sample"),
    "a probability for each": (TOXIC, "id,toxic,threat", ["0.5"], P, {}, ["0.25000000", "0.75000000"], "with its 0.5"),
    "all 0": (
        TOXIC,
        "id,toxic,threat",
        ["0"],
        P,
        {},
        ["0.25000000", "0.75000000"],
        "its 0; --submission labels writes",
    ),
    "all 0, labels": (
        TOXIC,
        "id,toxic,threat",
        ["0"],
        P,
        {"submission": "labels"},
        ["0", "1"],
        "as --submission asks",
    ),
    "0 and 1, a ranking": (
        *(TOXIC, "id,toxic,threat", ["0", "1"], P, {"metric_for_best_model": "roc_auc"}, ["0.25000000", "0.75000000"]),
        "since --metric_for_best_model roc_auc is about their order",
    ),
    "one of several labels": (TOXIC, "id,threat", ["0", "1"], P, {}, ["1"], "1 for each label that holds"),
    "joined by a space": (TAGS, "id,tags", ["a b", "b"], [0.9, 0.9, 0.1], {}, ["a b"], "joined by ' ', as in sample"),
    "a label with a space": (TAGS, "id,tags", ["c d", "a|c d"], [0.9, 0.1, 0.9], {}, ["a|c d"], "joined by '|'"),
    "joined by commas": (TAGS, "id,tags", ["a, c d"], [0.9, 0.1, 0.9], {}, ["a, c d"], "joined by ', '"),
    "joined as in train": (TAGS, "id,tags", ["a"], [0.9, 0.9, 0.1], {}, ["a;b"], "joined by ';'"),
    "an end without a label": (TAGS, "id,tags", ["a b ", "b"], [0.9, 0.9, 0.1], {}, ["a b"], "joined by ' '"),
    "by threshold, a column each": (
        *(BINARY, "id,yes,no", ["0"], P, {"decision": "threshold"}, ["0.75000000", "0.25000000"], "the probability"),
    ),
    "no label": (TAGS, "id,tags", ["a b"], [0.1, 0.1, 0.1], {}, [""], "the labels of each row"),
    "lists": (TAGS, "id,tags", ["['a', 'b']"], [0.9, 0.1, 0.9], {}, ["['a', 'c d']"], "as a list of Python"),
    "lists of JSON": (TAGS, "id,tags", ['["a"]'], [0.9, 0.1, 0.9], {}, ['["a", "c d"]'], "as a list of JSON"),
    "values": (SCORE, "id,score", ["0"], [-0.125], {}, ["-0.125"], "predicted values, in the form of the sample.$"),
    "decimal commas": (SCORE, "id,score", ["0"], [-0.125], {"decimal": ","}, ["-0,125"], "predicted values"),
    "points in the sample": (SCORE, "id,score", ["0.0"], [-0.125], {"decimal": ","}, ["-0.125"], "predicted values"),
    "several targets": (MOODS, "id,fear,joy", ["0"], [1.5, -2], {}, ["-2.00000000", "1.50000000"], "predicted values"),
    "targets behind a prefix": (
        MOODS,
        "id,is_fear,is_joy",
        ["0"],
        [1.5, -2],
        {},
        ["-2.00000000", "1.50000000"],
        "pre",
    ),
    "one of the targets": (MOODS, "id,fear", ["0"], [1.5, -2], {}, ["-2.00000000"], "predicted values"),
}


@pytest.mark.parametrize("case", FORMS)
def test_what_the_cells_of_the_sample_are_is_written_and_said(case, tmp_path):
    task, header, cells, probabilities, configuration, written, said = FORMS[case]
    row, sentence = submitted(tmp_path, task, header, cells, probabilities, **configuration)
    assert row == written
    assert re.search(said, sentence)
    assert sentence.startswith("out.csv holds ")
    assert "for the 1 of 1 " not in sentence


UNFIT = {
    "another label": (
        AUTHORS,
        "id,EAP,XYZ",
        ["0.3"],
        {},
        "asks for a column 'XYZ', which is none of the labels EAP, HPL",
    ),
    "labels that differ by case alone": (
        *(Task("multi-class", ["a", "A", "b"], ["y"]), "id,B,A", ["0"], {}),
        "asks for a column 'B', which is none of the labels a, A, b",
    ),
    "numbers beyond the classes": (AUTHORS, "id,class_1,class_3", ["0"], {}, "asks for a column 'class_1', which"),
    "probabilities of many": (STARS, "id,y", ["1"], {"submission": "probabilities"}, "3 probabilities a row: give"),
    "probabilities of joined labels": (TAGS, "id,tags", ["a"], {"submission": "probabilities"}, "one column beside"),
    "fractions for classes": (STARS, "id,y", ["0.5"], {}, "numbers such as 0.5 .* --submission labels .* --task regr"),
    "labels of numbers": (
        SCORE,
        "id,score",
        ["0"],
        {"submission": "labels"},
        "the task is a regression: leave it out",
    ),
    "other targets": (
        MOODS,
        "id,joy,rage",
        ["0"],
        {},
        "asks for a column 'rage', which is none of the labels joy, fear",
    ),
    "a threshold of probabilities": (
        *(BINARY, "id,y", ["0"], {"submission": "probabilities", "decision": "threshold"}),
        "--decision threshold decides on labels",
    ),
    "300 labels": (
        *(Task("multi-class", [f"label-{i}" for i in range(300)], ["y"]), "id,a,b", ["0"], {}),
        "none of the labels label-0, label-1, label-2, label-3, label-4 and 295 more",
    ),
}


@pytest.mark.parametrize("case", UNFIT)
def test_a_form_that_does_not_fit_the_labels_is_one_sentence(case, tmp_path):
    task, header, cells, configuration, said = UNFIT[case]
    with pytest.raises(UserError, match=said) as caught:
        submitted(tmp_path, task, header, cells, [0.5] * task.num_labels, **configuration)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


# The competitions, as they come: train, test and sample, and what the submission holds.
def jigsaw(folder):
    six = ["toxic", "severe_toxic", "obscene", "threat", "insult", "identity_hate"]
    rows = [[f"{i:04x}", f"{sentence(i)} {i}", *(int(i % (c + 2) == 0) for c in range(6))] for i in range(60)]
    write_csv(folder / "train.csv", [["id", "comment_text", *six], *rows[:40]])
    write_csv(folder / "test.csv", [["id", "comment_text"], *(row[:2] for row in rows[40:])])
    write_csv(folder / "sample_submission.csv", [["id", *six], *([row[0], *[0.5] * 6] for row in rows[40:])])
    return lambda row: all(0 < float(row[name]) < 1 for name in six)


def authors(folder):
    names = ["EAP", "HPL", "MWS"]
    rows = [[f"id{i}", f"{sentence(i)} {i}", names[i % 3]] for i in range(60)]
    write_csv(folder / "train.csv", [["id", "text", "author"], *rows[:40]])
    write_csv(folder / "test.csv", [["id", "text"], *(row[:2] for row in rows[40:])])
    write_csv(folder / "sample_submission.csv", [["id", *names], *([row[0], 0.4, 0.3, 0.3] for row in rows[40:])])
    return lambda row: abs(sum(float(row[name]) for name in names) - 1) < 1e-6


def phrases(folder):
    rows = [[i + 1, i // 3, f"{sentence(i)} {i}", i % 5] for i in range(60)]
    header = ["PhraseId", "SentenceId", "Phrase", "Sentiment"]
    for name, part in (("train.tsv", [header, *rows[:40]]), ("test.tsv", [r[:3] for r in [header, *rows[40:]]])):
        (folder / name).write_text("\n".join("\t".join(map(str, row)) for row in part))
    write_csv(folder / "sample_submission.csv", [["PhraseId", "Sentiment"], *([row[0], 2] for row in rows[40:])])
    return lambda row: row["Sentiment"] in "01234"


def readability(folder):
    header = ["id", "url_legal", "license", "excerpt", "target", "standard_error"]
    rows = [[f"c{i}", "", "", f"{sentence(i)} {i}", i % 7 / 8 - 0.5, 0.5] for i in range(60)]
    write_csv(folder / "train.csv", [header, *rows[:40]])
    write_csv(folder / "test.csv", [header[:4], *(row[:4] for row in rows[40:])])
    write_csv(folder / "sample_submission.csv", [["id", "target"], *([row[0], 0.0] for row in rows[40:])])
    return lambda row: abs(float(row["target"])) < 2


def topics(folder):
    # The ids are numbers in another order.
    rows = [[i if i < 40 else 99 - i, f"{sentence(i)} {i}", i % 7] for i in range(60)]
    write_csv(folder / "train.csv", [["index", "title", "topic_idx"], *rows[:40]])
    write_csv(folder / "test.csv", [["index", "title"], *(row[:2] for row in rows[40:])])
    write_csv(folder / "sample_submission.csv", [["index", "topic_idx"], *([i, 0] for i in range(40, 60))])
    return lambda row: row["topic_idx"] in "0123456"


@pytest.mark.parametrize("write", [jigsaw, authors, phrases, readability, topics])
def test_a_competition_is_one_command(write, tmp_path, capsys):
    (tmp_path / "data").mkdir()
    fits = write(tmp_path / "data")
    flags = ["--dataset", tmp_path / "data", "--output_dir", tmp_path / "run", "--debug"]
    run_script(RECIPES / "baseline.py", *flags)
    with (tmp_path / "run/submission.csv").open() as file, (tmp_path / "data/sample_submission.csv").open() as sample:
        submission, form = list(csv.DictReader(file)), list(csv.DictReader(sample))
    id_column = next(iter(form[0]))
    assert [row.keys() for row in submission] == [row.keys() for row in form]
    assert [row[id_column] for row in submission] == [row[id_column] for row in form]
    assert all(map(fits, submission))
    of_id = {row["id"]: row for row in predictions(tmp_path / "run")}
    if write is topics:
        assert [row["topic_idx"] for row in submission] == [of_id[row["index"]]["prediction"] for row in submission]
    out = " ".join(capsys.readouterr().out.split())
    assert f"{tmp_path}/run/submission.csv holds " in out
    # run.yaml says all that was found: the run can be made again without the sample.
    (tmp_path / "data/sample_submission.csv").unlink()
    again = ["--config", tmp_path / "run/run.yaml", "--output_dir", tmp_path / "again", "--debug"]
    run_script(RECIPES / "baseline.py", *again)
    assert predictions(tmp_path / "again") == predictions(tmp_path / "run")


def test_a_sample_of_a_few_rows_is_said(competition, tmp_path, capsys):
    shutil.copytree(competition, tmp_path / "data")
    (tmp_path / "data/sample_submission.csv").write_text("id,target\n8,0.5\n1,0.5\n")
    flags = ["--dataset", tmp_path / "data", "--output_dir", tmp_path / "run", "--debug"]
    run_script(RECIPES / "baseline.py", *flags)
    out = " ".join(capsys.readouterr().out.split())
    assert (
        "holds the probability of '1' for the 2 of 30 rows of test that sample_submission.csv asks for, as in" in out
    )
    assert (tmp_path / "run/submission.csv").read_text().count("\n") == 3


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
