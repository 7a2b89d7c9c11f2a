"""An audit of small data: what stands in audit.csv, and what is refused."""

import csv
import json
import random
import re

import pytest
import yaml
from support.paths import RECIPES
from support.rows import write_csv
from support.scripts import in_a_line, run_script
from support.started import children_at_once

from bert_recipes.errors import UserError

FIRE, CAKE = ["fire", "storm", "flood", "smoke"], ["cake", "sugar", "lemon", "cream"]


def sentence(number, words):
    draw = random.Random(number)
    return f"{' '.join(draw.choices(words, k=4))} and {draw.choice(['then', 'now', 'here'])} number{number}"


def rows(count=120):
    """Rows that a word tells apart; a few labels are wrong, and their ids."""
    wrong = {7, 40, 90}
    label = [int(i % 2 == 0) for i in range(count)]
    texts = [sentence(i, FIRE if label[i] else CAKE) for i in range(count)]
    return [[f"r{i}", texts[i], label[i] ^ (i in wrong)] for i in range(count)], wrong


def audit(tmp_path, data, model, *flags):
    out = tmp_path / "audit"
    flags = ("--dataset", data, "--model", model, "--max_length", "32", "--output_dir", out, *flags, "--debug")
    with children_at_once():
        run_script(RECIPES / "audit.py", *flags)
    with (out / "audit.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    return lines, json.loads((out / "audit.json").read_text())


def of(lines, issue):
    return [line for line in lines if line["issue"] == issue]


def test_wrong_labels_come_first_with_what_they_should_be(tmp_path, tiny_bert, capsys):
    table, wrong = rows()
    write_csv(tmp_path / "data.csv", [["id", "text", "target"], *table])
    lines, numbers = audit(tmp_path, tmp_path / "data.csv", tiny_bert, "--quick")
    assert list(lines[0]) == ["id", "split", "issue", "label", "suggested", "score", "group", "text"]
    first = of(lines, "label")[:3]
    assert {line["id"] for line in first} == {f"r{i}" for i in wrong}
    assert all(line["suggested"] == str(1 - int(line["label"])) and float(line["score"]) > 0.5 for line in first)
    scores = [float(line["score"]) for line in lines]
    assert scores == sorted(scores, reverse=True)
    assert sum(label["wrong"] for label in numbers["labels"].values()) == pytest.approx(3, abs=3)
    assert numbers["asked"] == ["baseline"]
    said = in_a_line(capsys.readouterr().out)
    assert f"audit.csv down to row {numbers['stop_at']}" in said
    page = (tmp_path / "audit/audit.html").read_text(encoding="utf-8")
    shown = json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1])
    assert [item["id"] for item in shown["items"]] == [line["id"] for line in lines]
    assert all(item["neighbours"] and item["models"].keys() == {"baseline"} for item in shown["items"][:3])


def test_copies_leaks_and_broken_texts_are_found(tmp_path, tiny_bert):
    table, _ = rows()
    table += [["c1", "Fire in the old mill http://a.b", 1], ["c2", "fire in the OLD mill!", 0], ["e", "?!", 0]]
    table += [["m", "a caf\u00c3\u00a9 of sugar &amp; cream", 0], ["l", "lemon " * 300, 0]]
    folder = tmp_path / "data"
    folder.mkdir()
    write_csv(folder / "train.csv", [["id", "text", "target"], *table])
    write_csv(
        folder / "validation.csv", [["id", "text", "target"], ["v1", table[5][1], table[5][2]], ["v2", "new", 1]]
    )
    write_csv(folder / "test.csv", [["id", "text"], ["t1", "FIRE in the old mill"], ["t2", "nothing like it"]])
    lines, numbers = audit(tmp_path, folder, tiny_bert, "--quick")
    assert {(line["id"], line["group"]) for line in of(lines, "duplicate-clash")} == {("c1", "c1"), ("c2", "c1")}
    assert {(line["id"], line["split"], line["group"]) for line in of(lines, "leak")} == {
        ("v1", "validation", "r5"),
        ("t1", "test", "c1"),
    }
    assert {line["id"] for line in of(lines, "empty")} == {"e"}
    assert {line["id"] for line in of(lines, "encoding")} == {"m"}
    assert {line["id"] for line in of(lines, "length")} >= {"l"}
    assert "l" in {line["id"] for line in of(lines, "truncated")}
    assert numbers["issues"]["leak"] == 2
    # The splits are those of the source.
    assert numbers["data"]["rows"] == {"train": 125, "validation": 2, "test": 2}


