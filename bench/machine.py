"""On which machine, and when? A figure without that says nothing."""

import os
import platform
from datetime import UTC, datetime
from pathlib import Path

import psutil


def describe() -> str:
    """Return one line: the day, processor, cores, memory, system and Python."""
    today = datetime.now(UTC).date().isoformat()
    memory_gb = psutil.virtual_memory().total / 2**30
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return (
        f"{today}: {cores} cores of {_processor()}, {memory_gb:.0f} GB, "
        f"{platform.system()}, Python {platform.python_version()}"
    )


def _processor() -> str:
    described = Path("/proc/cpuinfo")
    if described.is_file():
        for line in described.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
