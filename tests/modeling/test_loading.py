"""What is loaded from a folder: a head of other labels is begun anew, and what does not fit is one sentence."""

import json
import shutil

import pytest
import torch
from safetensors.torch import save_file
from support.encoders import FAMILY
from support.scripts import in_a_line, recipe
from support.trained_tokenizers import like_roberta
from transformers import (
    AutoModelForMultipleChoice,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    GPT2Config,
    T5Config,
    set_seed,
)

from bert_recipes.errors import UserError
from bert_recipes.inference.predictor import Predictor
from bert_recipes.modeling.loading import begin_anew, load_finished, load_pretrained, load_tokenizer, scoring_layer
from bert_recipes.task import Task
from bert_recipes.terminal import quiet_libraries


@pytest.fixture(autouse=True)
def _as_a_recipe():
    quiet_libraries()


@pytest.fixture
def finetuned(tokenizer, tmp_path):
    """Return a function that saves a fine-tuned model, and returns its folder and the weights of its head."""

    def save(names=None, family="bert", auto_class=AutoModelForSequenceClassification, **options):
        set_seed(7)
        labels = {"id2label": dict(enumerate(names))} if names else {}
        config = type(FAMILY[family]).from_dict(FAMILY[family].to_dict() | labels | options)
        model = auto_class.from_config(config)
        model.save_pretrained(tmp_path / "finetuned")
        tokenizer.save_pretrained(tmp_path / "finetuned")
        return str(tmp_path / "finetuned"), model

    return save


def load(folder, names, task="multi-class"):
    task = Task(task, list(names), ["label"])
    options = {"id2label": task.id2label, "label2id": task.label2id, "problem_type": task.problem_type}
    set_seed(3)
    return load_pretrained(AutoModelForSequenceClassification, folder, **options)


def last_layer(model):
    return scoring_layer(model)[1]


def same_encoder(a, b):
    return all(map(torch.equal, a.base_model.parameters(), b.base_model.parameters()))


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "deberta-v2", "modernbert", "squeezebert"])
@pytest.mark.parametrize("count", [2, 5])
def test_a_head_of_another_size_is_begun_anew(family, count, finetuned, capfd):
    folder, there = finetuned([f"star {i}" for i in range(count)], family)
    model = load(folder, ["no", "yes", "maybe"])
    assert last_layer(model).weight.shape[0] == 3
    assert last_layer(model).weight.std() > 0
    assert model.config.id2label == {0: "no", 1: "yes", 2: "maybe"}
    assert same_encoder(model, there)
    said = capfd.readouterr()
    assert f"has a head of {count} outputs, and 3 are needed: a new output layer is begun" in said.out.replace(
        "\n", " "
    )
    assert "LOAD REPORT" not in said.out + said.err


KEPT, ANEW = "which is kept.", "a new output layer is begun in its place"


@pytest.mark.parametrize(
    ("theirs", "ours", "sentence"),
    [
        (["no", "yes"], ["no", "yes"], f"for these very labels (no, yes), {KEPT}"),
        (["NEGATIVE", "POSITIVE"], ["negative", "positive"], f"for these very labels (NEGATIVE, POSITIVE), {KEPT}"),
        (None, ["no", "yes"], f"of as many outputs (LABEL_0, LABEL_1 for no, yes, by their order), {KEPT}"),
        (["no", "yes"], ["0", "1"], f"of as many outputs (no, yes for 0, 1, by their order), {KEPT}"),
        (["ham", "spam"], ["no", "yes"], f"for other labels (ham, spam): {ANEW}."),
        (["yes", "not so"], ["not so", "yes"], f"in another order: {ANEW}; --labels yes 'not so' keeps it."),
        (["1", "2"], ["0", "1"], f"of as many outputs (1, 2 for 0, 1, by their order), {KEPT}"),
        (["1 star", "2 stars"], ["1", "2"], f"for other labels (1 star, 2 stars): {ANEW}."),
    ],
)
def test_a_head_of_the_same_size_is_kept_for_the_same_labels(theirs, ours, sentence, finetuned, capsys):
    folder, there = finetuned(theirs)
    model = load(folder, ours, "binary")
    assert sentence in in_a_line(capsys.readouterr().out)
    assert torch.equal(last_layer(model).weight, last_layer(there).weight) == (KEPT in sentence)
    assert same_encoder(model, there)
    if ANEW in sentence:
        assert last_layer(model).bias.tolist() == [0.0, 0.0]
        assert last_layer(model).weight.std().item() == pytest.approx(0.02, rel=0.5)


@pytest.mark.parametrize("auto_class", [AutoModelForTokenClassification, AutoModelForMultipleChoice])
def test_a_head_of_another_kind_is_begun_anew(auto_class, finetuned, capsys):
    folder, there = finetuned(None, auto_class=auto_class)
    model = load(folder, ["score"] if auto_class is AutoModelForMultipleChoice else ["no", "yes"])
    assert not torch.equal(last_layer(model).weight, there.classifier.weight)
    assert f"of another kind ({type(there).__name__}): {ANEW}" in in_a_line(capsys.readouterr().out)


