"""SIPp and deferred.xml: how many were answered 200, and how soon."""

import csv
import glob
import os
import subprocess
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent


def sipp(server, rate, seconds, first=0, status=200):
    """(answers with this status, others or none, seconds, their times in ms)"""
    host, port = server.address
    with tempfile.TemporaryDirectory(prefix="bench-rtt-") as folder:
        scenario = os.path.join(folder, "scenario.xml")
        with open(scenario, "w", encoding="utf-8") as file:
            file.write((HERE / "deferred.xml").read_text(encoding="utf-8").replace(
                'response="200"', f'response="{status}"'))
        began = time.monotonic()
        subprocess.run(
            ["sipp", f"{host}:{port}", "-sf", scenario, "-i", host,
             "-r", str(rate), "-m", str(rate * seconds), "-l", "100000",
             "-key", "first", str(first), "-trace_rtt", "-rtt_freq", "100",
             "-trace_stat", "-stf", "stat.csv", "-fd", "1", "-recv_timeout",
             "10000", "-buff_size", "8388608", "-timer_resol", "1", "-nostdin"],
            cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, timeout=seconds + 120, check=False)
        taken = time.monotonic() - began
        times = []
        for path in glob.glob(folder + "/*_rtt.csv"):
            with open(path, encoding="ascii", newline="") as file:
                times += [float(row[1]) for row in csv.reader(file, delimiter=";")
                          if row and row[0][:1].isdigit()]
        with open(os.path.join(folder, "stat.csv"), encoding="ascii") as file:
            last = list(csv.DictReader(file, delimiter=";"))[-1]
    return (int(last["SuccessfulCall(C)"]), int(last["FailedCall(C)"]), taken,
            sorted(times))


def part(times, share):
    if not times:
        return float("nan")
    return times[min(len(times) - 1, int(len(times) * share))]