def test_the_recipe_is_asked_too_and_not_twice(tmp_path, tiny_bert):
    table, _ = rows(40)
    write_csv(tmp_path / "data.csv", [["id", "text", "target"], *table])
    flags = ("--folds", "2", "--repeats", "1", "--max_steps", "2", "--eval_strategy", "no", "--save_strategy", "no")
    flags += ("--load_best_model_at_end", "false", "--pooling", "mean")
    _, numbers = audit(tmp_path, tmp_path / "data.csv", tiny_bert, *flags)
    run = tmp_path / "audit/custom"
    assert numbers["asked"] == ["baseline", "custom"]
    configuration = yaml.safe_load((run / "run.yaml").read_text())
    assert (configuration["recipe"], configuration["folds"], configuration["pooling"]) == ("custom", 2, "mean")
    made = (run / "metrics.json").stat().st_mtime_ns
    audit(tmp_path, tmp_path / "data.csv", tiny_bert, *flags)
    assert (run / "metrics.json").stat().st_mtime_ns == made
    with pytest.raises(UserError, match=r"was made with another configuration \(max_steps.*give --overwrite"):
        audit(tmp_path, tmp_path / "data.csv", tiny_bert, *flags, "--max_steps", "3")
    table[0][1] += " more"
    write_csv(tmp_path / "data.csv", [["id", "text", "target"], *table])
    with pytest.raises(UserError, match="was made of other rows: give --overwrite"):
        audit(tmp_path, tmp_path / "data.csv", tiny_bert, *flags)


def test_labels_that_are_wrong_by_one_rule_are_not_learned_from(tmp_path, tiny_bert, monkeypatch):
    # A third of the texts with fire have the label of cake: enough for a model to take some of that for right.
    table = [[f"r{i}", sentence(i, CAKE if i % 2 else FIRE), int(i % 2 == 0 and i % 6 != 0)] for i in range(180)]
    wrong = {f"r{i}" for i in range(0, 180, 6)}
    write_csv(tmp_path / "data.csv", [["id", "text", "target"], *table])
    lines, _ = audit(tmp_path, tmp_path / "data.csv", tiny_bert, "--quick")
    monkeypatch.setattr("bert_recipes.runs.audit.likely_right", lambda labels, audited: labels >= 0)
    once, _ = audit(tmp_path, tmp_path / "data.csv", tiny_bert, "--quick", "--overwrite")
    scores, scores_once = ({line["id"]: float(line["score"]) for line in of(each, "label")} for each in (lines, once))
    assert {line["id"] for line in of(lines, "label")[:30]} == wrong
    assert sum(scores[name] for name in wrong) > 1.05 * sum(scores_once.get(name, 0.5) for name in wrong)


