"""How many threads are to compute, and on which GPU."""

import os

import pytest
import torch

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


@pytest.mark.parametrize(
    ("gpus", "local_rank", "chosen"), [(0, 1, None), (1, 3, None), (4, 0, 0), (4, 3, 3), (4, 5, 1)]
)
def test_each_process_takes_the_gpu_of_its_local_rank_among_those_it_sees(gpus, local_rank, chosen, monkeypatch):
    taken = []
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.accelerator, "set_device_index", taken.append)
    devices.take_gpu(local_rank)
    assert taken == ([] if chosen is None else [chosen])


@pytest.mark.parametrize(
    ("processes", "asked", "expected"), [("2", "1", "2"), ("9", "1", "1"), ("2", "3", "3"), ("1", "1", "1")]
)
def test_each_process_takes_its_share_of_the_cores_unless_threads_are_asked_for(
    processes, asked, expected, monkeypatch
):
    monkeypatch.setenv("LOCAL_WORLD_SIZE", processes)
    monkeypatch.setenv("OMP_NUM_THREADS", asked)
    monkeypatch.setattr(devices, "cores", lambda: 8)
    monkeypatch.setattr(devices, "physical_cores", lambda: 4)
    devices.share_cores()
    assert os.environ["OMP_NUM_THREADS"] == expected
    assert devices.threads() == int(expected)
