"""The dashboard of scripts/monitoring as a picture, from what a Prometheus knows: for
the documentation, where there is no Grafana.

Panels, their places, questions, names and units are those of the file. Parts of it of
which there is no data are left out, and so are curves that are 0 all the time.
"""

import json
import math
import re
from html import escape

from prometheus import MONITORING

POINTS = 100  # of a curve
COLUMN, ROW, MARGIN = 50, 30, 8
LEFT, TOP, BOTTOM = 62, 30, 24  # of a curve's panel
LEGEND = 14
COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#ff7f0e", "#9467bd", "#8c564b",
           "#e377c2", "#7f7f7f", "#bcbd22", "#17becf")
# Those of Grafana are named.
NAMED = {"red": "#d62728", "green": "#2ca02c", "orange": "#ff7f0e"}


class Panel:
    """panel    as the file has it
    curves   [(name, [(seconds, value)])]
    """

    def __init__(self, panel, ask):
        self._panel = panel
        self.title = panel["title"]
        self.place = panel["gridPos"]
        self.curves = [curve for target in panel.get("targets", ())
                       for curve in ask(target)]
        self._defaults = panel.get("fieldConfig", {}).get("defaults", {})
        self._unit = self._defaults.get("unit", "none")

    def draw(self, y, seconds):
        """Lines of SVG, from that height on."""
        place = self.place
        left, width = place["x"] * COLUMN, place["w"] * COLUMN - MARGIN
        height = place["h"] * ROW - MARGIN
        yield (f'<rect x="{left}" y="{y}" width="{width}" height="{height}" '
               'fill="white" stroke="#ddd"/>')
        yield (f'<text x="{left + 8}" y="{y + 17}" font-weight="bold">'
               f'{escape(self.title)}</text>')
        if self._panel["type"] == "stat":
            yield self._number(left + width / 2, y + height - 22)
        else:
            yield from self._plot(left + LEFT, y + TOP, width - LEFT - 12,
                                  height - TOP - BOTTOM, seconds)

    def _number(self, x, y):
        values = [value for _name, points in self.curves for _t, value in points[-1:]]
        colour = "#333"
        for step in self._defaults.get("thresholds", {}).get("steps", ()):
            if values and (step["value"] is None or values[0] >= step["value"]):
                colour = NAMED[step["color"]]
        text = shown(values[0], self._unit) if values else "–"
        return (f'<text x="{x}" y="{y}" font-size="30" text-anchor="middle" '
                f'fill="{colour}">{text}</text>')

    def _plot(self, left, top, width, height, seconds):
        drawn = [curve for curve in self.curves if any(v for _t, v in curve[1])]
        longest = max((len(name) for name, _points in drawn), default=1)
        columns = max(1, min(4, width // (6 * longest + 12)))
        height -= LEGEND * math.ceil(len(drawn) / columns)
        most = max((v for _n, points in drawn for _t, v in points), default=1)
        for part in range(5):
            x, y = left + width * part / 4, top + height * (1 - part / 4)
            yield (f'<line x1="{left}" x2="{left + width}" y1="{y:.1f}" y2="{y:.1f}" '
                   'stroke="#eee"/>')
            yield (f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">'
                   f'{shown(most * part / 4, self._unit)}</text>')
            yield (f'<text x="{x:.1f}" y="{top + height + 15:.1f}" '
                   f'text-anchor="middle">{seconds * part / 4:.0f} s</text>')
        for number, (name, points) in enumerate(drawn):
            colour = COLOURS[number % len(COLOURS)]
            line = " ".join(f"{left + width * t / seconds:.1f},"
                            f"{top + height * (1 - v / most):.1f}" for t, v in points)
            yield (f'<polyline points="{line}" fill="none" stroke="{colour}" '
                   'stroke-width="1.5"/>')
            x = left + width * (number % columns) / columns
            y = top + height + 17 + LEGEND * (1 + number // columns)
            yield f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}">{escape(name)}</text>'


def shown(value, unit):
    """As Grafana would, in short."""
    if unit == "s" and 0 < value < 1:
        return f"{1000 * value:.3g} ms"
    if unit == "bytes":
        return f"{value / (1 << 20):.0f} MB"
    text = f"{value:.0f}" if value >= 100 else f"{value:.3g}"
    return text + {"s": " s", "reqps": "/s"}.get(unit, "")


def draw(prometheus, what, began, ended, interval="5s"):
    """SVG of that time, in seconds since 1970; `what` is said above it."""
    def ask(target):
        query = target["expr"].replace("$__rate_interval", interval).replace(
            "$instance", ".*")
        rows = prometheus.get("query_range", query=query, start=began, end=ended,
                              step=(ended - began) / POINTS)["result"]
        for row in rows:
            name = re.sub(r"{{(\w+)}}", lambda m: row["metric"].get(m[1], ""),
                          target.get("legendFormat", "").replace("{{instance}}", ""))
            points = [(t - began, float(v)) for t, v in row["values"]]
            yield name.strip(), [(t, v) for t, v in points if math.isfinite(v)]

    panels = json.loads((MONITORING / "cms_notify.dashboard.json").read_text(
        "utf-8"))["panels"]
    parts, y = [f'<text x="4" y="22" font-size="15">{escape(what)}</text>'], ROW
    for title, group in groups([Panel(panel, ask) for panel in panels]):
        if not any(panel.curves for panel in group):
            continue
        first = min(panel.place["y"] for panel in group)
        parts.append(f'<text x="4" y="{y + 22}" font-size="15">{escape(title)}</text>')
        y += ROW
        for panel in group:
            parts += panel.draw(y + (panel.place["y"] - first) * ROW, ended - began)
        y += ROW * (max(p.place["y"] + p.place["h"] for p in group) - first)
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{24 * COLUMN}" height="{y}" '
        'font-family="sans-serif" font-size="11">',
        '<rect width="100%" height="100%" fill="#f4f5f5"/>', *parts, "</svg>", ""])


def groups(panels):
    """[(title of a row, its panels)]"""
    found = []
    for panel in panels:
        if panel.place["h"] == 1:
            found.append((panel.title, []))
        else:
            found[-1][1].append(panel)
    return found
