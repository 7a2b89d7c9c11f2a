"""The tour runs whole, says what it saw, and is the same in the documents and in both languages."""

import re
import runpy
import sys
from collections import Counter
from types import SimpleNamespace

import pytest
from support.classifiers import build
from support.encoders import FAMILY
from support.paths import ROOT
from support.started import run
from tokenizers import Tokenizer, decoders
from tokenizers.models import WordPiece
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing
from transformers import AutoModel, AutoTokenizer, BertConfig, BertForMaskedLM, PreTrainedTokenizerFast

from bert_recipes.anatomy import LANGUAGES, stations
from bert_recipes.anatomy.markdown import markdown
from bert_recipes.anatomy.measured import measured
from bert_recipes.anatomy.page import page
from bert_recipes.anatomy.probes import PROBES, script_of
from bert_recipes.anatomy.tour import Check, Said, Station, Trap, begin, texts, versions
from bert_recipes.data import embedded
from bert_recipes.errors import UserError
from bert_recipes.reporting.documents import markdown_table

NUMBER = re.compile(r"\d[\d.,]*\d|\d")
COUNT = len(stations.STATIONS)


@pytest.fixture(scope="module")
def toured(tmp_path_factory):
    """The folder of a tour over the embedded model, and what it printed."""
    folder = tmp_path_factory.mktemp("anatomy")
    command = [sys.executable, str(ROOT / "recipes/anatomy.py"), "--output_dir", str(folder)]
    done = run(command)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return folder, done.stdout


def headings(text):
    return [int(number) for number in re.findall(r"^## (\d+)\. ", text, flags=re.MULTILINE)]


def code_blocks(text):
    return re.findall(r"^```.*?^```", text, flags=re.MULTILINE | re.DOTALL)


def test_the_terminal_shows_every_station_and_its_verdict(toured):
    said = " ".join(toured[1].split())
    for station in texts("en"):
        if station != "common":
            assert texts("en")[station]["title"].replace("`", "").split(" ")[0] in said
    assert re.search(r"\d+ stations hold, \d+ changed, 0 broken", said)


@pytest.mark.parametrize("suffix", ["", ".ko"])
def test_the_document_is_what_the_tour_says(suffix, toured):
    recorded = (ROOT / f"docs/anatomy{suffix}.md").read_text(encoding="utf-8")
    if versions()["transformers"] not in recorded:
        pytest.skip("the tour was recorded with another version of transformers")
    now = (toured[0] / f"anatomy{suffix}.md").read_text(encoding="utf-8")
    # The bars of a chart are as long as its numbers.
    recorded, now = (re.sub("█+", "█", text) for text in (recorded, now))
    assert NUMBER.sub("N", now) == NUMBER.sub("N", recorded), "run make anatomy-docs"
    for a, b in zip(NUMBER.findall(now), NUMBER.findall(recorded), strict=True):
        # Another processor rounds otherwise.
        assert a == b or float(a.replace(",", "")) == pytest.approx(float(b.replace(",", "")), rel=0.02, abs=2e-3)


def test_korean_and_english_have_the_same_stations_commands_and_figures():
    english, korean = ((ROOT / f"docs/anatomy{suffix}.md").read_text(encoding="utf-8") for suffix in ("", ".ko"))
    assert headings(english) == headings(korean) == list(range(1, COUNT + 1))
    assert code_blocks(english) == code_blocks(korean)
    assert Counter(NUMBER.findall(english)) == Counter(NUMBER.findall(korean))
    assert english.count("✓") == korean.count("✓")


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_documents_show_what_the_tour_says_was_measured(language):
    for table in measured().tables[language]:
        shown = (ROOT / table.title.values["file"]).read_text(encoding="utf-8")
        figures = {figure for row in table.rows for cell in row for figure in re.findall(r"0\.\d{4}", cell)}
        assert figures <= set(NUMBER.findall(shown))
    # The last is a table there too.
    header, _, *rows = markdown_table(table.header, table.rows).splitlines()
    lines = shown.splitlines()
    first = lines.index(header) + 2
    assert lines[first : first + len(rows)] == rows
    assert not lines[first + len(rows)].startswith("|")


