"""A run's page: complete, safe, legible, and honest about what is undefined."""

import re
import subprocess
import sys
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from PIL import Image
from support.reported import binary, run_folder
from support.rows import write_csv
from support.scripts import recipe

from bert_recipes.evaluation.prediction_files import Predictions
from bert_recipes.reporting import plots, run_page
from bert_recipes.task import MULTI_LABEL, REGRESSION, SINGLE_LABEL

SCRIPT = "<script>document.title = 'run'</script> & <b>bold</b>"


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report") / "stock"
    folder.mkdir()
    rows = binary(300, names=("<other>", "$fire$ </svg><script>x()</script>"), text=SCRIPT)
    metrics = run_folder(folder, rows)
    labelled = [
        ("train", "1", "a", "Fire! http://t.co/1"),
        ("train", "2", "b", "@you fire"),
        ("train", "3", "a", "rain"),
    ]
    run_page.write_report(folder, metrics, lambda: labelled)
    return folder, rows, (folder / run_page.PAGE).read_text(encoding="utf-8")


def test_the_page_needs_nothing_else(reported):
    _, _, page = reported
    assert not re.search(r'(src|href)="(?!plots/"|#)', page)
    assert "url(http" not in page
    assert "@import" not in page


def test_text_and_labels_are_shown_not_run(reported):
    _, _, page = reported
    assert page.count("<script>") == 1  # the page's own, which opens what is folded before it is printed
    assert "&lt;script&gt;document.title = &#39;run&#39;&lt;/script&gt; &amp; &lt;b&gt;bold" in page
    assert "<other>" not in page


