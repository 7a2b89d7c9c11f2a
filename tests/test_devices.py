"""How many threads are to compute."""

import pytest

from bert_recipes import devices


@pytest.mark.parametrize(("asked", "count"), [("3", 3), ("0", 2), ("", 2), ("many", 2), ("-1", 2), (None, 2)])
def test_threads_are_what_is_asked_for_or_the_cores(asked, count, monkeypatch):
    monkeypatch.setattr(devices, "physical_cores", lambda: 2)
    monkeypatch.delenv("OMP_NUM_THREADS")
    if asked is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", asked)
    assert devices.threads() == count


def test_two_threads_of_a_core_are_one(monkeypatch, tmp_path):
    siblings = {0: "0,4", 1: "1,5", 4: "0,4", 7: "3,7"}
    for number, text in siblings.items():
        (tmp_path / f"{number}").write_text(f"{text}\n")
    monkeypatch.setattr(devices, "SIBLINGS", f"{tmp_path}/{{}}")
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {*siblings}, raising=False)
    assert devices.physical_cores() == 3
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 4, 6}, raising=False)
    assert devices.physical_cores() == 3  # of the last nothing is known, so that each counts