def test_an_encoder_without_a_head_gets_one_without_a_word(tiny_bert, capfd):
    model = load(str(tiny_bert), ["no", "yes"])
    set_seed(3)
    stock = AutoModelForSequenceClassification.from_pretrained(tiny_bert, num_labels=2)
    assert all(map(torch.equal, model.parameters(), stock.parameters()))
    said = capfd.readouterr()
    assert said.out == said.err == ""


def test_weights_that_do_not_fit_the_configuration_are_refused(tiny_bert, finetuned, tmp_path):
    folder = tmp_path / "changed"
    shutil.copytree(tiny_bert, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"vocab_size": 30}))
    sentence = (
        r"do not fit its config.json: bert\.embeddings\.word_embeddings\.weight is \[18, 16\] and should be \[30, 16\]"
    )
    with pytest.raises(UserError, match=sentence):
        load(str(folder), ["no", "yes"])
    # A head that is not begun anew has to fit, too.
    folder, _ = finetuned(["a", "b", "c"])
    config = json.loads((tmp_path / "finetuned/config.json").read_text())
    (tmp_path / "finetuned/config.json").write_text(json.dumps(config | {"id2label": {"0": "a", "1": "b"}}))
    with pytest.raises(UserError, match=r"classifier\.\w+ is \[3.* and should be \[2.* \(2 such\)"):
        load_finished(AutoModelForSequenceClassification, folder)


def test_an_encoder_without_a_head_predicts_nothing(tiny_bert):
    with pytest.raises(UserError, match="is an encoder without a head, which cannot classify yet: train it with"):
        Predictor.load(str(tiny_bert))


def test_an_architecture_without_a_classifier_is_one_sentence(finetuned, tmp_path):
    T5Config(vocab_size=20, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2).save_pretrained(tmp_path / "t5")
    (tmp_path / "t5/config.json").write_text(json.dumps({"model_type": "dpr", "vocab_size": 20}))
    save_file({"a": torch.zeros(1)}, tmp_path / "t5/model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        UserError, match="cannot be taken as AutoModelForSequenceClassification, which transformers does"
    ):
        load(str(tmp_path / "t5"), ["no", "yes"])


def test_damaged_weights_are_one_sentence(tiny_bert, tmp_path):
    shutil.copytree(tiny_bert, tmp_path / "damaged")
    file = tmp_path / "damaged/model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"has a damaged file of weights \(.*\): get or save the model again"):
        load(str(tmp_path / "damaged"), ["no", "yes"])


def test_what_begins_anew_is_a_part_and_nothing_else(finetuned):
    _, model = finetuned(["no", "yes"])
    before = {name: value.clone() for name, value in model.state_dict().items()}
    begin_anew(model, model.classifier)
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"classifier.weight"}


# Tokenizers


def test_a_tokenizer_is_loaded_as_transformers_does(tiny_bert):
    loaded, plain = load_tokenizer(str(tiny_bert)), AutoTokenizer.from_pretrained(tiny_bert)
    assert loaded("fire in a storm")["input_ids"] == plain("fire in a storm")["input_ids"]


@pytest.mark.parametrize(
    ("config", "file", "content", "sentence"),
    [
        (FAMILY["bert"], "tokenizer.json", "{", "cannot be made: JSONDecodeError"),
        (
            FAMILY["deberta-v2"],
            "spm.model",
            "x",
            r"spm\.model needs the package sentencepiece, which is not installed",
        ),
        (FAMILY["roberta"], "vocab.txt", "fire\n", "has no vocabulary: save it there with tokenizer.save_pretrained"),
    ],
)
def test_a_tokenizer_that_cannot_be_made_is_one_sentence(config, file, content, sentence, tmp_path):
    config.save_pretrained(tmp_path)
    (tmp_path / file).write_text(content)
    with pytest.raises(UserError, match=sentence):
        load_tokenizer(str(tmp_path))


def test_a_decoder_without_padding_is_refused_and_with_it_trained(tokenizer, tmp_path, competition):
    torch.manual_seed(0)
    own = like_roberta()
    config = GPT2Config(
        vocab_size=len(own), n_embd=16, n_layer=1, n_head=2, n_positions=64, bos_token_id=0, eos_token_id=2
    )
    AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path / "gpt")
    own.save_pretrained(tmp_path / "gpt")
    recipe("stock", tmp_path / "run", competition, tmp_path / "gpt", "--max_steps", "1")
    own.pad_token = None
    own.save_pretrained(tmp_path / "gpt")
    with pytest.raises(UserError, match="has a tokenizer without a padding token"):
        recipe("stock", tmp_path / "other", competition, tmp_path / "gpt")
