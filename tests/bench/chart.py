"""Bar charts as SVG."""

from html import escape

WIDTH, PLOT_HEIGHT = 760, 260
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 48, 72
COLOURS = ("#5b7a99", "#2a9d5c", "#d1673a", "#e3a35f", "#8a6fb0",
           "#1f7a8c", "#9bc53d", "#c0504d")


def bars(title, unit, groups):
    """SVG text. groups: [(label, [(series, middle, low, high)])]; the same
    series has the same colour everywhere; low and high are drawn as a
    whisker."""
    series = list(dict.fromkeys(name for _, its in groups
                                for name, *_ in its))
    top = nice(max((high for _, its in groups for *_, high in its),
                   default=1) or 1)
    height = TOP + PLOT_HEIGHT + BOTTOM
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" '
           f'height="{height}" viewBox="0 0 {WIDTH} {height}" '
           'font-family="sans-serif" font-size="12">',
           f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
           text(WIDTH / 2, 20, title, size=15)]
    out += axis(top, unit)
    room = (WIDTH - LEFT - RIGHT) / max(len(groups), 1)
    for number, (label, its) in enumerate(groups):
        left = LEFT + number * room
        out.append(text(left + room / 2, TOP + PLOT_HEIGHT + 18, label))
        wide = room * 0.84 / max(len(its), 1)
        for place, (name, middle, low, high) in enumerate(its):
            out += bar(left + room * 0.08 + place * wide, wide * 0.86, middle,
                       low, high, top, COLOURS[series.index(name)
                                               % len(COLOURS)])
    out += legend(series)
    return "\n".join(out + ["</svg>", ""])


def nice(value):
    """The least 1, 2, 2.5, 5 or 10 times a power of ten that is as much."""
    power = 10.0 ** len(str(int(value)))
    while power / 10 > value:
        power /= 10
    return next(step * power / 10 for step in (1, 2, 2.5, 5, 10)
                if step * power / 10 >= value)


def number(value):
    return f"{value:,.0f}" if value >= 100 or value == int(value) \
        else f"{value:.3g}"


def y_of(value, top):
    return TOP + PLOT_HEIGHT * (1 - min(value, top) / top)


def text(x, y, words, anchor="middle", size=12, fill="#222"):
    return (f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" '
            f'font-size="{size}" fill="{fill}">{escape(words)}</text>')


def line(x1, y1, x2, y2, colour="#222"):
    return (f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" '
            f'stroke="{colour}"/>')


def axis(top, unit):
    for step in range(6):
        value = top * step / 5
        y = y_of(value, top)
        yield line(LEFT, y, WIDTH - RIGHT, y, "#ddd" if step else "#222")
        yield text(LEFT - 6, y + 4, number(value), "end")
    yield text(LEFT - 6, TOP - 14, unit, "end", 11, "#555")


def bar(x, wide, middle, low, high, top, colour):
    y = y_of(middle, top)
    yield (f'<rect x="{x:.1f}" y="{y:.1f}" width="{wide:.1f}" '
           f'height="{TOP + PLOT_HEIGHT - y:.1f}" fill="{colour}"/>')
    centre = x + wide / 2
    if high > low:
        yield line(centre, y_of(low, top), centre, y_of(high, top))
        for value in (low, high):
            yield line(centre - 4, y_of(value, top), centre + 4,
                       y_of(value, top))
    yield text(centre, y_of(high, top) - 4, number(middle), size=10)


def legend(series):
    x, y = LEFT, TOP + PLOT_HEIGHT + 40
    for place, name in enumerate(series):
        wide = 24 + 6.6 * len(name)
        if x + wide > WIDTH - RIGHT:
            x, y = LEFT, y + 18
        yield (f'<rect x="{x:.1f}" y="{y - 9}" width="10" height="10" '
               f'fill="{COLOURS[place % len(COLOURS)]}"/>')
        yield text(x + 15, y, name, "start", 11)
        x += wide
