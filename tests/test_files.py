"""Files are written whole or not at all, and nothing of the user's changes beside their content."""

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from bert_recipes.errors import UserError
from bert_recipes.files import check_replaceable, digest_of, read_json, read_yaml, writing


def write(path, text="new", mode="w"):
    with writing(path, mode) as file:
        file.write(text if mode == "w" else text.encode())


def mode_of(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("mode", ["w", "wb"])
def test_a_file_is_whole_or_as_it_was(mode, tmp_path):
    path = tmp_path / "a.csv"
    write(path, "first", mode)
    with pytest.raises(TypeError), writing(path, mode) as file:
        file.writelines(["half", 3] if mode == "w" else [b"half", 3])
    assert path.read_text() == "first"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_a_new_file_has_the_mode_that_the_umask_says(umask, tmp_path):
    before = os.umask(umask)
    try:
        write(tmp_path / "a")
    finally:
        os.umask(before)
    assert mode_of(tmp_path / "a") == 0o666 & ~umask


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o666, 0o755, 0o4755])
def test_a_replaced_file_keeps_its_mode(mode, tmp_path):
    path = tmp_path / "a"
    path.write_text("old")
    path.chmod(mode)
    write(path)
    assert (mode_of(path), path.read_text()) == (mode, "new")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_a_replaced_file_keeps_its_owner(tmp_path):
    path = tmp_path / "a"
    path.write_text("old")
    os.chown(path, 1234, 2345)
    write(path)
    assert (path.stat().st_uid, path.stat().st_gid) == (1234, 2345)


@pytest.mark.parametrize("there", [True, False])
def test_a_link_stays_and_what_it_leads_to_is_replaced(there, tmp_path):
    (tmp_path / "far").mkdir()
    target = tmp_path / "far/target.csv"
    if there:
        target.write_text("old")
    link, second = tmp_path / "link", tmp_path / "second"
    link.symlink_to("far/target.csv")
    second.symlink_to(link)
    write(second)
    assert second.is_symlink()
    assert link.is_symlink()
    assert target.read_text() == "new"
    assert [path.name for path in (tmp_path / "far").iterdir()] == ["target.csv"]


def test_a_device_stays_a_device():
    write(Path(os.devnull))
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)


def test_a_pipe_is_written_through(tmp_path):
    path, got = tmp_path / "pipe", []
    os.mkfifo(path)
    reader = threading.Thread(target=lambda: got.append(path.read_text()))
    reader.start()
    write(path, "some text")
    reader.join(10)
    assert got == ["some text"]
    assert stat.S_ISFIFO(path.stat().st_mode)


TO_STDOUT = """
from pathlib import Path
from bert_recipes.files import check_replaceable, digest_of, read_json, read_yaml, writing
for name in ("/dev/stdout", "/dev/fd/1", "link"):
    with writing(Path(name)) as file:
        file.write(name)
"""


@pytest.mark.parametrize("to", ["pipe", "file"])
def test_standard_output_is_written_through(to, tmp_path):
    (tmp_path / "link").symlink_to("/dev/stdout")
    with (tmp_path / "out").open("a") as out:
        stdout = subprocess.PIPE if to == "pipe" else out
        done = subprocess.run([sys.executable, "-c", TO_STDOUT], stdout=stdout, cwd=tmp_path, text=True, check=True)
    assert (tmp_path / "link").is_symlink()
    if to == "pipe":
        assert done.stdout == "/dev/stdout/dev/fd/1link"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "out"]


def test_what_processes_that_are_gone_have_left_is_removed(tmp_path):
    gone = subprocess.Popen(["true"])
    gone.wait()
    stale, alive = tmp_path / f".a.csv.{gone.pid}", tmp_path / f".a.csv.{os.getppid()}"
    others = [tmp_path / name for name in (f".b.csv.{gone.pid}", ".a.csv.bak", ".a.csv", f"a.csv.{gone.pid}")]
    for path in (stale, alive, *others):
        path.write_text("half")
    write(tmp_path / "a.csv")
    assert not stale.exists()
    assert all(path.exists() for path in (alive, *others))


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        (".", "cannot be written: Is a directory"),
        ("no/such/a.csv", "a.csv cannot be written: No such file or directory"),
        ("file/a.csv", "a.csv cannot be written: Not a directory"),
        ("x" * 300, "cannot be written: File name too long"),
    ],
)
def test_where_nothing_can_be_written_is_said(name, sentence, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=sentence):
        write(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


DAMAGED_YAML = [
    "[" * 10**4,
    "a: 2024-99-99",
    "a: !!int x",
    "a: !!bool x",
    "a: !!timestamp x",
    "? [a]\n: 1",
    "\tx",
    "a: [1",
    "3",
]


@pytest.mark.parametrize("text", DAMAGED_YAML, ids=range(len(DAMAGED_YAML)))
def test_damaged_yaml_is_one_sentence(text, tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=r"run.yaml (is no YAML|must hold keys)") as caught:
        read_yaml(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff", b"[" * 10**5, b'{"a": 1}}'], ids=range(6))
def test_damaged_json_is_one_sentence(data, tmp_path):
    path = tmp_path / "metrics.json"
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"metrics.json is damaged \(.*\): run it again"):
        read_json(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(UserError, match=r"metrics.json cannot be read: Is a directory"):
        read_json(path)


def test_what_could_not_be_written_is_said_before(tmp_path):
    (tmp_path / "a").write_text("old")
    (tmp_path / "folder").mkdir()
    for name in ("a", "new"):
        check_replaceable(tmp_path / name)
    for name, said in (("folder", "Is a directory"), ("none/a", "No such file or directory")):
        for attempt in (lambda path: check_replaceable(path), write):
            with pytest.raises(UserError, match=f"{name} cannot be written: {said}"):
                attempt(tmp_path / name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "folder"]


def test_the_digest_of_a_file_is_sha_256(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert digest_of(tmp_path / "a").startswith("ba7816bf8f01cfea414140de5dae2223b00361a396177a9c")
