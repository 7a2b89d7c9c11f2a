"""An architecture that transformers does not have: its code runs where that is said, and travels with the model."""

import sys

import numpy as np
import pytest
from support.own_architecture import AUTO_MAP, write_own_architecture
from support.rows import sentence
from support.scripts import predictions, recipe
from support.started import run
from transformers import AutoModelForSequenceClassification

import bert_recipes as br
from bert_recipes.errors import UserError
from bert_recipes.inference.predictor import Predictor
from bert_recipes.inference.rows import TextRow

FLAG = "--trust_remote_code"
TEXTS = [sentence(i) for i in range(5)]


@pytest.fixture
def mixer(tokenizer, tmp_path):
    write_own_architecture(tmp_path / "mixer", tokenizer, tmp_path / "trace")
    return tmp_path / "mixer"


@pytest.mark.parametrize("name", ["stock", "custom"])
def test_without_the_flag_no_code_runs(name, mixer, competition, tmp_path):
    with pytest.raises(UserError, match=r"does not know \(model_type mixer\) and brings its own code: .* --trust_"):
        recipe(name, tmp_path / "run", competition, mixer)
    assert not (tmp_path / "trace").exists()
    assert not (tmp_path / "run").exists()


WAYS = [["stock"], ["custom"], ["custom", "--pooling", "mean_max", "--lora_rank", "2"]]


@pytest.mark.parametrize("flags", WAYS, ids=" ".join)
def test_with_the_flag_it_is_trained_saved_and_loaded(flags, mixer, competition, tmp_path, capsys):
    name, *flags = flags
    recipe(name, tmp_path / "run", competition, mixer, "--max_steps", "2", FLAG, *flags)
    assert (tmp_path / "trace").exists()
    assert "brings its own code, which runs, since --trust_remote_code says so" in capsys.readouterr().out
    # Its code is in the run, and nothing is needed from where it came.
    mixer.rename(tmp_path / "gone")
    capsys.readouterr()
    for place in ("run", "run/model"):
        with pytest.raises(UserError, match="trust_remote_code"):
            Predictor.load(str(tmp_path / place))
    predictor = Predictor.load(str(tmp_path / "run"), bf16=False, trust_remote_code=True)
    # Standard output is for predictions.
    assert capsys.readouterr().out == ""
    found = predictions(tmp_path / "run")
    rows = [row.split(",") for row in (competition / "test.csv").read_text().splitlines()[1:]]
    ((_, probabilities),) = predictor.probabilities([TextRow(*row) for row in rows])
    np.testing.assert_allclose(probabilities[:, 1], [float(row["1"]) for row in found], atol=1e-5)
    assert "trust_remote_code=True" in (tmp_path / "run/README.md").read_text()


@pytest.mark.parametrize("flags", [["stock"], ["custom", "--pooling", "mean"]], ids=" ".join)
def test_what_is_saved_loads_where_this_project_is_not_installed(flags, mixer, competition, tmp_path):
    name, *flags = flags
    recipe(name, tmp_path / "run", competition, mixer, "--max_steps", "2", FLAG, *flags)
    expected = br.load(tmp_path / "run", trust_remote_code=True).predict(TEXTS)
    code = (
        "import sys; sys.modules['bert_recipes'] = None\n"
        "from transformers import pipeline\n"
        "classify = pipeline('text-classification', model=sys.argv[1], trust_remote_code=True, top_k=None)\n"
        "for answers in classify(sys.argv[2:]):\n"
        "    print({answer['label']: answer['score'] for answer in answers}['1'])"
    )
    done = run([sys.executable, "-c", code, tmp_path / "run/model", *TEXTS], folder=tmp_path)
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose([float(line) for line in done.stdout.split()], expected["1"], atol=0.01)


def test_another_training_goes_on_from_it_with_the_flag_only(mixer, competition, tmp_path):
    recipe("custom", tmp_path / "run", competition, mixer, "--max_steps", "2", FLAG, "--pooling", "mean")
    mixer.rename(tmp_path / "gone")
    with pytest.raises(UserError, match="the encoder of this model is code that it carries"):
        recipe("custom", tmp_path / "next", competition, tmp_path / "run")
    assert not (tmp_path / "next").exists()
    flags = ("--max_steps", "1", "--learning_rate", "0", FLAG)
    recipe("custom", tmp_path / "next", competition, tmp_path / "run", *flags)
    before, after = ((tmp_path / name / "model/model.safetensors").read_bytes() for name in ("run", "next"))
    assert before == after


