"""Does a meter see what a process costs?"""

import os
import subprocess
import sys
import time

import pytest

from paidonce.bench.meters import Meter, at, meters

SERIES = [(10.0, 1.0), (12.0, 3.0), (12.0, 3.5), (20.0, 3.5)]


@pytest.mark.parametrize(
    ("moment", "value"), [(0.0, 1.0), (10.0, 1.0), (11.0, 2.0), (12.0, 3.0), (16.0, 3.5), (99.0, 3.5)]
)
def test_between_samples_a_value_is_by_proportion(moment, value):
    assert at(SERIES, moment) == value


def test_no_sample_is_nothing():
    assert at([], 1.0) == 0.0


def test_work_is_seen_and_a_child_that_has_ended_still_counts():
    [meter] = meters({"me": os.getpid()}).values()
    began = time.monotonic()
    # Burns a tenth of a second of CPU, however slow the machine is.
    burn = "import time\nwhile time.process_time() < 0.1: pass"
    subprocess.run([sys.executable, "-c", burn], check=True)
    meter.look()
    assert meter.cpu_s(began, time.monotonic()) >= 0.08
    assert meter.peak_mb() > 10


def test_a_process_that_has_ended_keeps_its_last_sample():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    meter = Meter(child.pid)
    meter.look()
    child.communicate(b"\n")
    meter.look()
    assert len(meter.cpu) == len(meter.memory) == 1
    assert meter.cpu_s(0.0, time.monotonic()) == 0.0
