"""What is shown to Prometheus, as it is read."""

import http.client
import re

from harness import HOST

SAMPLE = re.compile(r'(\w+)(?:\{((?:\w+="(?:[^"\\]|\\.)*",?)*)\})? (\S+)')
OPEN_METRICS = "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"


class Exposition:
    """types    {family: type}
    samples  {(name, ((label, value), ...)): number}
    """

    def __init__(self, text):
        self.text = text
        self.types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.M))
        self.samples = {}
        for line in text.splitlines():
            if line.startswith("#"):
                continue
            name, labels, value = SAMPLE.fullmatch(line).groups()
            labels = re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', labels or "")
            assert (name, tuple(labels)) not in self.samples, line
            self.samples[name, tuple(labels)] = float(value)

    def get(self, name, **labels):
        """One value; "cms_notify_" is left out."""
        return self.samples["cms_notify_" + name, tuple(labels.items())]

    def by(self, name, label):
        """{value of the label: value of the metric}"""
        return {dict(labels)[label]: value
                for (n, labels), value in self.samples.items()
                if n == "cms_notify_" + name and label in dict(labels)}

    def sum(self, name):
        return sum(value for (n, _), value in self.samples.items()
                   if n == "cms_notify_" + name)

    def family(self, name):
        """Of a sample; for histograms without what is at its end."""
        base = re.sub(r"_(bucket|sum|count)$", "", name)
        return base if self.types.get(base) == "histogram" else name


def by_rpc(server):
    return Exposition(server.rpc("cms_notify.metrics"))


def request(port, path="/metrics", method="GET", accept=None, host=HOST):
    """(status, headers, text)"""
    connection = http.client.HTTPConnection(host, port, timeout=10)
    try:
        connection.request(method, path, headers={"Accept": accept} if accept else {})
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read().decode()
    finally:
        connection.close()
