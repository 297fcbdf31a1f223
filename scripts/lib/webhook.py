"""Is a request signed by one of our keys, after Standard Webhooks 1.0?"""

import base64
import binascii
import hmac
import re
import time

TOLERANCE = 300  # seconds


def read_key(path):
    """The key in a file: "whsec_" and base64. ValueError if there is none."""
    with open(path, encoding="ascii") as file:
        text = file.read().strip()
    if not text.startswith("whsec_"):
        raise ValueError(f"{path}: no whsec_ and a key in base64")
    try:
        return base64.b64decode(text[6:], validate=True)
    except binascii.Error:
        raise ValueError(f"{path}: no key in base64") from None


def signature(key, id_, timestamp, body):
    """As it stands in webhook-signature."""
    signed = f"{id_}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode()


def fault(request, keys, now=None):
    """What is wrong with a request's signature; None if nothing is. Of two
    headers of one name the first counts."""
    id_ = request.get("webhook-id", "")
    sent = request.get("webhook-timestamp", "")
    found = request.get("webhook-signature", "").split(" ")
    if not re.fullmatch("[0-9]{1,12}", sent):
        return "no webhook-timestamp"
    if abs((time.time() if now is None else now) - int(sent)) > TOLERANCE:
        return "webhook-timestamp: too old, or in the future"
    right = [signature(key, id_, sent, request.body).encode() for key in keys]
    matches = [hmac.compare_digest(ours, theirs.encode("utf-8", "replace"))
               for ours in right for theirs in found]
    return None if any(matches) else "webhook-signature: none by our key"
