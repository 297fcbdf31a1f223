"""A message flow as text: three life lines, an arrow for each message, the
message itself beneath."""

import json
import textwrap

WIDTH = 100
COLUMNS = (10, 54, 98)  # of the life lines
TEXT = 14               # where a message's text begins


class Ladder:
    """`parties`: three pairs of lines, the name and the address of each."""

    def __init__(self, parties):
        self._parties = parties
        self._steps = []

    def add(self, time, source, target, label, text=""):
        """One message at `time` (s) from party 0, 1 or 2 to its neighbour."""
        self._steps.append((time, source, target, label, text))

    def lines(self):
        lines = [self._names(0), self._names(1), life_lines()]
        begin = self._steps[0][0]
        for time, source, target, label, text in self._steps:
            lines.append(self._arrow(time, begin, source, target, label))
            lines += [" " * TEXT + line for line in text.splitlines()]
            lines.append(life_lines())
        return [line.rstrip() for line in lines]

    def _names(self, row):
        line = ""
        for column, party in zip(COLUMNS, self._parties):
            name = party[row]
            start = column - len(name) // 2
            start = max(start, len(line) + 1 if line else 0)
            line = line.ljust(min(start, WIDTH - len(name))) + name
        return line

    @staticmethod
    def _arrow(time, begin, source, target, label):
        left, right = sorted((COLUMNS[source], COLUMNS[target]))
        room = right - left - 1
        shaft = f"--{label} " if source < target else f"<-{label} "
        shaft = shaft.ljust(room, "-")[:room]
        if source < target:
            shaft = shaft[:-1] + ">"
        line = list(life_lines())
        line[left + 1:right] = shaft
        offset = "" if time is None else f"{1000 * (time - begin):7.1f}"
        return offset.ljust(COLUMNS[0]) + "".join(line)[COLUMNS[0]:]


def life_lines():
    line = [" "] * (COLUMNS[-1] + 1)
    for column in COLUMNS:
        line[column] = "|"
    return "".join(line)


def wrap(line):
    """One long line as several that fit beneath an arrow."""
    return textwrap.fill(line, WIDTH - TEXT, subsequent_indent="    ",
                         break_on_hyphens=False) if line else ""


def visible(data):
    """Bytes from outside for a terminal: no control character but the line
    break survives."""
    text = data.decode("utf-8", "replace").replace("\r\n", "\n")
    return "".join(c if c.isprintable() or c == "\n" else
                   f"\\x{ord(c):02x}" for c in text)


def message_text(data):
    """A SIP or HTTP message, long lines wrapped; a JSON body with blanks."""
    head, _, body = data.partition(b"\r\n\r\n")
    lines = [wrap(line) for line in visible(head).split("\n")]
    if body:
        try:
            shown = json.dumps(json.loads(body), ensure_ascii=False).encode()
        except ValueError:
            shown = body[:1000]
        lines += [""] + [wrap(line) for line in visible(shown).split("\n")]
    return "\n".join(lines)
