"""The notebooks: what is committed is what their source makes, and it runs from top to bottom."""

import csv
import importlib.util
import json
import re
import shutil

import nbformat
import pytest
from nbformat.v4 import new_code_cell
from support.paths import RECIPES

from bert_recipes.errors import UserError

specification = importlib.util.spec_from_file_location("build_notebooks", RECIPES / "notebooks/build.py")
build = importlib.util.module_from_spec(specification)
specification.loader.exec_module(build)

HERE = RECIPES / "notebooks"
LANGUAGES = list(build.NOTEBOOKS)


@pytest.fixture(scope="module")
def cells():
    return build.read_cells(build.SOURCE.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def committed():
    return {language: nbformat.read(path, as_version=4) for language, path in build.NOTEBOOKS.items()}


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_committed_notebook_is_made_of_the_source(language, cells, committed):
    made = build.notebook(cells, language)
    assert [(cell.id, cell.cell_type, cell.source) for cell in made.cells] == [
        (cell.id, cell.cell_type, cell.source) for cell in committed[language].cells
    ], "make notebooks writes them anew"
    nbformat.validate(committed[language])


def test_both_languages_have_one_code_and_the_same_texts(committed):
    english, korean = (committed[language] for language in LANGUAGES)
    assert build.code_of(english) == build.code_of(korean)
    kinds = [[cell.cell_type for cell in notebook.cells] for notebook in (english, korean)]
    assert kinds[0] == kinds[1]
    for first, second in zip(english.cells, korean.cells, strict=True):
        if first.cell_type == "markdown":
            assert re.search("[가-힣]", second.source)
            assert not re.search("[가-힣]", first.source.replace("[한국어]", ""))
            heading = re.compile("^#+ ", re.MULTILINE)
            assert heading.findall(first.source) == heading.findall(second.source)


def test_the_committed_outputs_are_small_and_of_no_machine(committed):
    for language, path in build.NOTEBOOKS.items():
        assert path.stat().st_size < 300_000
        said = json.dumps([cell.outputs for cell in build.code_of(committed[language])])
        assert '"output_type": "error"' not in said
        assert not re.search(r"/(tmp|work|root|home)/|0x[0-9a-f]{6,}|Warning", said)
        counts = [cell.execution_count for cell in build.code_of(committed[language])]
        assert counts == list(range(1, len(counts) + 1))


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("# %% [markdown] de\n# Hallo\n", "a text in 'de' has no notebook"),
        ("# %% [markdown] en\nHello\n", "'Hello' stands in a text and is no comment"),
    ],
)
def test_a_mistake_in_the_source_is_a_sentence(source, sentence):
    with pytest.raises(UserError, match=sentence):
        build.read_cells(source)


def test_the_texts_alone_are_written_where_the_code_is_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "NOTEBOOKS", {k: tmp_path / path.name for k, path in build.NOTEBOOKS.items()})
    for path in (HERE / "disaster_tweets.ipynb", HERE / "disaster_tweets.ko.ipynb"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr("sys.argv", ["build.py", "--texts"])
    build.main()
    for name, path in build.NOTEBOOKS.items():
        assert path.read_bytes() == (HERE / path.name).read_bytes(), name
    changed = tmp_path / "changed.py"
    changed.write_text(build.SOURCE.read_text(encoding="utf-8") + "\n# %%\n1 + 1\n", encoding="utf-8")
    monkeypatch.setattr(build, "SOURCE", changed)
    with pytest.raises(UserError, match="has changed: leave it out"):
        build.main()


def execute(cells, folder, settings=None):
    """Execute the code in a folder, with some of its settings replaced, and return the last cell's text."""
    made = build.notebook(cells, "en")
    if settings:
        (place,) = [i for i, cell in enumerate(made.cells) if "settings = {" in cell.source]
        made.cells.insert(place + 1, new_code_cell(f"settings |= {settings!r}"))
    build.execute(made, folder)
    for name in ("stock", "custom", "own", "compare"):
        assert (folder / f"runs/{name}/report.html").is_file()
    said = json.dumps([cell.outputs for cell in build.code_of(made)])
    assert "could not be made" not in said
    assert "No difference in F1 between" in said or "is better than" in said or "are alike in F1" in said
    return build.code_of(made)[-1].outputs[-1]["data"]["text/plain"]


@pytest.fixture
def quick(tiny_bert):
    return {"model": str(tiny_bert), "max_length": 32, "max_steps": 2, "bf16": False}


@pytest.mark.slow
def test_it_runs_on_the_competitions_files(cells, quick, competition, tmp_path):
    shutil.copytree(competition, tmp_path / "data/disaster-tweets")
    shown = execute(cells, tmp_path, quick)
    submission = (tmp_path / "submission.csv").read_text().splitlines()
    sample = (competition / "sample_submission.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in submission] == [line.split(",")[0] for line in sample]
    assert shown.split()[:2] == ["id", "target"]


def check_food(folder, shown):
    with (folder / "submission.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 1000
    assert {row["prediction"] for row in rows} <= {"great", "other"}
    assert shown.split()[:2] == ["id", "prediction"]


@pytest.mark.slow
def test_it_runs_on_the_embedded_reviews(cells, quick, tmp_path):
    check_food(tmp_path, execute(cells, tmp_path, quick))


@pytest.mark.slow
def test_it_runs_as_it_is(cells, tmp_path):
    check_food(tmp_path, execute(cells, tmp_path))
    metrics = json.loads((tmp_path / "runs/own/metrics.json").read_text())
    assert metrics["validation"]["accuracy"] > 0.65  # that of the larger label alone
