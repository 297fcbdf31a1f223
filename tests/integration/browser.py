"""A headless Chromium, told what to do over WebDriver (chromedriver).

It finds nobody but this machine: every other name leads nowhere.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request

SECONDS = 100  # for each thing: it shares the machine
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # WebDriver's name of a reference
OPTIONS = [
    "--headless", "--no-sandbox",  # tests run as root
    "--remote-debugging-port=0", "--disable-dev-shm-usage", "--no-first-run",
    # what costs time and is not looked at here
    "--disable-background-networking", "--disable-breakpad",
    "--disable-component-update", "--disable-extensions",
    "--disable-features=PreloadTopChromeWebUI", "--disable-gpu",
    "--disable-sync", "--in-process-gpu", "--no-zygote",
    "--renderer-process-limit=1", "--window-size=1200,1000",
]


class Refused(Exception):
    """WebDriver's own error."""


class Browser:
    """names: of hosts that are 127.0.0.1."""

    def __init__(self, names=()):
        self._folder = tempfile.mkdtemp(prefix="browser")
        self._session = ""
        self._processes = []
        try:
            # Not begun by chromedriver, which gives it a minute to start.
            rules = ", ".join([*(f"MAP {name} 127.0.0.1" for name in names),
                               "MAP * ~NOTFOUND", "EXCLUDE 127.0.0.1"])
            tools = self._start(
                r"DevTools listening on ws://([^/]+)/", "chromium", *OPTIONS,
                f"--user-data-dir={self._folder}/data",
                f"--host-resolver-rules={rules}", "about:blank")
            self._driver = self._start(
                r"started successfully on port (\d+)", "chromedriver",
                "--port=0", "--allowed-ips=127.0.0.1")
            self._session = "/" + self._new_session(tools)
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_exc):
        self.close()

    def close(self):
        if self._session:
            with contextlib.suppress(OSError, Refused):
                self._ask("DELETE", "")
        for process, rest in reversed(self._processes):
            process.terminate()
            process.wait()
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            rest.join()
            process.stdout.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _start(self, pattern, *command):
        """Until it says where it can be reached; returns that."""
        process = subprocess.Popen(
            command, text=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            start_new_session=True)
        # What it says later is of no interest, but must go somewhere.
        rest = threading.Thread(target=process.stdout.read)
        said, match = [], None
        for line in process.stdout:
            said.append(line)
            match = re.search(pattern, line)
            if match:
                break
        rest.start()
        self._processes.append((process, rest))
        assert match, f"{command[0]} does not start: {''.join(said)}"
        return match[1]

    def _new_session(self, tools):
        wanted = {"capabilities": {"alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": {"debuggerAddress": tools},
            "timeouts": {"script": 1000 * SECONDS,
                         "pageLoad": 1000 * SECONDS}}}}
        deadline = time.monotonic() + 3 * SECONDS
        while True:
            try:
                return self._ask("POST", "", wanted)["sessionId"]
            except Refused:  # it is not that far yet
                if time.monotonic() > deadline:
                    raise

    def _ask(self, method, path, body=None):
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._driver}/session{self._session}{path}",
            method=method,
            data=json.dumps(body or {}).encode() if method == "POST" else None)
        try:
            with urllib.request.urlopen(request, timeout=2 * SECONDS) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            value = json.load(error)["value"]
            raise Refused(f"{value['error']}: {value['message']}") from None

    def open(self, url):
        self._ask("POST", "/url", {"url": url})

    def speak(self, language):
        """Of the person; for pages that are opened later."""
        agent = self.run("return navigator.userAgent")
        self._ask("POST", "/goog/cdp/execute", {
            "cmd": "Emulation.setUserAgentOverride",
            "params": {"userAgent": agent, "acceptLanguage": language}})

    def run(self, script, *args):
        """The value that a JavaScript function's body returns."""
        return self._ask("POST", "/execute/sync",
                         {"script": script, "args": list(args)})

    def until(self, script, *args):
        """Wait until it returns something true; returns that."""
        try:
            return self._ask("POST", "/execute/async", {
                "args": list(args), "script": """
                const done = arguments[arguments.length - 1];
                const look = (...args) => {
                    const value = (function() { %s })(...args);
                    if (value) done(value); else setTimeout(look, 20, ...args);
                };
                look(...arguments);""" % script})
        except Refused as error:
            shown = self.run("return document.body.innerText")
            raise AssertionError(f"{error}; the page:\n{shown}") from error

    def click(self, selector):
        """As a person does: it must be there, visible, not covered."""
        element = self._ask("POST", "/element", {
            "using": "css selector", "value": selector})[ELEMENT]
        self._ask("POST", f"/element/{element}/click")

    def complaints(self):
        """What the browser's console says, as (level, text)."""
        return [(entry["level"], entry["message"]) for entry in
                self._ask("POST", "/se/log", {"type": "browser"})]
