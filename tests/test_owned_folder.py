"""One process holds a folder, and of it only this project's own files are ever removed."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from bert_recipes.errors import UserError
from bert_recipes.owned_folder import LOCK, OwnedFolder, holding, in_bytes

FILES = ("run.yaml", "plots/*.png", "logs/**")
HOLD = """
import sys, time
from pathlib import Path
from bert_recipes.owned_folder import OwnedFolder
folder = OwnedFolder(Path(sys.argv[1]), "run", ())
folder.hold(shared=sys.argv[2] == "shared")
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "run"
    path.mkdir()
    return OwnedFolder(path, "run", FILES)


@pytest.fixture
def other_process(folder):
    started = []

    def start(kind="alone"):
        process = subprocess.Popen([sys.executable, "-c", HOLD, folder.path, kind], stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def write(folder, *names):
    for name in names:
        file = folder.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)


def test_a_second_process_is_told_who_holds_it_and_death_lets_it_go(folder, other_process):
    process = other_process()
    with pytest.raises(UserError, match=f"is in use by process {process.pid} on .*: wait for it, or name another"):
        folder.hold()
    process.send_signal(signal.SIGKILL)
    process.wait()
    folder.hold()
    folder.release()
    assert not list(folder.path.iterdir())


def test_some_may_share_it_and_none_alone_meanwhile(folder, other_process):
    other_process("shared")
    folder.hold(shared=True)
    folder.release()
    assert (folder.path / LOCK).exists()
    with pytest.raises(UserError, match="is in use"):
        folder.hold()


def test_another_thread_is_refused_and_the_same_one_may_begin_again(folder):
    folder.hold()
    again = OwnedFolder(folder.path, "run", FILES)
    caught = []

    def hold():
        try:
            again.hold()
        except UserError as error:
            caught.append(str(error))

    thread = threading.Thread(target=hold)
    thread.start()
    thread.join()
    assert f"is in use by process {os.getpid()}" in caught[0]
    again.hold()  # as after an exception in a notebook, whose traceback keeps the first one alive
    again.release()


def test_a_folder_that_was_made_for_nothing_is_removed_again(tmp_path):
    path = tmp_path / "new" / "run"
    with pytest.raises(UserError, match="a mistake"), holding(OwnedFolder(path, "run", FILES)):
        raise UserError("a mistake")
    assert not path.exists()


def test_strange_files_are_told_wherever_they_stand(folder):
    write(
        folder, "run.yaml", "plots/loss.png", "logs/a/b/c", ".run.yaml.77", "plots/.loss.png.8", ".replaced/run.yaml"
    )
    assert folder.strangers() == []
    write(folder, "thesis.tex", "plots/mine.svg", "plots/deep/loss.png", ".thesis.tex.77", ".cache.2")
    assert folder.strangers() == [".cache.2", ".thesis.tex.77", "plots/deep/loss.png", "plots/mine.svg", "thesis.tex"]
    with pytest.raises(UserError, match=r"also holds \.cache\.2, .*thesis\.tex, which no run writes"):
        folder.check_replaceable([])


def test_half_written_files_of_a_killed_process_are_removed_and_no_others(folder):
    write(folder, ".run.yaml.77", "plots/.loss.png.8")
    assert not folder.is_empty  # plots/ stands there
    write(folder, ".thesis.tex.77", "run.yaml.77")
    folder.remove_temporary_files()
    left = {str(file.relative_to(folder.path)) for file in folder.path.rglob("*") if file.is_file()}
    assert left == {".thesis.tex.77", "run.yaml.77"}


def test_only_half_written_files_are_as_good_as_none(folder):
    write(folder, ".run.yaml.77")
    assert folder.is_empty
    write(folder, ".thesis.tex.77")
    assert not folder.is_empty


@pytest.mark.parametrize("used", ["data/train.csv", "."])
def test_what_is_in_use_is_not_replaced(used, folder, monkeypatch):
    write(folder, "run.yaml", "logs/data/train.csv")
    path = folder.path / "logs" / used
    with pytest.raises(UserError, match=r"holds .*logs.*, which is in use"):
        folder.check_replaceable([path])
    folder.check_replaceable([folder.path.parent, folder.path.parent / "elsewhere"])
    monkeypatch.chdir(folder.path)
    with pytest.raises(UserError, match="holds the working directory"):
        folder.check_replaceable([])


def test_a_link_out_of_the_folder_is_strange_and_never_followed(folder, tmp_path):
    write(folder, "run.yaml")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "thesis.tex").write_text("two years of work")
    (folder.path / "plots").symlink_to(outside)
    assert folder.strangers() == ["plots"]
    folder.set_aside(finished=False)
    assert (outside / "thesis.tex").exists()


def test_a_finished_one_waits_until_its_successor_is_finished(folder):
    write(folder, "run.yaml", "logs/a")
    folder.hold()
    folder.set_aside(finished=True)
    write(folder, "run.yaml")
    folder.set_aside(finished=False)  # the successor was interrupted, and begins again
    assert (folder.path / ".replaced/logs/a").read_text() == "logs/a"
    assert {entry.name for entry in folder.path.iterdir()} == {LOCK, ".replaced"}
    folder.drop_replaced()
    folder.release()
    assert not list(folder.path.iterdir())


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 bytes"), (1023, "1023 bytes"), (3 * 2**20, "3.0 MiB"), (5e12, "4656.6 GiB")]
)
def test_bytes_are_told_in_a_unit_that_shows_them(count, text):
    assert in_bytes(count) == text


def test_setting_aside_that_was_killed_is_undone(folder, monkeypatch):
    write(folder, "run.yaml", "logs/a", "plots/loss.png")
    before = sorted(str(file) for file in folder.path.rglob("*"))
    for moved in (1, 2, 3):
        count = 0
        replace = type(folder.path).replace

        def killed(self, target, moved=moved, replace=replace):
            nonlocal count
            count += 1
            if count > moved:
                raise KeyboardInterrupt
            return replace(self, target)

        monkeypatch.setattr(type(folder.path), "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            folder.set_aside(finished=True)
        monkeypatch.undo()
        folder.undo_setting_aside()
        assert sorted(str(file) for file in folder.path.rglob("*")) == before


def test_a_folder_is_a_runs_until_all_else_is_removed(folder, monkeypatch):
    write(folder, "run.yaml", "logs/a", "plots/loss.png")
    removed = []
    monkeypatch.setattr("bert_recipes.owned_folder._remove", lambda entry: removed.append(entry.name))
    folder.set_aside(finished=False)
    assert removed[-1] == "run.yaml"
    assert len(removed) == 3
