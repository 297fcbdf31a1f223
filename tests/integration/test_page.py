"""The reference CMS's page, in a browser: what a person sees and clicks."""

import http.client
import http.server
import json
import signal
import threading
from pathlib import Path

import pytest

import cms_control
from browser import Browser
from reference_cms import ReferenceCms
from test_reference_cms import event, in_background, post
from test_run import run  # noqa: F401

ELSEWHERE, REBOUND = "elsewhere.test", "rebound.test"
NASTY = "<script>window.hit = 1</script><img src=x onerror='window.hit = 2'>"
TEXT = "return document.body.innerText"

pytestmark = pytest.mark.timeout(600)  # a browser starts slowly under load


@pytest.fixture(scope="module")
def browser():
    with Browser(names=(ELSEWHERE, REBOUND)) as one:
        yield one


@pytest.fixture
def control(cms):
    interface = cms_control.Control(cms)
    interface.start()
    yield interface
    interface.stop()


@pytest.fixture
def page(browser, control):
    browser.open(control.url)
    shown(browser, "live")
    return browser


def shown(page, text):
    """Wait until a person can read it."""
    return page.until(f"{TEXT}.split(/\\s+/).join(' ').includes(arguments[0])",
                      text)


def mode(page, name):
    selector = f"#modes button[value={name}]"
    page.click(selector)
    page.until("return document.querySelector(arguments[0])",
               f"{selector}[aria-pressed=true]")


def device(number=1, **fields):
    """An event of a device of its own, and its header."""
    name = fields.pop("username", f"cam{number}")
    return (event(id=f"{number:032x}", username=name,
                  aor=f"sip:{name}@telecom.com", **fields),
            {"Idempotency_Key": f'"{number:032x}"'})


def tell(cms, number=1, **fields):
    body, headers = device(number, **fields)
    return post(cms, body, **headers)[0]


def test_a_device_is_shown_with_its_body_and_its_verdict(cms, page):
    shown(page, f"cms_url must be {cms.url}")
    tell(cms, user_agent="Camera 7/1.0")
    shown(page, "register new sip:cam1@telecom.com accepted 200")
    shown(page, "172.16.163.3 7000 udp, Camera 7/1.0")
    page.click("#requests summary")
    text = shown(page, '"call_id": "5705@172.16.163.3"') and page.run(TEXT)
    assert "POST /register HTTP/1.1" in text
    assert '"text": "ok"' in text


def test_what_came_before_the_page_was_opened_is_shown(cms, control, browser):
    tell(cms, 1)
    tell(cms, 2)
    browser.open(control.url)
    shown(browser, "sip:cam1@telecom.com")
    assert browser.run(TEXT).index("sip:cam2@") \
        < browser.run(TEXT).index("sip:cam1@")


def test_what_a_device_sends_is_text(cms, page):
    """Also in its name, in what breaks the interface, and in the answer."""
    cms.rule(text=NASTY, times=1)
    tell(cms, username=NASTY, user_agent=NASTY, reason=NASTY)
    shown(page, f"sip:{NASTY}@telecom.com")
    post(cms, NASTY.encode())
    post(cms, json.dumps({**event(), NASTY: 1}).encode())
    page.until("const all = document.querySelectorAll('details');"
               "all.forEach(one => one.open = true); return all.length === 3")
    shown(page, "Not as cms-api.json says: body: ")
    shown(page, '"text": "' + NASTY)
    assert page.run("return [document.scripts.length, window.hit,"
                    " document.querySelectorAll('img').length]") == [1, None, 0]


def test_nothing_runs_in_the_page_but_its_own_script(page):
    """If a device's words were HTML after all."""
    page.run("document.body.insertAdjacentHTML('beforeend', arguments[0]);"
             "const node = document.createElement('script');"
             "node.textContent = 'window.hit = 3'; document.body.append(node);",
             NASTY)
    page.until("return document.images[0].complete")
    assert page.run("return window.hit") is None
    assert any("Content Security Policy" in text
               for _level, text in page.complaints())


def test_slow_is_one_click(cms, page):
    mode(page, "slow")
    thread, status = in_background(tell, cms)
    shown(page, "waiting")
    thread.join()
    assert status == [200]
    assert cms.requests[0].answered - cms.requests[0].arrived >= 1.5
    shown(page, "accepted 200")
    mode(page, "normal")
    assert cms.rules() == []


def test_silent_is_one_click(cms, page):
    mode(page, "silent")
    client = http.client.HTTPConnection(cms.host, cms.port)
    client.request("POST", "/register", json.dumps(event()))
    shown(page, "waiting")
    client.close()
    shown(page, "no answer in time")


