"""The model card tells how to load the model, and what code of the user's own it carries."""

import csv
import sys

import pytest
import yaml
from support.rows import sentence
from support.scripts import predictions, recipe
from support.started import run


def validation_rows(folder):
    with (folder / "validation_predictions.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("place", ["", "model"])
def test_the_model_card_tells_how_to_load_the_model(place, finished):
    name, folder = finished
    card = (folder / place / "README.md").read_text()
    front = yaml.safe_load(card.split("---")[1])
    assert front["pipeline_tag"] == "text-classification"
    code = card.split("```python\n")[1].split("```")[0]
    assert "import bert_recipes" not in code
    assert ("trust_remote_code=True" in code) == (name == "custom")
    shown = code.replace("\nclassify(", "\nprint(classify(").replace(".')\n", ".'))\n")
    # A colleague's machine: neither this project's code nor the folders of this one.
    lonely = "import sys; sys.modules['bert_recipes'] = None\n"
    done = run([sys.executable, "-c", lonely + shown], folder=folder / place)
    assert done.returncode == 0, done.stderr
    assert "{'label': '" in done.stdout
    assert code.splitlines()[-1].startswith("# [{'label': '0', 'score': …}, {'label': '1', 'score': …}]")


def test_the_card_quotes_no_row_and_no_folder_of_this_machine(finished):
    _, folder = finished
    texts = [row["text"] for row in validation_rows(folder)]
    for card in (folder / "README.md", folder / "model/README.md"):
        content = card.read_text()
        assert str(folder.parent) not in content
        assert not [text for text in texts if text in content]


def test_a_pair_model_is_shown_with_a_pair(tmp_path, tiny_bert):
    rows = "".join(f"{sentence(i)} {i},{sentence(i + 1)},{i % 2}\n" for i in range(40))
    (tmp_path / "train.csv").write_text(f"sentence1,sentence2,label\n{rows}")
    recipe("stock", tmp_path / "run", tmp_path / "train.csv", tiny_bert, "--max_steps", "1")
    assert "classify({'text': " in (tmp_path / "run/model/README.md").read_text()


def test_the_model_is_readable_as_the_umask_says(finished):
    _, folder = finished
    modes = {file.name: oct(file.stat().st_mode & 0o777) for file in (folder / "model").iterdir()}
    assert set(modes.values()) == {oct((folder / "run.yaml").stat().st_mode & 0o777)}, modes


def test_300_labels_are_shortened_in_the_card(tmp_path, tiny_bert):
    rows = "".join(f"{sentence(i)} {i},label-{i % 300:03}\n" for i in range(600))
    (tmp_path / "train.csv").write_text(f"text,label\n{rows}")
    recipe("baseline", tmp_path / "run", tmp_path / "train.csv", tiny_bert)
    card = (tmp_path / "run/README.md").read_text()
    assert "`label-019` and 280 more" in card
    assert "label-020" not in card


def test_a_run_with_code_of_ones_own_says_so_and_repeats(tiny_bert, competition, tmp_path):
    (tmp_path / "mine.py").write_text(
        "import torch\nfrom torch.nn import functional as F\n"
        "class First(torch.nn.Module):\n"
        "    def __init__(self, config):\n        super().__init__()\n"
        "    def forward(self, output, attention_mask):\n        return output.last_hidden_state[:, 0]\n"
        "def loss(logits, labels):\n    return F.cross_entropy(logits, labels, reduction='none')\n"
    )
    own = ["--pooling", f"{tmp_path}/mine.py:First", "--loss", f"{tmp_path}/mine.py:loss", "--max_steps", "2"]
    recipe("custom", tmp_path / "own", competition, tiny_bert, *own)
    recipe("custom", tmp_path / "cls", competition, tiny_bert, "--pooling", "cls", "--max_steps", "2")
    assert predictions(tmp_path / "own") == predictions(tmp_path / "cls")
    card = (tmp_path / "own/README.md").read_text()
    assert "the pooling is `mine.py` in the model's folder. It runs only with `trust_remote_code=True`" in card
    assert "trust_remote_code=True)" in card.split("```python")[1]
    assert (tmp_path / "own/model/mine.py").exists()
    recipe("custom", tmp_path / "again", competition, tiny_bert, "--config", str(tmp_path / "own/run.yaml"), *own)
    assert predictions(tmp_path / "again") == predictions(tmp_path / "own")
