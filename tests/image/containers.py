"""Containers of a compose file, run by podman as the file says."""

import itertools
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import yaml

TOP = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tests" / "integration"))

from harness import NOT_BAD, until  # noqa: E402

PODMAN = TOP / "tests" / "image" / "podman"
_numbers = itertools.count(1)


def services(name):
    """Of a compose file, by name."""
    text = (TOP / "docker" / name).read_text(encoding="utf-8")
    return yaml.safe_load(text)["services"]


COMPOSE = services("compose.yaml")


def podman(*args, check=True, timeout=120, stdin=None):
    """What it prints; on both channels, if it may fail."""
    done = subprocess.run(
        [PODMAN, *map(str, args)], text=True, timeout=timeout, check=False,
        input=stdin,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT if not check else None)
    if check:
        assert done.returncode == 0, args
        return done.stdout.strip()
    return done.returncode, done.stdout


def unique(name):
    return f"{name}-{os.getpid()}-{next(_numbers)}"


def composed(what, environment, secrets):
    """Options of podman run for a service, its image, and its command."""
    settings = {name: re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value)
                for name, value in what.get("environment", {}).items()}
    settings.update(environment)
    found = ["--cgroups", "disabled", "--ulimit", "nofile=4096:4096",
             "--ulimit", "nproc=2048:2048", "--read-only-tmpfs=false",
             "--network", what["network_mode"]]
    if what["read_only"]:
        found.append("--read-only")
    for name, values in (("--cap-drop", what["cap_drop"]),
                         ("--security-opt", what["security_opt"]),
                         ("--tmpfs", what.get("tmpfs", []))):
        for value in values:
            # podman knows no-new-privileges without a value only
            found += [name, value.removesuffix(":true")]
    for name, value in settings.items():
        found += ["--env", f"{name}={value}"]
    for name in what.get("secrets", []):
        found += ["--volume", f"{secrets[name]}:/run/secrets/{name}:ro"]
    return (found, f"localhost/cms-notify-{what['build']['target']}",
            what.get("command", []))


class Container:
    """A service of compose.yaml, or of `among`. data: name of its volume; secrets: {name:
    file}. With stdin it has ended once it is there. At its end its log must have no
    errors, except `allowed` ones."""

    def __init__(self, service, *command, data=None, options=(), among=COMPOSE,
                 secrets=None, allowed=NOT_BAD, stdin=None, **environment):
        self.name, self._allowed = unique(service), allowed
        found, image, usual = composed(among[service], environment, secrets)
        if data:
            found += ["--volume", f"{data}:/var/lib/kamailio"]
        podman("run", "--detach" if stdin is None else "--interactive", "--name",
               self.name, *found, *options, image, *(command or usual), stdin=stdin)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_exc):
        if kind:
            print(f"log of {self.name}:\n{self.log()}")
        errors = [line for line in re.findall(
            r"^.*(?:ERROR|CRITICAL|BUG):.*$", self.log(), re.M)
                  if not any(re.search(p, line) for p in self._allowed)]
        podman("rm", "--force", "--time", "5", self.name)
        assert kind or not errors, errors

    def inspect(self, what):
        return podman("inspect", "--format", "{{%s}}" % what, self.name)

    def log(self):
        return podman("logs", self.name, check=False)[1]

    def run(self, *command):
        return podman("exec", self.name, *command)

    def stop(self):
        """As compose.yaml says: who is not ready by then is killed."""
        grace = COMPOSE["kamailio"]["stop_grace_period"]
        podman("stop", "--time", grace.removesuffix("s"), self.name)
        assert self.inspect(".State.ExitCode") == "0", self.log()

    def rpc(self, method, *args):
        return json.loads(self.run("kamctl", "rpc", method, *args))["result"]

    def is_healthy(self):
        return podman("healthcheck", "run", self.name, check=False)[0] == 0

    def ready(self):
        until(lambda: self.is_healthy() or self.inspect(".State.Status")
              != "running", 30)
        assert self.is_healthy(), self.log()
        return self

    def wait(self):
        """Its exit status, and what it printed."""
        status = int(podman("wait", self.name))
        return status, self.log()


def once(service, *command, **kw):
    with Container(service, *command, **kw) as container:
        return container.wait()
