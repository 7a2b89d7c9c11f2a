"""A baseline of folds that is fitted again predicts what its run did."""

import csv
import shutil

import numpy as np
import pandas as pd
import pytest
from support.paths import RECIPES
from support.rows import write_csv
from support.scripts import run_script

from bert_recipes.evaluation.prediction_files import read_probabilities
from bert_recipes.inference.baseline import fitted_folds
from bert_recipes.inference.rows import TextRow
from bert_recipes.task import SINGLE_LABEL


@pytest.mark.parametrize(("corrected", "normalize"), [(False, []), (True, []), (False, ["urls", "mentions"])])
def test_its_folds_are_those_of_the_run(corrected, normalize, competition, tmp_path):
    shutil.copytree(competition, data := tmp_path / "data")
    flags = ["--dataset", data, "--folds", "3", "--output_dir", tmp_path / "run", "--debug"]
    if normalize:
        flags += ["--normalize", *normalize]
        for file in data.glob("t*.csv"):
            table = pd.read_csv(file)
            table.assign(text=[f"{text} http://t.co/{i % 3} @us" for i, text in enumerate(table.text)]).to_csv(file)
    if corrected:
        # So many that the rows, dealt by the new labels, would lie in other folds.
        write_csv(tmp_path / "mine.csv", [["id", "label"], *([10 * i, 0] for i in range(0, 90, 3))])
        flags += ["--corrections", tmp_path / "mine.csv"]
    run_script(RECIPES / "baseline.py", *flags)
    with (data / "test.csv").open() as file:
        rows = [TextRow(row["id"], row["text"]) for row in csv.DictReader(file)]
    found = [np.concatenate([part for _, part in fold.probabilities(rows)]) for fold in fitted_folds(tmp_path / "run")]
    expected = read_probabilities(tmp_path / "run", ["0", "1"], SINGLE_LABEL)
    np.testing.assert_allclose(np.mean(found, axis=0), expected, atol=1e-6)