def test_an_error_is_one_click(cms, page):
    mode(page, "error")
    assert tell(cms) == 500
    shown(page, "unavailable 500")
    mode(page, "slow")
    assert [rule.status for rule in cms.rules()] == [200]


def test_away_is_one_click_and_so_is_back(cms, page):
    mode(page, "away")
    with pytest.raises(ConnectionRefusedError):
        tell(cms)
    mode(page, "normal")
    assert tell(cms) == 200
    shown(page, "accepted 200")


def test_a_device_is_refused_with_one_click(cms, page):
    """And no other one, also when the CMS is told something else later."""
    tell(cms, 1)
    tell(cms, 2)
    shown(page, "sip:cam2@telecom.com")
    page.click("#devices tr:last-child td:last-child button")  # cam1
    shown(page, "Stop refusing")
    mode(page, "error")
    assert [tell(cms, 1), tell(cms, 2)] == [403, 500]
    shown(page, "rejected 403")
    page.click("#devices button[aria-pressed=true]")
    page.until(f"return !{TEXT[7:]}.includes('Stop refusing')")
    assert tell(cms, 1) == 500


def test_a_rule_of_somebody_else_is_shown_and_removed(cms, page):
    cms.rule(match={"domain": "telecom.com"}, status=429, text=NASTY)
    shown(page, NASTY.replace('"', '\\"'))
    page.click("#rules button")
    page.until("return document.querySelector('#ruleBox').hidden")
    assert cms.rules() == []


def test_one_device_can_be_looked_at_alone(cms, page):
    tell(cms, 1)
    tell(cms, 2)
    visible = ("return [...document.querySelectorAll('details')]"
               ".filter(d => !d.hidden).length")
    page.until(visible + " === 2")
    page.click("#devices tr:last-child button")
    page.until(visible + " === 1")
    tell(cms, 2)
    tell(cms, 1)
    page.until(visible + " === 2")
    page.click("#all")
    page.until(visible + " === 4")


def test_each_event_of_a_batch_is_shown_with_its_result(cms, page):
    cms.refuse("cam2")
    events = [device(n)[0] for n in (1, 2)]
    post(cms, events, Idempotency_Key=f'"{1:032x}-2-0123456789abcdef"')
    shown(page, "register new sip:cam1@telecom.com accepted 200 "
          "register new sip:cam2@telecom.com rejected 403")


def test_what_is_no_event_is_shown(cms, page):
    post(cms, b"[" * 100000)
    shown(page, "POST /register rejected 400")


def test_of_a_storm_the_newest_are_shown(cms, control, browser):
    for number in range(1, 221):
        tell(cms, number)
    browser.open(control.url)
    shown(browser, "sip:cam220@telecom.com")
    for number in range(221, 231):
        tell(cms, number)
    shown(browser, "POSTs: 230")
    shown(browser, "sip:cam230@telecom.com")
    assert browser.run("return [requests.size, devices.size,"
                       " document.querySelectorAll('details').length,"
                       " document.querySelectorAll('#devices tr').length]"
                       ) == [200] * 4
    text = browser.run(TEXT)
    assert "sip:cam31@telecom.com" in text
    assert "sip:cam30@telecom.com" not in text


def test_what_is_forgotten_goes_from_the_page(cms, page):
    tell(cms, 1)
    shown(page, "sip:cam1@telecom.com")
    cms.clear()
    shown(page, "No device has come yet")
    tell(cms, 2)
    shown(page, "sip:cam2@telecom.com")
    assert "cam1" not in page.run(TEXT)


def test_the_page_is_live_again_after_a_restart(browser):
    with ReferenceCms() as cms:
        control = cms_control.Control(cms)
        control.start()
        tell(cms, 1)
        browser.open(control.url)
        shown(browser, "sip:cam1@telecom.com")
        control.stop()
    shown(browser, "not connected")
    with ReferenceCms() as cms:
        cms_control.Control(cms, port=control.port).start()
        shown(browser, "No device has come yet")
        tell(cms, 2)
        shown(browser, "sip:cam2@telecom.com")


def test_a_chinese_browser_gets_chinese(cms, control, browser):
    try:
        browser.speak("zh-CN")
        browser.open(control.url)
        shown(browser, "实时")
        tell(cms)
        shown(browser, "接受 200")
        assert browser.run("return document.documentElement.lang") == "zh-CN"
        assert browser.run("return Object.keys(WORDS).filter(name =>"
                           " WORDS[name].filter(text => text).length !== 2)") == []
    finally:
        browser.speak("en-GB")


# -- other sites -----------------------------------------------------------------

