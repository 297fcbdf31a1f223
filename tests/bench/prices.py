"""What this machine charges for waking a process, so that figures of two machines
can be compared."""

import os
import time

from server import awake

TIMES = 20000


def prices():
    """{"wake_ups": {where: {"us", "cpu_us"}}, "write_us"}"""
    cpus = os.sched_getaffinity(0)
    one, *others = [{cpu} for cpu in sorted(cpus)]
    wake_ups = {"both on one CPU": ping_pong(one, one)}
    if others:
        with awake():
            wake_ups["on two CPUs that do not halt"] = ping_pong(
                one, others[-1])
        wake_ups["on two CPUs that halt"] = ping_pong(one, others[-1])
        wake_ups["on any CPU, all halt"] = ping_pong(cpus, cpus)
    return {"wake_ups": wake_ups, "write_us": write_us()}


def ping_pong(here, there):
    """Two processes wake each other: what one wake-up takes, and what CPU of
    both."""
    ping, pong = os.eventfd(0), os.eventfd(0)
    before = os.sched_getaffinity(0)
    other = os.fork()
    if not other:
        os.sched_setaffinity(0, there)
        for _ in range(TIMES):
            os.eventfd_read(ping)
            os.eventfd_write(pong, 1)
        os._exit(0)
    os.sched_setaffinity(0, here)
    began, cpu = time.perf_counter(), time.process_time()
    for _ in range(TIMES):
        os.eventfd_write(ping, 1)
        os.eventfd_read(pong)
    took, cpu = time.perf_counter() - began, time.process_time() - cpu
    os.sched_setaffinity(0, before)
    _, _, used = os.wait4(other, 0)
    os.close(ping)
    os.close(pong)
    each = 1e6 / (2 * TIMES)
    return {"us": took * each,
            "cpu_us": (cpu + used.ru_utime + used.ru_stime) * each}


def write_us():
    """The same write where nobody waits."""
    event = os.eventfd(0)
    began = time.process_time()
    for _ in range(TIMES):
        os.eventfd_write(event, 1)
    took = time.process_time() - began
    os.close(event)
    return took / TIMES * 1e6
