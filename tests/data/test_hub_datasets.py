"""Data sets as they stand on the Hub: with subsets, in older forms, and in the cache of load_dataset."""

import io

import datasets
import pandas as pd
import pytest
from support.reading import read

from bert_recipes.config.arguments import DataArguments
from bert_recipes.data.sources import read_source
from bert_recipes.errors import UserError

CARD = """---
configs:
- config_name: cola
  data_files:
  - split: train
    path: cola/train-*
  - split: test
    path: cola/test-*
- config_name: sst2
  data_files:
  - split: train
    path: sst2/train-*
  - split: dev
    path: ["sst2/dev.*"]
  - split: extra
    path: sst2/extra.parquet
- config_name: mrpc
  data_dir: mrpc
  data_files: "**/all.parquet"
dataset_info:
- config_name: sst2
  features:
  - name: sentence
    dtype: string
  - name: label
    dtype:
      class_label:
        names: {'0': negative, '1': positive}
---
"""


def parquet(text, count=20):
    rows = {"sentence": [f"{text} {i}" for i in range(count)], "label": [i % 2 for i in range(count)]}
    file = io.BytesIO()
    pd.DataFrame(rows).to_parquet(file)
    return file.getvalue()


@pytest.fixture
def glue(hub):
    return hub.dataset(
        "owner/glue",
        {
            "README.md": CARD,
            "cola/train-0.parquet": parquet("cola"),
            "cola/test-0.parquet": parquet("cola test"),
            "sst2/train-0.parquet": parquet("sst2", 12),
            "sst2/train-1.parquet": parquet("more", 8),
            "sst2/dev.parquet": parquet("dev", 4),
            "sst2/extra.parquet": parquet("extra", 4),
            "mrpc/all.parquet": parquet("mrpc"),
        },
    )


def texts(source, split="train"):
    return source.splits[split]["sentence"][:]


def test_a_subset_is_read_and_its_name_finds_the_very_same_again(hub, glue, capsys):
    source = read_source(DataArguments(dataset=["owner/glue:sst2"]))
    assert source.name == f"owner/glue:sst2@{glue}"
    assert texts(source) == [f"sst2 {i}" for i in range(12)] + [f"more {i}" for i in range(8)]
    assert texts(source, "validation") == [f"dev {i}" for i in range(4)]
    assert source.splits["train"].features["label"].names == ["negative", "positive"]
    assert "not used of its splits are extra" in " ".join(capsys.readouterr().out.split())
    hub.dataset("owner/glue", {"sst2/train-0.parquet": parquet("changed")})
    assert texts(read_source(DataArguments(dataset=["owner/glue:sst2"])))[0] == "changed 0"
    again = read_source(DataArguments(dataset=[source.name]))
    assert (texts(again), again.name) == (texts(source), source.name)


def test_the_other_subsets_stay_where_they_are(hub, glue):
    read_source(DataArguments(dataset=["owner/glue:mrpc"]))
    fetched = {line.split(f"{glue}/")[1].split()[0] for line in hub.asked("GET /datasets/owner/glue/resolve")}
    # The first one's too, in which datasets looks for the format.
    assert fetched >= {"README.md", "mrpc/all.parquet", "cola/train-0.parquet"}
    assert not any("sst2" in path for path in fetched)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("owner/glue", r"has the subsets cola, sst2, mrpc: name one, as in --dataset owner/glue:cola\."),
        ("owner/glue@main", r"name one, as in --dataset owner/glue:cola@main\."),
        ("owner/glue:sst", "owner/glue has no subset sst; did you mean owner/glue:sst2; it has cola, sst2, mrpc"),
        ("owner/plain:sst2", "owner/plain has no subsets: leave :sst2 out"),
        ("owner/many", r"has the subsets s0, s1, s2, s3, s4 and 295 more: name one"),
        ("owner/glue:@main", r"no Hub id either .*owner/name:subset@revision"),
    ],
)
def test_a_subset_that_is_not_named_or_not_there(name, sentence, hub, glue):
    hub.dataset("owner/plain", {"train.csv": "text,label\na,0\n"})
    many = "".join(f"- config_name: s{i}\n  data_files: s{i}.csv\n" for i in range(300))
    hub.dataset("owner/many", {"README.md": f"---\nconfigs:\n{many}---\n", "s0.csv": "text,label\na,0\n"})
    with pytest.raises(UserError, match=sentence):
        read_source(DataArguments(dataset=[name]))


