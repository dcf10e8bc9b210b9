"""How a process uses the machine: threads, memory, denormals."""

import ctypes
import os
import platform

import torch

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3


def configure(threads: int, deterministic: bool = False) -> None:
    """Set the number of CPU threads, flush denormals, and keep freed memory.

    deterministic: equal bits each time also on a GPU; where torch knows no such form of an operation it raises.

    Large temporaries otherwise go back to the system at each step and are paged in again at the next: measured at 7 to
    20 percent of a training step. mallopt is glibc's; elsewhere nothing happens.
    """
    torch.set_num_threads(threads)
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read as CUDA starts
        torch.use_deterministic_algorithms(True)
    torch.set_flush_denormal(True)
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, 1 << 30)
        libc.mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1)
        libc.mallopt(M_TOP_PAD, 1 << 28)