ATTACK = """<!doctype html><form method=post enctype=text/plain target=frame
action="%(to)scontrol/down"></form><iframe name=frame></iframe><script>
const send = (method, path) => fetch("%(to)scontrol/" + path, {
    method, mode: "no-cors", body: method === "POST" ? '{"status": 500}' : null,
}).then(answer => answer.type, error => "refused");
const listen = new Promise(done => {
    const source = new EventSource("%(to)scontrol/events");
    source.onmessage = () => done("heard");
    source.onerror = () => done("refused");
});
const submit = new Promise(done => {
    document.querySelector("iframe").onload = () => done("sent");
    document.querySelector("form").submit();
});
Promise.all([send("POST", "rules"), send("POST", "down"), submit, listen])
    .then(results => window.results = results);
</script>"""


@pytest.fixture
def elsewhere(control):
    """The URL of a page of another site that would like to have control."""
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write((ATTACK % {"to": control.url}).encode())

        def log_message(self, *_args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://{ELSEWHERE}:{server.server_port}/"
        server.shutdown()
        thread.join()


def test_a_page_of_another_site_controls_nothing(cms, browser, elsewhere):
    browser.open(elsewhere)
    assert browser.until("return window.results")[3] == "refused"
    assert cms.rules() == [] and cms.running
    assert tell(cms) == 200


def test_a_name_that_is_made_to_lead_here_shows_nothing(browser, control):
    browser.open(control.url.replace("127.0.0.1", REBOUND))
    assert browser.run(TEXT).strip() \
        == '{"error": "for the page of this address only"}'


OWN = "127.0.0.1:{port}"


@pytest.mark.parametrize("host, origin, status", [
    (OWN, None, 200), (OWN, "http://" + OWN, 200),
    ("localhost:{port}", "http://localhost:{port}", 200),
    ("[::1]:{port}", None, 200),
    (OWN, "null", 403), (OWN, "http://127.0.0.1:1", 403),
    (OWN, "http://localhost:{port}", 403), (OWN, "", 403),
    (OWN, "http://elsewhere.test", 403),
    ("elsewhere.test:{port}", None, 403),
    ("elsewhere.test:{port}", "http://elsewhere.test:{port}", 403),
    ("127.0.0.1.elsewhere.test", None, 403), ("localhost.", None, 403),
    ("", None, 403), ("a:b:c", None, 403), (None, None, 403)])
@pytest.mark.parametrize("method, path", [
    ("GET", "/"), ("GET", "/control/stats"), ("POST", "/control/down")])
def test_who_may_ask(cms, control, method, path, host, origin, status):
    client = http.client.HTTPConnection("127.0.0.1", control.port)
    client.putrequest(method, path, skip_host=True)
    for name, value in (("Host", host), ("Origin", origin)):
        if value is not None:
            client.putheader(name, value.format(port=control.port))
    client.endheaders()
    answer = client.getresponse()
    answer.read()
    client.close()
    assert answer.status == status
    assert cms.running is (status == 403 or method == "GET")


def test_the_page_may_be_framed_and_read_by_nobody(control):
    client = http.client.HTTPConnection("127.0.0.1", control.port)
    client.request("GET", "/")
    headers = client.getresponse().headers
    client.close()
    policy = headers["Content-Security-Policy"].split("; ")
    assert "frame-ancestors 'none'" in policy and "default-src 'none'" in policy
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"


def test_the_page_takes_nothing_from_outside():
    text = (Path(cms_control.__file__).parent / "cms_page.html").read_text()
    for word in ("://", "src=", "href=", "url(", "@import", "innerHTML"):
        assert word not in text


# -- make run ----------------------------------------------------------------------

def test_the_page_of_make_run(run, browser):  # noqa: F811
    """A device registers, is refreshed, leaves, and meets a CMS that is silent; then
    Ctrl-C ends all, with the page open."""
    one = run()
    browser.open(one.read_until("page  ", timeout=300).split()[1])
    one.read_until("until Ctrl-C")
    shown(browser, "register new sip:gzj@telecom.com accepted 200")
    row = "#samples tr[data-name=cam1] "

    def click(action, result):
        browser.click(f"{row}button[value={action}]")
        browser.until("return document.querySelector(arguments[0])"
                      ".innerText.includes(arguments[1])", row, result)

    click("register", "200 OK – the CMS was asked")
    shown(browser, "register new sip:cam1@telecom.com accepted 200")
    click("register", "200 OK – the CMS was not asked")
    click("unregister", "200 OK")
    mode(browser, "silent")
    click("register", "again in (s): ")
    shown(browser, "register new sip:cam1@telecom.com no answer in time")
    one.process.send_signal(signal.SIGINT)
    assert one.finish() == 0, one.errors
    assert one.errors == ""
    shown(browser, "not connected")
