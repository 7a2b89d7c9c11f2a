"""Seven competitions, each from its files, in their own shape with made-up rows, to its submission in one command.

The commands are those of docs/data.md.
"""

import csv
import io
import random

import pytest
from support.rows import sentence
from support.scripts import predictions, recipe

JIGSAW = ["toxic", "severe_toxic", "obscene", "threat", "insult", "identity_hate"]
AUTHORS = ["EAP", "HPL", "MWS"]
TRAINED, ASKED = range(80), list(range(100, 120))


def table(header, rows, delimiter=","):
    """Return a delimited file as the competitions write it: cells are quoted where that is needed."""
    text = io.StringIO()
    out = csv.writer(text, delimiter=delimiter, lineterminator="\n")
    out.writerows([header, *rows])
    return text.getvalue()


def shuffled(rows):
    """Return rows in an order of their own, so that numbers of rows are no ids."""
    return random.Random(0).sample(list(rows), len(rows))


def write(folder, files, encoding="utf-8"):
    for name, content in files.items():
        (folder / name).write_text(content, encoding=encoding)


def disaster_tweets(folder):
    header = ["id", "keyword", "location", "text", "target"]
    rows = [[i, "fire" if i % 3 else "", "", f"{sentence(i)} {i}", i % 2] for i in TRAINED]
    asked = [[i, "", "", f"{sentence(i)}, really"] for i in ASKED]
    sample = table(["id", "target"], [[i, 0] for i in ASKED])
    write(
        folder,
        {"train.csv": table(header, rows), "test.csv": table(header[:-1], asked), "sample_submission.csv": sample},
    )


def jigsaw(folder):
    rows = [[f"{i:016x}", f'"{sentence(i)}"\n{i}', *(int(i % (k + 2) == 0) for k in range(6))] for i in TRAINED]
    asked = [[f"{i:016x}", sentence(i)] for i in ASKED]
    write(
        folder,
        {
            "train.csv": table(["id", "comment_text", *JIGSAW], rows),
            "test.csv": table(["id", "comment_text"], asked),
            "test_labels.csv": table(["id", *JIGSAW], [[i, *[-1] * 6] for i, _ in asked]),
            "sample_submission.csv": table(["id", *JIGSAW], [[i, *[0.5] * 6] for i, _ in asked]),
        },
    )


def spooky_author(folder):
    rows = [[f"id{i:05}", f"{sentence(i)} {i}.", AUTHORS[i % 3]] for i in TRAINED]
    asked = [[f"id{i:05}", sentence(i)] for i in ASKED]
    sample = [[i, 0.4, 0.13, 0.47] for i, _ in asked]
    write(
        folder,
        {
            "train.csv": table(["id", "text", "author"], rows),
            "test.csv": table(["id", "text"], asked),
            "sample_submission.csv": table(["id", *AUTHORS], sample),
        },
    )


def movie_reviews(folder):
    rows = [[i + 1, i // 4, f"{sentence(i)} {i}", i % 5] for i in TRAINED]
    asked = [[i, i // 4, sentence(i)] for i in shuffled(ASKED)]
    write(
        folder,
        {
            "train.tsv": table(["PhraseId", "SentenceId", "Phrase", "Sentiment"], rows, "\t"),
            "test.tsv": table(["PhraseId", "SentenceId", "Phrase"], asked, "\t"),
            "sampleSubmission.csv": table(["PhraseId", "Sentiment"], [[i, 2] for i in ASKED]),
        },
    )


def commonlit(folder):
    header = ["id", "url_legal", "license", "excerpt", "target", "standard_error"]
    rows = [[f"c{i:08x}", "", "", f"{sentence(i)}.\n{i}", i / 40 - 1.5, 0.4 + i / 1000] for i in TRAINED]
    asked = [[f"c{i:08x}", "", "", sentence(i)] for i in ASKED]
    sample = table(["id", "target"], [[row[0], 0.0] for row in asked])
    write(
        folder,
        {"train.csv": table(header, rows), "test.csv": table(header[:-2], asked), "sample_submission.csv": sample},
    )


def dacon_news(folder):
    rows = [[i, f"인천→핀란드 항공기 결항 {sentence(i)} {i}", i % 7] for i in TRAINED]
    asked = [[i, f"휴가철 여행객 분통… {sentence(i)}"] for i in shuffled(ASKED)]
    files = {
        "train_data.csv": table(["index", "title", "topic_idx"], rows),
        "test_data.csv": table(["index", "title"], asked),
        "sample_submission.csv": table(["index", "topic_idx"], [[i, 0] for i in ASKED]),
    }
    write(folder, files, "cp949")


def nsmc(folder):
    for split, numbers in (("train", TRAINED), ("test", ASKED)):
        rows = ["id\tdocument\tlabel"]
        for i in numbers:
            mark = '"' if i % 9 == 0 else ""  # some reviews open a quotation and never close it
            rows.append(f"{i}\t{mark}아 더빙.. 진짜 짜증나네요 {sentence(i)} {i}\t{i % 2}")
        (folder / f"ratings_{split}.txt").write_text("\n".join(rows) + "\n", encoding="utf-8")


PROBABILITY = "a probability"
# What makes the files, the flags of the one command, the form of the submission and what its cells are.
COMPETITIONS = {
    "disaster tweets": (disaster_tweets, [], ["id", "target"], {"0", "1"}),
    "Jigsaw": (jigsaw, [], ["id", *JIGSAW], PROBABILITY),
    "Spooky Author": (spooky_author, [], ["id", *AUTHORS], PROBABILITY),
    "movie reviews": (movie_reviews, [], ["PhraseId", "Sentiment"], {"0", "1", "2", "3", "4"}),
    "CommonLit": (commonlit, [], ["id", "target"], "a number"),
    "Dacon news": (dacon_news, ["--encoding", "cp949"], ["index", "topic_idx"], set("0123456")),
    "NSMC": (nsmc, ["--quoting", "none"], None, {"0", "1"}),
}


@pytest.mark.parametrize("name", COMPETITIONS)
def test_from_files_to_submission(name, tiny_bert, tmp_path):
    make, flags, header, cells = COMPETITIONS[name]
    data = tmp_path / "data"
    data.mkdir()
    make(data)
    recipe("stock", tmp_path / "run", data, tiny_bert, "--max_steps", "3", *flags)
    predicted = {row["id"]: row["prediction"] for row in predictions(tmp_path / "run")}
    assert len(predicted) == len(ASKED)
    if header is None:
        assert list(predicted) == [str(i) for i in ASKED]
        assert set(predicted.values()) <= cells
        return
    sample = next(file for file in data.iterdir() if file.name.lower().startswith("sample"))
    with (tmp_path / "run/submission.csv").open(encoding="utf-8") as file:
        rows = list(csv.reader(file))
    with sample.open(encoding="cp949" if "cp949" in flags else "utf-8") as file:
        asked = [row[0] for row in csv.reader(file)]
    assert rows[0] == header
    assert [row[0] for row in rows] == asked
    written = [cell for row in rows[1:] for cell in row[1:]]
    if cells == PROBABILITY:
        assert all(0 < float(cell) < 1 for cell in written)
    elif cells == "a number":
        assert all(abs(float(cell)) < 10 for cell in written)
    else:
        assert set(written) <= cells
        assert written == [predicted[i] for i in asked[1:]]