def test_both_languages_say_the_same_things():
    english, korean = texts("en"), texts("ko")
    assert {key: set(said) for key, said in english.items()} == {key: set(said) for key, said in korean.items()}
    for station, said in english.items():
        for key, text in said.items():
            other = korean[station][key]
            for pattern in (r"\{\w+\}", "`[^`]+`"):
                if key not in ("wrote", "doc_note"):
                    assert Counter(re.findall(pattern, text)) == Counter(re.findall(pattern, other)), (station, key)


@pytest.mark.parametrize("language", ["", ".ko"])
def test_the_page_needs_nothing_else(language, toured):
    html = (toured[0] / f"anatomy{language}.html").read_text(encoding="utf-8")
    assert html.count("<section") >= COUNT
    assert not re.findall(r"""(?:src|href)=["'](?:https?:)?//""", html)
    assert "@import" not in html
    assert "prefers-color-scheme: dark" in html


@pytest.mark.parametrize("family", ["distilbert", "roberta"])
def test_another_model_is_told_what_is_not_so_for_it(family, tmp_path):
    # A relative with BERT's real vocabulary, which the tokenizer's station speaks of.
    AutoTokenizer.from_pretrained(embedded.model_path("embedded:minilm")).save_pretrained(tmp_path)
    config = FAMILY[family].__class__.from_dict(FAMILY[family].to_dict() | {"vocab_size": 30522})
    AutoModel.from_config(config).save_pretrained(tmp_path)
    tour = begin(str(tmp_path), "<script>alert(1)</script> fire", 3)
    seen = [station(tour) for station in stations.STATIONS if station.__name__ != "traps"]
    verdicts = [station.verdict for station in seen]
    assert "broken" not in verdicts
    assert "elsewhere" in verdicts
    assert "<script>alert(1)" not in page(tour, dict(enumerate(seen, 1)), "en")
    assert markdown(tour, dict(enumerate(seen, 1)), "ko").count("\n## ") == COUNT - 1


@pytest.fixture
def korean_bert(tmp_path):
    """A BERT of a Korean vocabulary whose checkpoint, saved after masked language modelling, stores no pooler."""
    syllables = [chr(code) for code in range(0xAC00, 0xD7A4)]
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "?", *syllables, *(f"##{each}" for each in syllables)]
    made = Tokenizer(WordPiece({token: i for i, token in enumerate(tokens)}, unk_token="[UNK]"))
    made.pre_tokenizer = BertPreTokenizer()
    made.decoder = decoders.WordPiece()
    special = [("[CLS]", 2), ("[SEP]", 3)]
    made.post_processor = TemplateProcessing("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1", special)
    names = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    inputs = ["input_ids", "token_type_ids", "attention_mask"]
    PreTrainedTokenizerFast(tokenizer_object=made, model_input_names=inputs, **names).save_pretrained(tmp_path)
    config = BertConfig.from_dict(FAMILY["bert"].to_dict() | {"vocab_size": len(tokens)})
    BertForMaskedLM(config).save_pretrained(tmp_path)
    return str(tmp_path)


def test_a_korean_model_without_a_pooler_is_probed_in_korean_and_not_blamed(korean_bert):
    tour = begin(korean_bert, None, 2)
    assert re.search("[가-힣]", tour.text)
    seen = {station.__name__: station(tour) for station in stations.STATIONS if station.__name__ != "traps"}
    verdicts = {name: station.verdict for name, station in seen.items()}
    failed = {name: station.instead for name, station in seen.items() if station.verdict in ("broken", "changed")}
    assert not failed
    assert verdicts["tokenizer"] == "holds"
    assert any(check.what.key == "word_in_pieces" for check in seen["tokenizer"].checks)
    assert [seen[name].elsewhere.key for name in ("head", "which")] == ["new_pooler"] * 2
    drawn = page(tour, dict(enumerate(seen.values(), 1)), "ko")
    assert texts("ko")["common"]["new_pooler"].rstrip(".") in drawn


def test_a_vocabulary_of_another_script_is_given_no_word():
    assert script_of({"##лес": 0, "пожар": 1, "fire": 2}) == "CYRILLIC"
    assert script_of({"[PAD]": 0, "1": 1}) == "LATIN"
    assert "CYRILLIC" not in PROBES


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_text_of_a_station_hides_a_common_one(language):
    said = texts(language)
    hidden = [
        (station, key) for station in said if station != "common" for key in {*said[station]} & {*said["common"]}
    ]
    assert {key for _, key in hidden} == {"title"}


