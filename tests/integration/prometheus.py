"""A Prometheus that asks servers, with the alerts of scripts/monitoring."""

import json
import math
import subprocess
import urllib.error
import urllib.parse
import urllib.request

from harness import HOST, Port, TOP, until

MONITORING = TOP / "scripts" / "monitoring"
RULES_FILE = MONITORING / "cms_notify.rules.yml"

CONFIG = """
global: {{scrape_interval: {every}, scrape_timeout: {every}, evaluation_interval: {every}}}
rule_files: ["{rules}"]
scrape_configs:
  - job_name: cms_notify
    static_configs: [{{targets: {targets}}}]
"""


class Prometheus:
    """It asks `targets`, a list of "address:port"."""

    def __init__(self, folder, targets, rules=RULES_FILE, every="1s"):
        self._port = Port()
        self._targets = targets
        (folder / "prometheus.yml").write_text(CONFIG.format(
            rules=rules, targets=json.dumps(targets), every=every))
        self._log = (folder / "log").open("w")
        self._process = subprocess.Popen(
            ["prometheus", f"--config.file={folder}/prometheus.yml",
             f"--storage.tsdb.path={folder}/data", "--log.level=warn",
             f"--web.listen-address={HOST}:{self._port.number}"],
            stdout=self._log, stderr=subprocess.STDOUT, cwd=folder)

    def get(self, path, **params):
        url = f"http://{HOST}:{self._port.number}/api/v1/{path}"
        try:
            with urllib.request.urlopen(
                    f"{url}?{urllib.parse.urlencode(params)}", timeout=30) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            if error.code == 503:  # it is starting
                raise
            raise AssertionError(f"{params}: {error.read().decode()}") from None

    def ask(self, expression):
        """Values, without those that are no number."""
        found = [float(row["value"][1])
                 for row in self.get("query", query=expression)["result"]]
        return [value for value in found if not math.isnan(value)]

    def fired(self):
        """Names of the alerts that have fired, so far."""
        rows = self.get("query", query='max by (alertname) (max_over_time('
                        'ALERTS{alertstate="firing"}[1d]))')["result"]
        return {row["metric"]["alertname"] for row in rows}

    def wait_up(self):
        """Until all its targets have answered."""
        until(self._is_up, 120)

    def _is_up(self):
        try:
            return self.ask("up") == [1] * len(self._targets)
        except (OSError, ValueError):
            return False

    def close(self):
        self._process.terminate()
        self._process.wait(60)
        self._log.close()
        self._port.close()
