"""Is a request to the CMS what modules/cms_notify/doc/cms-api.json says?"""

import json
import os

try:
    import jsonschema
except ImportError:  # the document is then not checked, only that it is JSON
    jsonschema = None

API = os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir,
                   os.pardir, "modules", "cms_notify", "doc", "cms-api.json")


def available():
    return jsonschema is not None


def _no_constant(name):
    raise ValueError(f"{name} is no JSON")


def _no_duplicates(pairs):
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a name appears twice in one object")
    return result


def strict_json(data):
    """The value, or ValueError where lenient parsers would guess: broken
    UTF-8, lone surrogates, repeated names, NaN."""
    value = json.loads(data.decode("utf-8"), parse_constant=_no_constant,
                       object_pairs_hook=_no_duplicates)
    json.dumps(value, ensure_ascii=False).encode("utf-8")
    return value


def _relations(headers, value):
    """What a schema cannot say: key and trace are of these events, and no two events
    are of one AOR."""
    events = value if isinstance(value, list) else [value]
    if not events or not all(isinstance(e, dict) and "id" in e
                             for e in events):
        return []
    found = []
    key = headers.get("idempotency-key", [""])[0].strip('"')
    right = str(events[0]["id"])
    if len(events) > 1:
        right += f"-{len(events)}-"
        key = key[:len(right)]
    if key != right:
        found.append("header Idempotency-Key: not of the body's id")
    trace = headers.get("traceparent")
    if trace and trace[0].split("-")[1:2] != [str(events[0]["id"])]:
        found.append("header traceparent: not of the first event's id")
    aors = [e.get("aor") for e in events]
    if len(set(map(str, aors))) < len(aors):
        found.append("body: two events of one aor")
    return found


class Checker:
    """Checks requests against the published interface."""

    def __init__(self, path=API):
        with open(path, encoding="utf-8") as file:
            document = json.load(file)
        operation = document["paths"]["/"]["post"]
        content = operation["requestBody"]["content"]
        self.media_types = list(content)
        self._headers = []
        self._body = None
        if not available():
            return
        for parameter in operation["parameters"]:
            self._headers.append((parameter, self._validator(
                document, parameter["schema"])))
        self._body = self._validator(
            document, content["application/json"]["schema"])

    @staticmethod
    def _validator(document, schema):
        # References in the document are relative to its root.
        return jsonschema.Draft202012Validator(
            {**schema, "components": document["components"]})

    def errors(self, headers, body):
        """What is wrong with a request, as a list of lines; [] if nothing.

        headers  list of (name, value); body: bytes
        """
        found = []
        values = {}
        for name, value in headers:
            values.setdefault(name.lower(), []).append(value)
        for parameter, validator in self._headers:
            name = parameter["name"]
            got = values.get(name.lower(), [])
            if not got and not parameter["required"]:
                continue
            if len(got) != 1:
                found.append(f"header {name}: {len(got)} times")
                continue
            found += [f"header {name}: {e.message}"
                      for e in validator.iter_errors(got[0])]
        types = values.get("content-type", [])
        if types not in [[t] for t in self.media_types]:
            found.append(f"header Content-Type: {types}")
        try:
            value = strict_json(body)
        except (ValueError, RecursionError) as error:
            return found + [f"body: {error}"]
        if self._body is not None:
            found += [f"body{e.json_path[1:]}: {e.message}"
                      for e in self._body.iter_errors(value)]
        return found + _relations(values, value)
