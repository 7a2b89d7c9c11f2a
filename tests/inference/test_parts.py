"""Several processes leave the bytes of one, wherever they are killed, and refuse what they cannot share."""

import csv
import errno
import gzip
import json
import os
import random
import shutil
import time

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from support import forked
from support.exports import MeanOfTokens, write_export
from support.paths import RECIPES
from support.rows import sentence, write_csv
from support.scripts import run_script
from transformers import AutoModelForSequenceClassification, AutoTokenizer, BertTokenizerFast

from bert_recipes.data import readers
from bert_recipes.inference import batches, parts
from bert_recipes.inference.parts_folder import JOINED, LOCKS, MANIFEST, PartsFolder, taking_part

ROWS = 45


@pytest.fixture(scope="module")
def model(tiny_bert, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    AutoModelForSequenceClassification.from_pretrained(tiny_bert, id2label={0: "no\n", 1: "yes"}).save_pretrained(
        folder
    )
    AutoTokenizer.from_pretrained(tiny_bert).save_pretrained(folder)
    return folder


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Chunks, and so parts, of eight rows or a hundred characters."""
    monkeypatch.setattr(batches, "CHUNK_ROWS", 8)
    monkeypatch.setattr(parts, "CHUNK_ROWS", 8)
    monkeypatch.setattr(batches, "CHUNK_CHARACTERS", 100)


@pytest.fixture
def place(tmp_path, model):
    """A folder with `new.csv`, the flags that predict it, and what one process makes of it."""
    write_csv(tmp_path / "new.csv", [["id", "text"], *([f"r{i}", f"{sentence(i)} {i}"] for i in range(ROWS))])
    return Place(tmp_path, model)


class Place:
    def __init__(self, folder, model):
        self.folder, self.output, self.parts = folder, folder / "out.csv", folder / "out.csv.parts"
        self.said, self.model = folder / "said", model

    def flags(self, source="new.csv", target="out.csv", **more):
        pairs = {"model": self.model, "input": self.folder / source, "output": self.folder / target, "bf16": "false"}
        return [word for name, value in (pairs | more).items() for word in (f"--{name}", value)]

    def of_one(self, source="new.csv", **more):
        """Return the bytes that one process writes."""
        run_script(RECIPES / "predict.py", *self.flags(source, "one.csv", **more), "--debug")
        return (self.folder / "one.csv").read_bytes()

    def run(self, count, *arguments, **more):
        """Run as many to their end; as srun starts them, where each says at once what is wrong."""
        options = {name: more.pop(name) for name in ("names", "before") if name in more}
        return forked.run(count, self.flags(*arguments, **more), said=self.said, **{"names": forked.SRUN, **options})

    def check(self, expected):
        assert self.output.read_bytes() == expected
        assert not self.parts.exists()
        assert [path.name for path in self.folder.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize(("count", "names"), [(2, forked.TORCHRUN), (3, forked.SRUN)])
def test_several_processes_write_what_one_does(count, names, place):
    ended = place.run(count, names=names, before=forked.meeting(count))
    assert [status for status, _ in ended] == [0] * count
    words = "".join(said for _, said in ended)
    assert words.count(f"{ROWS} rows are in {place.output}.") == 1
    predicted = [int(said.split(" predicted ")[1].split()[0]) for _, said in ended]
    assert sum(predicted) == 6
    place.check(place.of_one())


def write(kind, path, first, last):
    frame = pd.DataFrame({"id": range(first, last), "text": [f"{sentence(i)} {i}" for i in range(first, last)]})
    if kind == "parquet":
        frame.to_parquet(path, row_group_size=5)
    else:
        frame.to_csv(path, index=False)


@pytest.mark.parametrize("kind", ["csv.gz", "parquet"])
def test_the_files_of_a_folder_are_one_in_the_order_of_their_names(kind, place):
    (folder := place.folder / "many").mkdir()
    (folder / "_SUCCESS").touch()
    (folder / ".hidden.csv").write_text("a,b\n1,2\n")
    for number, (first, last) in enumerate([(0, 3), (3, 4), (4, 20), (20, 45)]):
        write(kind, folder / f"{number}.{kind}", first, last)
    write(kind, place.folder / f"whole.{kind}", 0, 45)
    whole = place.of_one(f"whole.{kind}")
    assert place.of_one("many") == whole
    assert place.of_one(f"many/*.{kind}") == whole
    assert {status for status, _ in place.run(2, "many")} == {0}
    place.check(whole)


def test_no_rows_make_a_header_and_one_row_a_part(place):
    (place.folder / "none.txt").touch()
    (place.folder / "one.txt").write_text("fire\n")
    for source in ("none.txt", "one.txt"):
        assert {status for status, _ in place.run(3, source)} == {0}
        place.check(place.of_one(source))


def test_one_process_goes_on_with_the_parts_of_several(place):
    whole = place.of_one()
    process = forked.start(2, place.flags(), said=place.said, before=forked.dying_at(30, place.folder))
    assert [one.end()[0] for one in process] == [-9, -9]
    finished = sorted(place.parts.glob("part-*"))
    assert finished
    assert finished[0].name in ("part-00000-of-00006.csv", "part-00001-of-00006.csv")
    ((status, said),) = place.run(1)
    assert status == 0
    assert f"Process 1 of 1 predicted {6 - len(finished)} of 6 parts." in said
    place.check(whole)


def kill_everywhere(place, numbers):
    """Kill one of two processes at a file operation, then, in other runs, both; each time the next start finishes."""
    whole = place.of_one()
    for number in numbers:
        place.output.unlink(missing_ok=True)
        for both in (False, True):
            die = forked.dying_at(number, place.folder)
            processes = [
                forked.Forked(place.flags(), rank, 2, said=place.said, before=die if both or rank else lambda: None)
                for rank in range(2)
            ]
            ended = [process.end()[0] for process in processes]
            assert set(ended) <= {0, -9}
            if -9 in ended:
                count = 1 + number % 3
                assert {status for status, _ in place.run(count)} == {0}
            place.check(whole)


def test_killed_at_some_file_operations_it_ends_with_the_same_bytes(place):
    kill_everywhere(place, random.Random(0).sample(range(60), 4))


@pytest.mark.slow
def test_killed_at_every_file_operation_it_ends_with_the_same_bytes(place):
    kill_everywhere(place, range(120))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_killed_at_any_time_it_ends_with_the_same_bytes(seed, place):
    draw, whole = random.Random(seed), place.of_one()
    for _ in range(20):
        processes = forked.start(draw.randint(2, 4), place.flags(), said=place.said)
        time.sleep(draw.uniform(0, 1.5))
        for process in draw.sample(processes, draw.randint(1, len(processes))):
            process.kill()
        assert {process.end()[0] for process in processes} <= {0, -9}
    assert {status for status, _ in place.run(2)} == {0}
    place.check(whole)


def test_sigterm_leaves_finished_parts_and_nothing_half_written(place):
    def slow():
        whole = parts.write_predictions

        def write(*arguments):
            time.sleep(0.2)
            yield from whole(*arguments)

        parts.write_predictions = write

    processes = forked.start(2, place.flags(), said=place.said, before=slow)
    while not list(place.parts.glob("part-*")):
        time.sleep(0.01)
    for process in processes:
        process.process.terminate()
    assert [process.end()[0] for process in processes] == [143, 143]
    names = set(os.listdir(place.parts))
    assert names > {MANIFEST, LOCKS}
    assert not any(name.startswith(".") for name in names)


def test_one_that_comes_late_predicts_nothing_again(place):
    late = forked.Forked(
        place.flags(), 1, 2, said=place.said, before=lambda: wait_in(PartsFolder, lambda: place.output.exists())
    )
    while not (place.parts / LOCKS).exists():
        time.sleep(0.01)
    first = forked.Forked(place.flags(), 0, 2, said=place.said)
    assert first.end()[0] == 0
    status, said = late.end()
    assert (status, "predicted 0 of 6 parts" in said) == (0, True)
    place.check(place.of_one())


def wait_in(owner, condition):
    """Make a process that has entered the folder wait there."""
    begin = owner.begin

    def waiting(self, *arguments):
        while not condition():
            time.sleep(0.01)
        begin(self, *arguments)

    owner.begin = waiting


def test_parts_of_another_prediction_are_refused_and_kept(place, model):
    shutil.copytree(model, place.folder / "copy")
    [process] = [forked.Forked(place.flags(), 0, 2, said=place.said, before=forked.dying_at(30, place.folder))]
    assert process.end()[0] == -9
    before = sorted(os.listdir(place.parts))
    with (place.folder / "new.csv").open("a") as file:
        file.write("r45,fire\n")
    (place.folder / "copy/config.json").write_text((model / "config.json").read_text().replace("yes", "si"))
    for more, word in (
        ({}, "input"),
        ({"max_length": "20"}, "input and precision, device or maximum length"),
        ({"text_column": "id", "model": place.folder / "copy"}, "input and model and reading of the input"),
    ):
        for count in (1, 2):
            ended = place.run(count, **more)
            assert {status for status, _ in ended} == {2}
            assert f"holds parts of another prediction, with another {word}: go on with that one" in ended[0][1]
    assert [name for name in sorted(os.listdir(place.parts)) if not name.startswith(".")] == [
        name for name in before if not name.startswith(".")
    ]
    assert not place.output.exists()


def test_what_a_killed_joiner_left_is_no_obstacle(place):
    whole = place.of_one()
    assert {status for status, _ in place.run(2)} == {0}
    place.parts.mkdir()
    (place.parts / MANIFEST).write_text(json.dumps({"of": {"input": "of yesterday"}, "parts": 1}))
    (place.parts / JOINED).write_text(json.dumps({"size": 1, "changed": 2}))
    assert {status for status, _ in place.run(2)} == {0}
    place.check(whole)


@pytest.mark.parametrize("left", [JOINED, "part-00000-of-00006.csv"])
def test_what_one_left_that_was_killed_while_it_removed_the_rest_is_not_taken(left, place):
    whole = place.of_one()
    place.parts.mkdir()
    for name in (LOCKS, left):
        (place.parts / name).write_text(whole.decode()[:60])
    assert {status for status, _ in place.run(1)} == {0}
    place.check(whole)


@pytest.mark.parametrize(
    ("more", "sentence_"),
    [
        (
            {"input": "-"},
            "2 processes (PROCS, WORLD_SIZE or SLURM_STEP_NUM_TASKS says so) cannot share standard input",
        ),
        ({"output": "-"}, "cannot share standard output: name a file with --output"),
        ({"output": "/dev/null"}, "cannot share /dev/null: name a file"),
        ({"output": "none/out.csv"}, "none/out.csv cannot be written: No such file or directory"),
        ({"input": "none.csv"}, "none.csv: there is no such file"),
        ({"input": "*.nothing"}, "no file is of that pattern"),
        ({"model": "nothing"}, "neither a model folder nor a Hub id"),
    ],
)
def test_a_mistake_is_a_sentence_of_each_and_leaves_nothing(more, sentence_, place, monkeypatch):
    monkeypatch.chdir(place.folder)
    for status, said in place.run(2, **more):
        assert status == 2
        assert sentence_ in said
        assert said.count("\n") == 1
    assert {path.name for path in place.folder.iterdir()} == {"new.csv", "said.0", "said.1"}


def test_files_that_do_not_fit_are_refused_before_anything_is_predicted(place):
    (place.folder / "many").mkdir()
    for name, columns in (("a.csv", ["id", "text"]), ("b.csv", ["id", "text", "more"])):
        write_csv(place.folder / "many" / name, [columns, ["1", "fire", "x"][: len(columns)]])
    (place.folder / "short.csv").write_text("id,text\n1,fire\n2\n")
    (place.folder / "cut.csv.gz").write_bytes(gzip.compress(b"id,text\n1,fire\n" * 50)[:-9])
    (place.folder / "empty.csv").touch()
    for source, sentence_ in (
        ("many", "many/b.csv has other columns (id, text, more) than"),
        ("short.csv", "line 3 has 1 cells"),
        ("cut.csv.gz", "cannot be unpacked"),
        ("empty.csv", "is empty"),
    ):
        for status, said in place.run(2, source):
            assert (status, sentence_ in said) == (2, True), said
        assert not place.parts.exists()


def test_a_row_that_cannot_be_read_fails_the_processes_and_finished_parts_stay(place, monkeypatch):
    monkeypatch.setattr(readers, "BATCH_ROWS", 4)
    texts = pa.array([b"fire"] * 20 + [b"\xff"] * 2).view(pa.string())
    pq.write_table(pa.table({"text": texts}), place.folder / "bad.parquet", row_group_size=4)
    ended = place.run(2, "bad.parquet")
    # One may have left while the other was at it.
    assert {2} <= {status for status, _ in ended} <= {0, 2}
    assert all(("bad.parquet cannot be read as parquet" in said) == (status == 2) for status, said in ended)
    assert {path.name for path in place.parts.iterdir()} == {
        *(MANIFEST, LOCKS, "part-00000-of-00003.csv", "part-00001-of-00003.csv")
    }
    assert not place.output.exists()


def test_the_mean_of_folds_and_of_a_blend(place, model):
    def save(folder, **configuration):
        folder.mkdir(parents=True)
        (folder / "run.yaml").write_text(yaml.safe_dump({"recipe": "stock", "max_length": 32} | configuration))
        (folder / "metrics.json").write_text("{}")

    save(place.folder / "folds", folds=2)
    for name in ("folds/folds/1", "folds/folds/2", "run"):
        save(place.folder / name)
        shutil.copytree(model, place.folder / name / "model")
    runs = [str(place.folder / name) for name in ("folds", "run")]
    save(place.folder / "blend", recipe="blend", runs=runs, weights=[0.25, 0.75])
    for name in ("folds", "blend"):
        expected = place.of_one(model=place.folder / name)
        assert {status for status, _ in place.run(2, model=place.folder / name)} == {0}
        place.check(expected)


def test_a_folder_that_is_none_of_ours_is_left_alone(place):
    place.parts.mkdir()
    (place.parts / "thesis.tex").write_text("mine")
    for count in (1, 2):
        for status, said in place.run(count):
            assert status == 2
            assert "and holds thesis.tex: move that, or name another --output" in said
    assert os.listdir(place.parts) == ["thesis.tex"]
    shutil.rmtree(place.parts)
    place.parts.write_text("a file")
    for status, said in place.run(2):
        assert (status, "cannot be made: Not a directory" in said) == (2, True)
    assert place.parts.read_text() == "a file"
    place.parts.unlink()
    place.parts.mkdir()
    (place.parts / MANIFEST).write_text("{")
    for status, said in place.run(2):
        assert (status, "parts.json is damaged" in said) == (2, True)


def test_a_file_system_without_locks_is_a_sentence(place, monkeypatch):
    def lockf(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.lockf", lockf)
    for status, said in place.run(2):
        assert status == 2
        assert "is on a file system without locks (No locks available)" in said
    assert not place.parts.exists()


def test_processes_that_come_and_go_at_once_never_leave_the_folder_behind(place):
    def come_and_go():
        for _ in range(100):
            with taking_part(str(place.output)) as folder:
                assert folder.path.is_dir()
        os._exit(0)

    for process in forked.start(3, place.flags(), said=place.said, before=come_and_go):
        assert process.end() == (0, "")
    assert not place.parts.exists()


def test_an_export_is_predicted_in_parts_too(place, tokenizer):
    own = BertTokenizerFast(vocab=tokenizer.get_vocab(), model_max_length=64)
    export = write_export(place.folder / "export", own, MeanOfTokens())
    whole = place.of_one(model=export)
    assert {status for status, _ in place.run(2, model=export)} == {0}
    place.check(whole)
    # Another graph under the same names, and the parts of the first.
    process = forked.Forked(
        place.flags(model=export), 0, 2, said=place.said, before=forked.dying_at(30, place.folder / "out.csv")
    )
    assert process.end()[0] == -9
    shutil.rmtree(export)
    write_export(export, own, MeanOfTokens(seed=1))
    assert "with another model: go on with that one" in place.run(2, model=export)[0][1]


def test_a_damaged_part_is_not_joined(place):
    process = forked.Forked(place.flags(), 0, 2, said=place.said, before=forked.dying_at(40, place.folder))
    assert process.end()[0] == -9
    first, *_ = sorted(place.parts.glob("part-*"))
    first.write_bytes(b"")
    assert 2 in {status for status, _ in place.run(2)}
    assert not place.output.exists()
    first.unlink()
    assert {status for status, _ in place.run(2)} == {0}
    place.check(place.of_one())


def test_the_number_of_parts_is_bounded(place, monkeypatch):
    monkeypatch.setattr(parts, "MOST_PARTS", 4)
    monkeypatch.setattr(batches, "CHUNK_CHARACTERS", 60)
    whole = place.of_one()
    with taking_part(str(place.output)) as folder:
        folder.begin({}, lambda: parts._plan(parts.InputRows([str(place.folder / "new.csv")])))
        assert (folder.manifest["parts"], folder.manifest["part_rows"]) == (3, 16)
        folder._clear(os.listdir(place.parts))
    assert {status for status, _ in place.run(2)} == {0}
    place.check(whole)
    with place.output.open(newline="") as file:
        assert next(csv.reader(file)) == ["id", "prediction", "no\n", "yes"]