def test_several_labels_are_audited_one_by_one_and_values_by_their_residuals(tmp_path, tiny_bert):
    table, wrong = rows()
    both = [[name, text, label, int("number1" in text)] for name, text, label in table]
    write_csv(tmp_path / "labels.csv", [["id", "text", "hot", "one"], *both])
    flags = ("--quick", "--label_column", "hot", "one", "--task", "multi-label", "--repeats", "2")
    lines, numbers = audit(tmp_path, tmp_path / "labels.csv", tiny_bert, *flags)
    found = of(lines, "label")
    assert {f"r{i}" for i in wrong} <= {line["id"] for line in found[:6]}
    turned = next(line for line in found if line["id"] == "r40")
    assert {*turned["label"].split("|")} ^ {*turned["suggested"].split("|")} - {""} >= {"hot"}
    # A label that is missing may be wrong too, so that more may be than rows have it.
    assert {name: of_label["rows"] for name, of_label in numbers["labels"].items()} == {"hot": 120, "one": 120}

    values = [[name, text, (5.0 if i in wrong else 0.0) + len(text) / 100] for i, (name, text, _) in enumerate(table)]
    write_csv(tmp_path / "values.csv", [["id", "text", "target"], *values])
    lines, _ = audit(tmp_path, tmp_path / "values.csv", tiny_bert, "--quick", "--task", "regression")
    assert {line["id"] for line in of(lines, "label")[:3]} == {f"r{i}" for i in wrong}
    assert float(of(lines, "label")[0]["suggested"]) < 3
    given = {name: value for name, _, value in values}
    assert all(float(line["label"]) == given[line["id"]] for line in of(lines, "label"))


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        (rows(10)[0], "train has 10 rows, and an audit needs 20"),
        ([[name, text, 1] for name, text, _ in rows(30)[0]], "label"),
    ],
)
def test_what_cannot_be_audited_is_refused(table, sentence, tmp_path, tiny_bert):
    write_csv(tmp_path / "data.csv", [["id", "text", "target"], *table])
    with pytest.raises(UserError, match=sentence):
        audit(tmp_path, tmp_path / "data.csv", tiny_bert, "--quick")
    assert not (tmp_path / "audit").exists()


def test_a_runs_folder_is_not_written_into(tmp_path, tiny_bert):
    write_csv(tmp_path / "data.csv", [["id", "text", "target"], *rows(30)[0]])
    (tmp_path / "audit").mkdir()
    (tmp_path / "audit/run.yaml").write_text("recipe: stock\n")
    with pytest.raises(UserError, match="holds a run: name another --output_dir"):
        audit(tmp_path, tmp_path / "data.csv", tiny_bert, "--quick")


def test_corrections_change_the_run_that_is_told_of_them_and_its_digests(tmp_path, tiny_bert, capsys):
    table, wrong = rows()
    write_csv(tmp_path / "data.csv", [["id", "text", "target"], *table])
    write_csv(tmp_path / "mine.csv", [["id", "label"], *([f"r{i}", 1 - table[i][2]] for i in sorted(wrong))])
    flags = ("--dataset", tmp_path / "data.csv", "--folds", "3", "--debug")
    run_script(RECIPES / "baseline.py", *flags, "--output_dir", tmp_path / "before")
    run_script(
        RECIPES / "baseline.py", *flags, "--output_dir", tmp_path / "after", "--corrections", tmp_path / "mine.csv"
    )
    assert "mine.csv changes: 3 of train." in in_a_line(capsys.readouterr().out)
    before, after = (json.loads((tmp_path / run / "metrics.json").read_text()) for run in ("before", "after"))
    assert after["validation"]["accuracy"] > before["validation"]["accuracy"]
    assert before["environment"]["data"]["train"] != after["environment"]["data"]["train"]
    assert after["environment"]["corrections"]["changed"] == {"train": 3}
    assert yaml.safe_load((tmp_path / "after/run.yaml").read_text())["corrections"] == str(tmp_path / "mine.csv")
    assert "- Labels that were corrected: 3 of train." in (tmp_path / "after/README.md").read_text()

    out = tmp_path / "compared"
    run_script(RECIPES / "compare.py", tmp_path / "before", tmp_path / "after", "--output_dir", out, "--debug")
    said = in_a_line(capsys.readouterr().out)
    assert "Compared on the 117 rows whose labels are the same in all runs. On the 3 whose labels differ" in said
    # The baseline knows better than the wrong labels, corrected or not.
    assert "after has accuracy 0 by those of before and 1 by those of after" in said
    assert "Compared on the 117 rows" in (out / "report.html").read_text()
    assert json.loads((out / "comparison.json").read_text())
