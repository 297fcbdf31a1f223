"""Alerts and the dashboard: by promtool, and by a Prometheus that asks a Kamailio."""

import json
import re
import subprocess

import pytest

from deferring import url as outbox_url
from harness import HOST, Port, TOP, shipped_with, until
from metrics import by_rpc
from prometheus import MONITORING, RULES_FILE, Prometheus

RULES = RULES_FILE.read_text(encoding="utf-8")
RULE_TESTS = (MONITORING / "cms_notify.rules.test.yml").read_text(encoding="utf-8")
DASHBOARD = json.loads((MONITORING / "cms_notify.dashboard.json").read_text("utf-8"))
ALERTS = re.findall(r"^ +- alert: (\w+)$", RULES, re.M)


def queries():
    """(panel, expression) of the dashboard, as Grafana asks them."""
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"].replace(
                "$__rate_interval", "5m").replace("$instance", ".*")


def promtool(*args):
    done = subprocess.run(["promtool", *args], cwd=MONITORING, text=True,
                          capture_output=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_promtool_takes_the_rules():
    assert f"{len(ALERTS)} rules found" in promtool(
        "check", "rules", "cms_notify.rules.yml")


def test_each_alert_fires_and_does_not():
    assert len(ALERTS) > 10
    for name in ALERTS:
        assert RULE_TESTS.count(f"- name: {name} fires\n") == 1
        assert RULE_TESTS.count(f"- name: {name} does not\n") == 1
    assert "SUCCESS" in promtool("test", "rules", "cms_notify.rules.test.yml")


def test_each_alert_has_fired():
    """In one fault or another: the page that "make test-alerts" writes."""
    page = (TOP / "modules" / "cms_notify" / "doc" / "alerts.md").read_text("utf-8")
    rows = re.findall(r"^\| .+ \| `(?:defer|reject)` \| (.+) \|$", page, re.M)
    seen = set(re.findall(r"`(\w+)`", re.sub(r"perhaps `\w+`", "", " ".join(rows))))
    assert {f"CmsNotify{name}" for name in seen} == set(ALERTS)


def test_each_alert_says_what_to_do():
    for text in re.split(r"^ +- alert: ", RULES, flags=re.M)[1:]:
        assert re.search(r"^ +summary: \"\{\{ \$labels\.instance \}\}: .+\"$", text, re.M)
        assert re.search(r"^ +action: \".+\"$", text, re.M)
        assert re.search(r"^ +labels: \{severity: (critical|warning)\}$", text, re.M)


def test_no_metric_is_named_that_is_not_there():
    page = (TOP / "modules" / "cms_notify" / "doc" / "metrics.md").read_text("utf-8")
    known = set(re.findall(r"^\| `(\w+)` \|", page, re.M))
    known |= {f"{name}_bucket" for name in known}
    named = set(re.findall(r"cms_notify_\w+", RULES + json.dumps(DASHBOARD)))
    assert "cms_notify_verdicts_total" in named
    assert named - {"cms_notify_label"} <= known


# -- a Prometheus -------------------------------------------------------------------

@pytest.fixture(scope="module")
def prometheus(module_kamailio, module_cms, tmp_path_factory):
    """It has asked a server before and after something of each kind happened."""
    port = Port()

    def config(server, url):
        return shipped_with("", {
            "WITH_METRICS": f"{HOST}:{port.number}", "WITH_DEFER": 1,
            "ALIVE_TIMEOUT": 3600,
            "CMS_OUTBOX_DB_URL": outbox_url(server)})(server, url)

    server = module_kamailio(module_cms, config=config)
    prometheus = Prometheus(tmp_path_factory.mktemp("prometheus"),
                            [f"{HOST}:{port.number}"])
    try:
        prometheus.wait_up()
        happen(server, module_cms)
        told = by_rpc(server)
        until(lambda: prometheus.ask("sum(cms_notify_outbox_delivered_total)")
              == [told.sum("outbox_delivered_total")], 120)
        until(lambda: prometheus.ask("cms_notify_refreshes_total")
              == [told.get("refreshes_total")], 120)
        yield prometheus
    finally:
        prometheus.close()
        port.close()


def happen(server, cms):
    device = server.device()
    for _ in range(2):
        assert device.register().status == 200
    cms.rule(status=403, times=1)
    assert server.device().register().status == 403
    rule = cms.rule(status=503)
    assert server.device().register().status == 200
    cms.remove_rule(rule)
    until(lambda: server.status()["delivered"] == 1, 60)


def test_no_panel_is_empty(prometheus):
    asked = list(queries())
    assert len(asked) > 40
    assert not [one for one in asked if not prometheus.ask(one[1])]


def test_what_it_shows_is_so(prometheus):
    assert prometheus.ask('cms_notify_verdicts_total{verdict="rejected"}') == [1]
    assert prometheus.ask('cms_notify_verdicts_total{verdict="deferred"}') == [1]
    assert prometheus.ask("sum(rate(cms_notify_verdicts_total[5m])) > 0")


def test_each_rule_is_evaluated(prometheus):
    """Without a fault; a server that is well raises no alarm."""
    def rules():
        return [rule for group in prometheus.get("rules")["groups"]
                for rule in group["rules"]]

    until(lambda: all(rule["health"] == "ok" for rule in rules()), 60)
    assert [rule["name"] for rule in rules()] == ALERTS
    assert not [alert for rule in rules() for alert in rule["alerts"]
                if alert["state"] == "firing"]


def test_metadata_arrives(prometheus):
    """Prometheus knows types and help: it asked for OpenMetrics, and got it."""
    known = prometheus.get("metadata")
    assert known["cms_notify_verdict_seconds"][0]["type"] == "histogram"
    assert known["cms_notify_verdicts"][0]["type"] == "counter"
    assert known["cms_notify_outbox_oldest_seconds"][0]["unit"] == "seconds"
