"""What a process that shares its machine with others computes on."""

import pytest
import torch

from bert_recipes.devices import cores, share_machine


@pytest.mark.parametrize(
    ("gpus", "local_rank", "chosen"), [(0, 1, None), (1, 3, None), (4, 0, 0), (4, 3, 3), (4, 5, 1)]
)
def test_each_process_takes_the_gpu_of_its_local_rank_among_those_it_sees(gpus, local_rank, chosen, monkeypatch):
    taken = []
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.accelerator, "set_device_index", taken.append)
    share_machine(local_rank)
    assert taken == ([] if chosen is None else [chosen])


@pytest.mark.parametrize(
    ("processes", "asked", "expected"), [("2", "1", 2), ("9", "1", 1), ("2", "3", 7), ("1", "1", 7)]
)
def test_each_process_takes_its_share_of_the_cores_unless_threads_are_asked_for(
    processes, asked, expected, monkeypatch
):
    before = torch.get_num_threads()
    monkeypatch.setenv("LOCAL_WORLD_SIZE", processes)
    monkeypatch.setenv("OMP_NUM_THREADS", asked)
    monkeypatch.setattr("bert_recipes.devices.cores", lambda: 4)
    try:
        torch.set_num_threads(7)
        share_machine(0)
        assert torch.get_num_threads() == expected
    finally:
        torch.set_num_threads(before)
    assert cores() >= 1