def test_saved_once_more_a_custom_model_still_carries_its_code(mixer, competition, tmp_path):
    recipe("custom", tmp_path / "run", competition, mixer, "--max_steps", "1", FLAG)
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "run/model", trust_remote_code=True)
    model.save_pretrained(tmp_path / "again")
    names = {path.name for path in (tmp_path / "run/model").glob("*.py")}
    assert {path.name for path in (tmp_path / "again").glob("*.py")} == names
    assert names == {"models.py", "pooling.py", "configuration_mixer.py", "layers_of_mixer.py", "modeling_mixer.py"}


def test_a_known_architecture_runs_its_code_with_the_flag_only(tiny_bert, tokenizer, competition, tmp_path, capsys):
    folder = tmp_path / "mixed"
    write_own_architecture(folder, tokenizer, tmp_path / "trace", model_type="bert")
    for file in ("config.json", "model.safetensors"):
        (folder / file).write_bytes((tiny_bert / file).read_bytes())
    text = (folder / "config.json").read_text()
    (folder / "config.json").write_text(text.replace("{", f'{{"auto_map": {AUTO_MAP},'.replace("'", '"'), 1))
    recipe("stock", tmp_path / "run", competition, folder, "--max_steps", "1")
    assert "its own code, which does not run: transformers' own bert is taken" in capsys.readouterr().out
    # What is saved does not need the code either, whoever trusts it.
    Predictor.load(str(tmp_path / "run"), trust_remote_code=True)
    assert not (tmp_path / "trace").exists()


def test_a_class_of_ones_own_for_a_known_configuration(tiny_bert, tokenizer, competition, tmp_path):
    (tmp_path / "trained").mkdir()
    for file in tiny_bert.iterdir():
        (tmp_path / "trained" / file.name).write_bytes(file.read_bytes())
    own = "from transformers import BertModel\n\nclass Other(BertModel):\n    def forward(self, **inputs):\n"
    own += "        output = super().forward(**inputs)\n        output.last_hidden_state *= 2\n        return output\n"
    (tmp_path / "trained/other.py").write_text(own)
    text = (tmp_path / "trained/config.json").read_text()
    mapped = text.replace("{", '{"auto_map": {"AutoModel": "other.Other"},', 1)
    (tmp_path / "trained/config.json").write_text(mapped)
    flags = ["--max_steps", "1", "--pooling", "mean"]
    recipe("custom", tmp_path / "own", competition, tmp_path / "trained", FLAG, *flags)
    recipe("custom", tmp_path / "known", competition, tmp_path / "trained", *flags)
    assert (tmp_path / "own/model/other.py").read_text() == own
    assert not (tmp_path / "known/model/other.py").exists()
    scores = {name: br.load(tmp_path / name, trust_remote_code=True).predict(TEXTS)["1"] for name in ("own", "known")}
    assert not np.allclose(scores["own"], scores["known"], atol=1e-4)
    found = [float(row["1"]) for row in predictions(tmp_path / "own")]
    rows = [line.split(",") for line in (competition / "test.csv").read_text().splitlines()[1:]]
    predictor = Predictor.load(str(tmp_path / "own"), bf16=False, trust_remote_code=True)
    ((_, probabilities),) = predictor.probabilities(TextRow(*row) for row in rows)
    np.testing.assert_allclose(probabilities[:, 1], found, atol=1e-5)


def test_code_without_a_classifier_is_for_the_custom_recipe(tokenizer, competition, tmp_path):
    encoder_alone = {name: AUTO_MAP[name] for name in ("AutoConfig", "AutoModel")}
    write_own_architecture(tmp_path / "mixer", tokenizer, tmp_path / "trace", classes=encoder_alone)
    with pytest.raises(UserError, match=r"cannot be taken as AutoModelForSequenceClassification.*stock and custom"):
        recipe("stock", tmp_path / "run", competition, tmp_path / "mixer", FLAG)
    recipe("custom", tmp_path / "run", competition, tmp_path / "mixer", "--max_steps", "1", FLAG)


def test_code_that_fails_or_would_not_travel_is_one_sentence(mixer, competition, tmp_path):
    code = mixer / "layers_of_mixer.py"
    whole = code.read_text()
    code.write_text("import a_package_of_nowhere\n" + whole)
    with pytest.raises(UserError, match=r"cannot be loaded: ModuleNotFoundError: .*a_package_of_nowhere") as caught:
        recipe("custom", tmp_path / "run", competition, mixer, FLAG)
    assert "\n" not in str(caught.value)
    configuration = mixer / "configuration_mixer.py"
    configuration.write_text("# another class for transformers\n" + configuration.read_text())
    code.write_text(whole)
    code.rename(mixer / "pooling.py")
    model = mixer / "modeling_mixer.py"
    model.write_text(model.read_text().replace(".layers_of_mixer", ".pooling"))
    with pytest.raises(
        UserError, match=r"has a file pooling\.py, and a saved model carries one of its own by that name"
    ):
        recipe("custom", tmp_path / "run", competition, mixer, FLAG)