def test_what_the_three_numbers_of_a_token_are_is_written_beside_them(toured):
    for suffix, names in (("", "id<br>type id<br>attention mask"), (".ko", "id<br>토큰 타입 id<br>어텐션 마스크")):
        html = (toured[0] / f"anatomy{suffix}.html").read_text(encoding="utf-8")
        assert html.count(f"<small>{names}</small>") == 3


def test_one_station_is_visited_alone_under_its_own_number(tiny_bert, tmp_path, monkeypatch, capsys):
    flags = ["--model", str(tiny_bert), "--output_dir", str(tmp_path), "--station", "8", "7"]
    monkeypatch.setattr(sys, "argv", ["anatomy.py", *flags])
    runpy.run_path(str(ROOT / "recipes/anatomy.py"))["main"]()
    assert headings((tmp_path / "anatomy.ko.md").read_text(encoding="utf-8")) == [7, 8]
    assert (tmp_path / "anatomy.html").read_text(encoding="utf-8").count("<section") == 2


def test_a_pause_waits_between_stations(tiny_bert, tmp_path, monkeypatch):
    waited = []
    monkeypatch.setattr("builtins.input", lambda *prompt: waited.append(prompt) or "")
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: True))
    flags = ["--model", str(tiny_bert), "--output_dir", str(tmp_path), "--station", "6", "7", "8", "--pause"]
    monkeypatch.setattr(sys, "argv", ["anatomy.py", *flags])
    runpy.run_path(str(ROOT / "recipes/anatomy.py"))["main"]()
    assert len(waited) == 2


def test_a_verdict_follows_the_checks():
    good, bad = Check(Said("same"), True), Check(Said("same"), False)
    known = Check(Said("same"), False, instead=Said("same"))
    assert Station("cls", checks=[good]).verdict == "holds"
    assert Station("cls", checks=[good, known]).verdict == "changed"
    assert Station("cls", checks=[known, bad]).verdict == "broken"
    assert Station("cls", elsewhere=Said("same")).verdict == "elsewhere"
    assert Station("traps", traps=[Trap("seed", "", "", "", still=False, safe=True)]).verdict == "holds"
    assert Station("traps", traps=[Trap("seed", "", "", "", still=True, safe=False)]).verdict == "broken"


def test_a_claim_that_fails_is_status_1(tiny_bert, tmp_path, monkeypatch):
    script = runpy.run_path(str(ROOT / "recipes/anatomy.py"))

    def broken(tour):
        return Station("cls", checks=[Check(Said("same", batch=1, hidden=1), False)])

    monkeypatch.setattr(stations, "STATIONS", (broken,))
    monkeypatch.setattr(sys, "argv", ["anatomy.py", "--model", str(tiny_bert), "--output_dir", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        script["main"]()
    assert ended.value.code == 1


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--model", "no/such/model/here"], "error: --model no/such/model/here is neither a model folder"),
        (["--text", " "], "error: --text is empty"),
        (["--num_labels", "1"], "error: --num_labels 1: give 2 or more"),
        (["--station", "4", "99"], "error: --station 99: the stations are numbered 1 to "),
        (["--station", "4", "--write_docs"], "error: --write_docs records the whole tour"),
        (["--pause"], "error: --pause waits for Enter"),
        (["--output_dir", "/dev/null/x"], "error: --output_dir /dev/null/x cannot be written"),
    ],
)
def test_a_mistake_is_one_sentence_and_status_2(flags, sentence):
    command = [sys.executable, str(ROOT / "recipes/anatomy.py"), *flags]
    done = run(command)
    assert done.returncode == 2
    assert done.stderr.startswith(sentence)
    assert done.stderr.count("\n") == 1


def test_a_model_of_the_custom_recipe_is_no_model_for_the_tour(tiny_bert, tokenizer, tmp_path):
    build(tiny_bert).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(UserError, match="is a model of the custom recipe, and the tour compares transformers' own"):
        begin(str(tmp_path), None, 2)
