"""A classifier of a user's own is saved with its code and loads as it was, where this project is not installed too."""

import json
import sys

import pytest
import torch
from support.classifiers import LABELS, TEXTS, inputs_of
from support.paths import OWN_CLASSIFIERS as FILE
from support.started import run
from transformers import AutoConfig, AutoModelForSequenceClassification

from bert_recipes.modeling.own_code import load_object
from bert_recipes.modeling.wrapper import OwnClassifier, OwnClassifierConfig, make

COLUMNS = {"keyword": {"categories": ["fire", "storm"]}, "price": {"mean": 2.5}}
CELLS = {"keyword": ["storm", None, "hail"], "price": [1.5, None, -3]}


def classifier(folder, name):
    columns = COLUMNS if name == "WithColumns" else {}
    config = OwnClassifierConfig(
        encoder=AutoConfig.from_pretrained(folder),
        classifier=f"own_classifiers.py:{name}",
        task_name=LABELS.name,
        columns=columns,
        id2label=LABELS.id2label,
        label2id=LABELS.label2id,
        problem_type=LABELS.problem_type,
    )
    torch.manual_seed(0)
    found = load_object(f"{FILE}:{name}", "--classifier")
    return OwnClassifier(config, make(found, str(folder), config)).eval()


LOAD = """
import sys; sys.modules["bert_recipes"] = None
import json, torch
from transformers import AutoModelForSequenceClassification as Auto
inputs = {name: torch.tensor(rows) for name, rows in json.loads(sys.argv[1]).items()}
for folder in sys.argv[3:]:
    model = Auto.from_pretrained(folder, trust_remote_code=True)
    with torch.no_grad():
        logits = model(**inputs, **model.config.encode_columns(json.loads(sys.argv[2]))).logits
    torch.save(logits, f"{folder}.pt")
"""
NAMES = ("TextAlone", "WithColumns", "TiedWeights")


def test_it_gives_the_same_logits_in_a_process_without_this_project(tiny_bert, tokenizer, tmp_path):
    inputs, expected = dict(inputs_of(tokenizer)), {}
    for name in NAMES:
        model = classifier(tiny_bert, name)
        model.save_pretrained(tmp_path / name)
        with torch.no_grad():
            expected[name] = model(**inputs, **model.config.encode_columns(CELLS)).logits
        assert {path.name for path in (tmp_path / name).iterdir()} == {
            *("config.json", "model.safetensors", "wrapper.py", "own_classifiers.py"),
        }
        assert (tmp_path / name / "own_classifiers.py").read_text() == FILE.read_text()
    given = json.dumps({name: rows.tolist() for name, rows in inputs.items()})
    done = run([sys.executable, "-c", LOAD, given, json.dumps(CELLS), *NAMES], folder=tmp_path)
    assert done.returncode == 0, done.stderr
    for name in NAMES:
        assert torch.equal(torch.load(tmp_path / f"{name}.pt"), expected[name])


def test_tied_weights_are_saved_once_and_are_tied_again(tiny_bert, tmp_path):
    from safetensors import safe_open

    classifier(tiny_bert, "TiedWeights").save_pretrained(tmp_path / "model")
    with safe_open(tmp_path / "model/model.safetensors", "pt") as file:
        names = set(file.keys())
    assert "own.encoder.bert.embeddings.word_embeddings.weight" in names
    assert not names & {"own.words.weight", "own.encoder.cls.predictions.decoder.weight"}
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model", trust_remote_code=True)
    assert loaded.own.words.weight is loaded.own.encoder.get_output_embeddings().weight
    # Saved once more, it is the same.
    loaded.save_pretrained(tmp_path / "again")
    for file in ("model.safetensors", "own_classifiers.py"):
        assert (tmp_path / "again" / file).read_bytes() == (tmp_path / "model" / file).read_bytes()


def test_a_pipeline_takes_one_of_text_alone_and_another_one_says_what_it_lacks(tiny_bert, tokenizer, tmp_path):
    from transformers import pipeline

    for name in ("TextAlone", "WithColumns"):
        model = classifier(tiny_bert, name)
        model.save_pretrained(tmp_path / name)
        tokenizer.save_pretrained(tmp_path / name)
        classify = pipeline("text-classification", str(tmp_path / name), trust_remote_code=True, top_k=None)
        if name == "WithColumns":
            with pytest.raises(TypeError, match="takes keyword and price beside the text, and got none"):
                classify(TEXTS[0])
        else:
            expected = model(**inputs_of(tokenizer, TEXTS[:1])).logits.softmax(1)[0].tolist()
            scores = {answer["label"]: answer["score"] for answer in classify(TEXTS[:1])[0]}
            assert [scores[label] for label in LABELS.label_names] == pytest.approx(expected, abs=1e-6)


def test_its_code_runs_only_when_told_and_its_weights_must_fit(tiny_bert, tmp_path):
    folder = tmp_path / "model"
    classifier(tiny_bert, "TextAlone").save_pretrained(folder)
    with pytest.raises(ValueError, match="trust_remote_code=True"):
        AutoModelForSequenceClassification.from_pretrained(folder, trust_remote_code=False)
    with pytest.raises(ValueError, match=r"own_classifiers\.py:TextAlone of .*: read it"):
        OwnClassifier.from_pretrained(folder)
    with pytest.raises(ValueError, match="loaded without device_map"):
        OwnClassifier.from_pretrained(folder, trust_remote_code=True, device_map="auto")
    assert OwnClassifier.from_pretrained(folder, trust_remote_code=True, dtype=torch.bfloat16).dtype == torch.bfloat16
    (folder / "own_classifiers.py").write_text(FILE.read_text().replace("self.classifier", "self.other"))
    with pytest.raises(RuntimeError, match=r"own\.other\.weight"):
        OwnClassifier.from_pretrained(folder, trust_remote_code=True)


def test_cells_become_categories_and_numbers():
    encoded = OwnClassifierConfig(columns=COLUMNS).encode_columns(CELLS)
    assert encoded["keyword"].tolist() == [2, 0, 0]
    assert encoded["keyword"].dtype == torch.int64
    assert encoded["price"].tolist() == [1.5, 2.5, -3.0]
    assert encoded["price"].dtype == torch.float32


def test_nothing_of_this_machine_is_in_its_configuration(tiny_bert, tmp_path):
    from bert_recipes.config.arguments import CustomArguments
    from bert_recipes.modeling.building import build_classifier

    model = build_classifier(str(tiny_bert), CustomArguments(classifier=f"{FILE}:TextAlone"), LABELS)
    model.save_pretrained(tmp_path / "model")
    written = (tmp_path / "model/config.json").read_text()
    assert str(tiny_bert) not in written
    assert str(FILE.parent) not in written
