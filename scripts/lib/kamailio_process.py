"""A Kamailio in the foreground: started, its log read, stopped without rest."""

import codecs
import json
import os
import select
import signal
import socket
import subprocess
import threading
from collections import deque


def module_path(env, *more):
    """mpath of a Kamailio, from what scripts/kamailio-env says: the module that
    was just built is found before one that is installed."""
    folders = [env["CMS_NOTIFY_MODULE_DIR"], *more,
               *filter(None, env["KAMAILIO_MODULES"].split(":"))]
    return ":".join(folder.rstrip("/") + "/" for folder in folders)


class RpcError(Exception):
    """An RPC command was refused."""


def rpc(run_dir, method, params=(), timeout=5):
    """Result of an RPC command, through jsonrpcs. RpcError if refused."""
    request = {"jsonrpc": "2.0", "method": method, "id": 1}
    if params:
        request["params"] = list(params)
    # nobody else asks at the same time under that name
    name = os.path.join(run_dir, f"rpc{threading.get_native_id()}.sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(name)
        try:
            sock.settimeout(timeout)
            sock.sendto(json.dumps(request).encode(),
                        os.path.join(run_dir, "kamailio_rpc.sock"))
            reply = json.loads(sock.recv(1 << 20))
        finally:
            os.unlink(name)
    if "error" in reply:
        raise RpcError(reply["error"]["message"])
    return reply["result"]


def all_run(run_dir):
    """Does each process run? One that has not yet takes a SIGTERM for one to the
    main process, which then waits for it."""
    try:
        return all(process["status"] for process in rpc(run_dir, "core.psa"))
    except OSError:
        return False


class KamailioProcess:
    """Runs with its data folder as current and as run-time directory.

    on_line   called with each line of the log, in a thread of its own
    on_end    called once with the exit status, after the last line
    options   more options of its command line
    """

    stop_seconds = 15

    def __init__(self, binary, config, data_dir, on_line, on_end,
                 options=()):
        self._command = [
            # It must not outlive us, however we end.
            "setpriv", "--pdeathsig", "TERM", "--",
            binary, "-f", config, "-DD", "-E", "-w", data_dir, "-Y", data_dir,
            *options]
        self._data_dir = data_dir
        self._on_line = on_line
        self._on_end = on_end
        self._process = None
        self._reader = None
        self._reading = threading.Lock()
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._partial = ""
        self._log = None
        self.log_path = os.path.join(data_dir, "kamailio.log")
        self.last_lines = deque(maxlen=200)

    def start(self):
        self._log = open(self.log_path, "w", encoding="utf-8", buffering=1)
        # A session of its own: Ctrl-C in the terminal is ours to handle.
        self._process = subprocess.Popen(
            self._command, cwd=self._data_dir, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, bufsize=0)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        threading.Thread(target=self._watch, daemon=True).start()

    @property
    def running(self):
        return self._process is not None and self._process.poll() is None

    def stop(self):
        """SIGTERM, and SIGKILL to what is left after stop_seconds. Did it end by
        itself?"""
        ended = True
        if self._process is None:
            return ended
        if self.running:
            self._process.terminate()
            try:
                self._process.wait(self.stop_seconds)
            except subprocess.TimeoutExpired:
                ended = False
        self._kill_group()
        self._process.wait()
        self._reader.join(self.stop_seconds)
        return ended

    def complaints(self, count=12):
        """The last lines that say what went wrong; else just the last."""
        bad = [line for line in self.last_lines
               if any(level in line for level in
                      ("ERROR:", "CRITICAL:", "ALERT:", "BUG:", "error"))]
        return (bad or list(self.last_lines))[-count:]

    def _kill_group(self):
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def read_log(self):
        """What has been written by now has been given to on_line()."""
        with self._reading:
            while self._log and self._is_readable(0):
                self._read_some()

    def _is_readable(self, timeout_ms):
        poll = select.poll()
        poll.register(self._process.stdout, select.POLLIN)
        return bool(poll.poll(timeout_ms))

    def _read(self):
        while self._log:
            self._is_readable(None)
            self.read_log()

    def _read_some(self):
        data = self._process.stdout.read(1 << 16)
        text = self._partial + self._decoder.decode(data, final=not data)
        *lines, self._partial = text.split("\n")
        if not data and self._partial:
            lines.append(self._partial)
        for line in lines:
            self._log.write(line + "\n")
            self.last_lines.append(line)
            self._on_line(line)
        if not data:
            self._log.close()
            self._log = None

    def _watch(self):
        status = self._process.wait()
        self._kill_group()  # a killed main process leaves its children
        self._reader.join()
        self._on_end(status)
