"""What this process computes on: cores and threads, GPUs, half precision, memory."""

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import TrainingArguments


# Where Linux says which of its processors are threads of one core.
SIBLINGS = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def physical_cores() -> int:
    """Return the number of cores that this process may use, where two threads of one core count once."""
    if not hasattr(os, "sched_getaffinity"):
        return cores()
    files = [Path(SIBLINGS.format(number)) for number in os.sched_getaffinity(0)]
    # A container may not show them.
    return len({file.read_text(encoding="utf-8") for file in files}) if all(map(Path.exists, files)) else cores()


def threads() -> int:
    """Return how many threads are to compute: what OMP_NUM_THREADS says, or one for each core."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return int(asked) if asked.isdecimal() and int(asked) > 0 else physical_cores()


def share_threads() -> None:
    """Give each process of this machine its share of the cores, where `accelerate launch` left it a single thread."""
    import torch

    if (processes := _left_one_thread_each()) > 1:
        torch.set_num_threads(max(1, cores() // processes))


def share_cores() -> None:
    """Say in the environment, for what is loaded from now on, that this process has its share of `threads`.

    That is, where `accelerate launch` or torchrun left it a single one, its share of what one process would have.
    """
    if (processes := _left_one_thread_each()) > 1:
        os.environ["OMP_NUM_THREADS"] = str(max(1, physical_cores() // processes))


def _left_one_thread_each() -> int:
    """Return how many processes of this machine a launcher has left a single thread each; 1 where it has not."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if os.environ.get("OMP_NUM_THREADS") == "1" else 1


def take_gpu(local_rank: int) -> None:
    """Compute on the GPU of that number among those that this process sees; srun may show each process its own alone.

    Args:
        local_rank: the number of this process among those of its machine.
    """
    import torch

    if torch.accelerator.is_available() and (gpus := torch.accelerator.device_count()) > 1:
        torch.accelerator.set_device_index(local_rank % gpus)


def has_native_bf16(use_cpu: bool = False) -> bool:
    """Whether the device that training would use multiplies bfloat16 matrices in hardware."""
    import torch

    if torch.cuda.is_available() and not use_cpu:
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if not hasattr(torch.cpu, "get_capabilities"):  # torch 2.11
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))


def half_precision(use_cpu: bool = False) -> str:
    """Return the half precision that the device that training would use is fast in: `bf16`, `fp16` or `no`.

    A GPU without bfloat16 has tensor cores for float16 since compute capability 7.0: V100 and T4 do, P100 does not.
    """
    import torch

    if has_native_bf16(use_cpu):
        return "bf16"
    if torch.cuda.is_available() and not use_cpu and torch.cuda.get_device_capability() >= (7, 0):
        return "fp16"
    return "no"


def describe_device(training: "TrainingArguments") -> str:
    """Name the devices of a training and its precision, as in `2 x NVIDIA H100 in bfloat16`."""
    import torch

    float16 = "float16 with loss scaling"
    name = torch.cuda.get_device_name() if training.device.type == "cuda" else training.device.type.upper()
    count = f"{training.world_size} x {name}" if training.world_size > 1 else name
    return f"{count} in {'bfloat16' if training.bf16 else float16 if training.fp16 else 'float32'}"


def peak_memory() -> int:
    """Return the most bytes that this process has had in memory so far, as the system counts them."""
    status = Path("/proc/self/status")
    if status.exists():
        # On Linux a new process inherits the maximum that getrusage tells from the one that started it.
        found = re.search(r"VmHWM:\s+(\d+)", status.read_text(encoding="utf-8"))
        if found:
            return int(found[1]) * 1024
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