@pytest.mark.parametrize("mark", ["- config_name: default\n", "- config_name: other\n  default: true\n"])
def test_a_default_subset_need_not_be_named(mark, hub):
    card = f"---\nconfigs:\n- config_name: first\n  data_files: a.csv\n{mark}  data_files: b.csv\n---\n"
    files = {"a.csv": "text,label\nfirst,0\n", "b.csv": "text,label\ndefault,0\n"}
    commit = hub.dataset("owner/name", {"README.md": card, **files})
    source = read_source(DataArguments(dataset=["owner/name"]))
    assert source.name == f"owner/name@{commit}"
    assert source.splits["train"]["text"] == ["default"]


def test_the_data_of_a_run_is_named_by_subset_and_commit(glue):
    data = read("owner/glue:sst2", label_column=["label"])
    assert data.source == f"owner/glue:sst2@{glue}"
    assert data.task.label_names == ["negative", "positive"]


def test_what_the_hub_has_converted_is_read_by_subset(hub):
    files = {f"{name}/train/0000.parquet": parquet(name) for name in ("a", "b")}
    commit = hub.dataset("owner/older", files, branch="refs/convert/parquet")
    hub.dataset("owner/older", {"older.py": "", "README.md": ""})
    with pytest.raises(UserError, match=r"made by a script .*--dataset owner/older@refs/convert/parquet"):
        read_source(DataArguments(dataset=["owner/older"]))
    with pytest.raises(UserError, match=r"subsets a, b: name one, as in --dataset owner/older:a@refs/convert/parquet"):
        read_source(DataArguments(dataset=["owner/older@refs/convert/parquet"]))
    source = read_source(DataArguments(dataset=["owner/older:b@refs/convert/parquet"]))
    assert source.name == f"owner/older:b@{commit}"
    assert texts(source) == texts(read_source(DataArguments(dataset=[source.name]))) == [f"b {i}" for i in range(20)]


@pytest.mark.parametrize(
    "files",
    [
        {"README.md": "---\nconfigs: [\n---\n"},
        {"README.md": "---\nconfigs: {a: b}\n---\n"},
        {"README.md": "---\nconfigs: [{data_files: x.csv}]\n---\n"},
        {"README.md": "---\nconfigs: [{config_name: a, data_files: 7}]\n---\n"},
        {"README.md": "---\nconfigs: [{config_name: a, data_files: gone.csv}]\n---\n"},
        {"README.md": "no data"},
        {"train.parquet": "no parquet"},
        {"train.csv": "text,label\na,1\n", "test.csv": "other\nb\n"},
    ],
)
def test_a_data_set_that_cannot_be_read_is_one_sentence(files, hub):
    hub.dataset("owner/name", files)
    with pytest.raises(
        UserError, match=r"cannot be read as it stands on the Hub \(.*\): fetch its files with hf"
    ) as said:
        read_source(DataArguments(dataset=["owner/name"]))
    assert "\n" not in str(said.value)


def test_a_card_that_counts_other_rows_is_no_obstacle(hub):
    info = "{features: [{name: text, dtype: string}], splits: [{name: train, num_bytes: 9, num_examples: 99}]}"
    hub.dataset("owner/name", {"README.md": f"---\ndataset_info: {info}\n---\n", "train.csv": "text\na\nb\n"})
    assert len(read_source(DataArguments(dataset=["owner/name"])).splits["train"]) == 2


def test_what_load_dataset_has_prepared_is_taken_where_the_hub_is_not_asked(hub, glue, monkeypatch):
    datasets.load_dataset("owner/glue", "sst2")
    newest = hub.dataset("owner/glue", {"sst2/train-0.parquet": parquet("changed")})
    datasets.load_dataset("owner/glue", "sst2")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    hub.log.clear()
    for name, commit, first in (
        ("owner/glue:sst2", newest, "changed 0"),
        ("owner/glue", newest, "changed 0"),
        (f"owner/glue:sst2@{glue}", glue, "sst2 0"),
    ):
        source = read_source(DataArguments(dataset=[name]))
        assert (source.name, texts(source)[0]) == (f"owner/glue:sst2@{commit}", first)
        assert list(source.splits) == ["train", "validation"]
    for name in ("owner/glue:cola", f"owner/glue:sst2@{'0' * 40}", "owner/glue:sst2@v2", "owner/other"):
        with pytest.raises(UserError, match="it is not in the cache, and the Hub cannot be reached"):
            read_source(DataArguments(dataset=[name]))
    assert hub.log == []
