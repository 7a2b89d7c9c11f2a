"""Texts are truncated, counted, and tokenized once."""

import os
import subprocess
import sys

from support.reading import ROWS, read

from bert_recipes.data.tokenization import tokenize


def test_tokenizing_cuts_and_counts(tokenizer, tiny_bert, folder):
    (folder / "train.csv").write_text("text,label\n" + "\n".join(f"fire {'flood ' * i},{i % 2}" for i in range(20)))
    tokens = tokenize(read(folder).splits, tokenizer, 8, str(tiny_bert))["train"]
    assert max(tokens["length"]) == 8
    for text, truncated in zip(tokens["text"], tokens["truncated"], strict=True):
        assert truncated == (len(text.split()) + 2 > 8)


def test_a_second_process_reads_tokens_from_the_cache(folder, tiny_bert, tmp_path):
    (folder / "train.csv").write_text("id,text,label\n" + ROWS)
    code = (
        "import sys; from transformers import AutoTokenizer; from bert_recipes import load_data, tokenize;"
        "from bert_recipes import DataArguments;"
        "data = load_data(DataArguments(dataset=sys.argv[1]));"
        "tokenize(data.splits, AutoTokenizer.from_pretrained(sys.argv[2]), int(sys.argv[3]), sys.argv[2])"
    )

    def files(max_length):
        command = [sys.executable, "-c", code, str(folder), str(tiny_bert), str(max_length)]
        subprocess.run(command, check=True, env=os.environ | {"HF_DATASETS_CACHE": str(tmp_path / "datasets")})
        return {path.name for path in (tmp_path / "datasets").rglob("*.arrow")}

    first = files(16)
    assert len(first) >= 4
    assert files(16) == first
    assert len(files(8)) == len(first) + 2