def test_the_figures_are_there_twice_and_in_the_page(reported):
    folder, _, page = reported
    names = {"loss", "score", "confusion", "precision_recall", "roc", "reliability", "scores", "length"}
    assert {path.stem for path in (folder / "plots").glob("*.png")} == names
    for name in names:
        with Image.open(folder / "plots" / f"{name}.png") as image:
            assert image.width > 600
        ET.parse(folder / "plots" / f"{name}.svg")
        assert f'<figure id="{name}"><div class="drawing"><svg viewBox=' in page
    figures = page.split('<figure id="confusion">')[1].split("</figure>")[0]
    # Its colours are the page's, so that it is legible in the dark.
    assert "var(--c1)" in figures
    assert not re.search(r'style="[^"]*#(0072b2|1b1f24)', figures)
    ids = re.findall(r'<clipPath id="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_the_most_wrong_rows_come_first(reported):
    _, rows, page = reported
    shown = re.findall(r"<span>id (\d+)</span>", page)
    wrong = [i for i in np.argsort(-rows.losses, kind="stable") if rows.wrong[i]]
    assert shown == [rows.ids[i] for i in wrong[: run_page.MOST_WRONG]]


def test_near_duplicates_with_clashing_labels_are_found(reported):
    _, _, page = reported
    assert "1 group." in page
    assert "Fire! http://t.co/1" in page
    found = run_page.clashes(
        lambda: [
            ("train", str(i), label, text)
            for i, (label, text) in enumerate(
                [
                    ("a", "So it goes"),
                    ("b", "so it GOES!!"),
                    ("a", "other"),
                    ("a", "OTHER"),
                    ("a", "http://x"),
                    ("b", "@y"),
                ]
            )
        ]
    )
    assert [[row[1] for row in clash.rows] for clash in found] == [["0", "1"]]


def test_pairs_are_near_duplicates_by_both_texts(tmp_path, tiny_bert):
    rows = [["a fire", f"it is {i}", i % 2] for i in range(40)] + [
        ["a storm", "it rains", 0],
        ["A storm!", "it rains", 1],
    ]
    write_csv(tmp_path / "train.csv", [["sentence1", "sentence2", "label"], *rows])
    recipe("baseline", tmp_path / "run", tmp_path / "train.csv", tiny_bert)
    page = (tmp_path / "run/report.html").read_text()
    assert "differ: 1 group." in page
    assert "a storm\nit rains" in page


def test_per_keyword_scores_are_those_of_its_rows(reported):
    _, rows, page = reported
    wrong = rows.wrong[np.array(rows.columns["keyword"]) == "k3"]
    assert f"<tr><td>k3</td><td>{len(wrong)}</td><td>{wrong.sum()}</td>" in page


def test_keywords_encoded_as_in_a_url_are_decoded():
    assert run_page._decoded(["body%20bags", "fire", "caf%C3%A9"]) == ["body bags", "fire", "café"]


@pytest.mark.parametrize("values", [["body%20bags", "two words"], ["50%", "a%20b"], ["%ff", "a%20b"]])
def test_what_only_looks_encoded_stays(values):
    assert run_page._decoded(values) == values


def test_temperature_scaling_that_made_calibration_worse_is_said(tmp_path):
    rows = binary(60)
    metrics = run_folder(tmp_path, rows, history=False)
    metrics["validation"] |= {"ece": 0.02, "ece_scaled": 0.05, "brier": 0.1, "brier_scaled": 0.10001}
    run_page.write_report(tmp_path, metrics, list)
    page = (tmp_path / run_page.PAGE).read_text(encoding="utf-8")
    assert (
        "Temperature scaling made the calibration worse here: calibration error (ECE) on validation from 0.0200 to "
        "0.0500. So use the probabilities as they were predicted."
    ) in page
    metrics["validation"] |= {"ece_scaled": 0.01}
    run_page.write_report(tmp_path, metrics, list)
    assert "made the calibration worse" not in (tmp_path / run_page.PAGE).read_text(encoding="utf-8")


def test_a_run_named_as_its_recipe_is_named_once(reported):
    _, _, page = reported
    assert "<h1>stock</h1>" in page


def test_a_class_absent_from_validation_is_said(tmp_path):
    rows = binary(60)
    rows.labels[:] = 0
    run_page.write_report(tmp_path, run_folder(tmp_path, rows), list)
    page = (tmp_path / run_page.PAGE).read_text(encoding="utf-8")
    assert "No row of these has the label “fire”" in page
    assert "No threshold could be chosen" in page
    assert not (tmp_path / "plots/roc.png").exists()


def test_a_constant_predictor_is_said(tmp_path):
    rows = binary(60)
    rows.probabilities[:] = [0.7, 0.3]
    run_page.write_report(tmp_path, run_folder(tmp_path, rows, history=False), list)
    page = (tmp_path / run_page.PAGE).read_text(encoding="utf-8")
    assert "Every row got the same probabilities" in page
    assert "None: no two labelled texts" in page


def test_a_predictor_of_one_label_is_said(tmp_path):
    rows = binary(60)
    rows.probabilities[:, 1] = 0.6 + 0.3 * rows.probabilities[:, 1]
    rows.probabilities[:, 0] = 1 - rows.probabilities[:, 1]
    (sentence,) = run_page.write_report(tmp_path, run_folder(tmp_path, rows), list)
    assert sentence.startswith("Every row is predicted as “fire”")
    assert sentence in (tmp_path / run_page.PAGE).read_text(encoding="utf-8")


@pytest.mark.parametrize("problem_type", [SINGLE_LABEL, MULTI_LABEL, REGRESSION])
def test_every_task_has_a_page(problem_type, tmp_path):
    draw = np.random.default_rng(0)
    labels, probabilities = {
        SINGLE_LABEL: (draw.integers(0, 3, 90), draw.dirichlet([1, 1, 1], 90)),
        MULTI_LABEL: (draw.integers(0, 2, (90, 3)).astype(float), draw.random((90, 3))),
        REGRESSION: (draw.normal(size=(90, 3)), draw.normal(size=(90, 3))),
    }[problem_type]
    texts = {"text": [f"text {i}" for i in range(90)]}
    ids = [str(i) for i in range(90)]
    rows = Predictions(ids, labels, probabilities, draw.random(90), ["불", "flood", "x" * 60], problem_type, texts)
    run_page.write_report(tmp_path, run_folder(tmp_path, rows, history=False), list)
    page = (tmp_path / run_page.PAGE).read_text(encoding="utf-8")
    assert "The most wrong rows" in page
    assert ("By label" in page) == (problem_type != REGRESSION)
    assert ('id="values_3"' in page) == (problem_type == REGRESSION)


def test_300_labels_are_shortened(tmp_path):
    names, draw = [f"label-{i:03}" for i in range(300)], np.random.default_rng(0)
    # The last labels have the most rows, and 100 of them none.
    labels = np.repeat(np.arange(100, 300), 2).tolist() + [299] * 100
    rows = Predictions(
        ids=[str(i) for i in range(500)],
        labels=np.array(labels),
        probabilities=draw.dirichlet(np.ones(300), 500),
        losses=draw.random(500),
        label_names=names,
        problem_type=SINGLE_LABEL,
        columns={"text": [f"text {i}" for i in range(500)]},
    )
    said = run_page.write_report(tmp_path, run_folder(tmp_path, rows, history=False), list)
    assert "“label-004” and 95 more: what needs" in said[0]
    assert len(said[0]) < 200
    figure = (tmp_path / "plots/confusion.svg").read_text(encoding="utf-8")
    assert "261 others" in figure
    assert "label-299" in figure
    assert len(figure) < 1_000_000


def test_what_is_counted_together_in_a_confusion_matrix_is_lost_nowhere():
    matrix = np.random.default_rng(0).integers(0, 9, (60, 60))
    matrix[7] = 100
    together, names = plots._rare_ones_together(matrix, [str(i) for i in range(60)])
    assert together.shape == (plots.MOST_CLASSES, plots.MOST_CLASSES)
    assert (together.sum(), names[-1]) == (matrix.sum(), "21 others")
    kept = [int(name) for name in names[:-1]]
    assert 7 in kept
    np.testing.assert_array_equal(together[:-1, :-1], matrix[np.ix_(kept, kept)])


def test_many_targets_are_drawn_in_part(tmp_path):
    values = np.random.default_rng(0).normal(size=(30, 20))
    ids, names = [str(i) for i in range(30)], [f"t{i}" for i in range(20)]
    texts = {"text": [f"text {i}" for i in ids]}
    rows = Predictions(ids, values, values[::-1], values[:, 0] ** 2, names, REGRESSION, texts)
    said = run_page.write_report(tmp_path, run_folder(tmp_path, rows, history=False), list)
    assert said == ["Of the 20 targets the first 12 are drawn."]
    assert len(list((tmp_path / "plots").glob("values_*.svg"))) == 12


def test_a_hundred_thousand_predictions_take_seconds_and_less_than_a_gigabyte(tmp_path):
    run_folder(tmp_path, binary(100_000))
    code = (
        "import json, pathlib, re, sys, time\n"
        "from bert_recipes.reporting.run_page import write_report\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "start = time.process_time()\n"
        "write_report(folder, json.loads((folder / 'metrics.json').read_text()), list)\n"
        "seconds = time.process_time() - start\n"
        # Of getrusage's maximum a process inherits that of the one which started it.
        "status = pathlib.Path('/proc/self/status').read_text()\n"
        "print(seconds, int(re.search(r'VmHWM:\\s+(\\d+)', status)[1]) / 1024)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)
    seconds, mebibytes = map(float, done.stdout.split())
    assert seconds < 20
    assert mebibytes < 1000
