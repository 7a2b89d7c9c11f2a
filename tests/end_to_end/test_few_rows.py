"""recipes/configs/few_rows.yaml takes sixteen rows to a finished run: honest scores, and a model of all of them."""

import csv
import json

import pytest
from support.paths import RECIPES
from support.rows import sentence, write_csv
from support.scripts import run_script


@pytest.mark.parametrize("rows", [16, 9], ids=["eight of each class", "a class of three"])
def test_few_rows_from_a_file(rows, tiny_bert, tmp_path):
    labels = ["no", "yes"] * 8 if rows == 16 else ["no"] * 6 + ["yes"] * 3
    data, run = tmp_path / "mine.csv", tmp_path / "run"
    write_csv(data, [["text", "label"], *([f"{sentence(i)} {i}", label] for i, label in enumerate(labels))])
    flags = ("--dataset", data, "--model", tiny_bert, "--max_length", "32", "--bf16", "false", "--max_steps", "3")
    run_script(RECIPES / "custom.py", "--config", RECIPES / "configs/few_rows.yaml", *flags, "--output_dir", run)

    with (run / "validation_predictions.csv").open() as file:
        found = list(csv.DictReader(file))
    assert [row["label"] for row in found] == labels
    assert {row["fold"] for row in found} == {"1", "2", "3", "4"}
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["refit"]["steps"] == 3
    again = tmp_path / "again.csv"
    run_script(RECIPES / "predict.py", "--model", run, "--input", data, "--output", again)
    assert len(again.read_text().splitlines()) == rows + 1
