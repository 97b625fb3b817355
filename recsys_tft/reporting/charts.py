"""Charts as inline SVG in the colours of the page, as wide as their container.

Bars and lines are in a part that is stretched to the width; texts and dots are outside it, at shares of the width, so
that they keep their size.
"""

from collections.abc import Mapping, Sequence

from recsys_tft.reporting.elements import Child, Markup, element, titled
from recsys_tft.reporting.numbers import percent, short

Series = Mapping[str, Sequence[float]]  # by the name of the style: train, val, test, other


def picture(height: float, label: str, *children: Child, class_: str = "chart") -> Markup:
    """A picture of a height in pixels and of any width, with a description in words."""
    title = titled(label)
    return element("svg", title, *children, width="100%", height=height, class_=class_, role="img", aria_label=label)


def _stretched(columns: float, top: float, height: float, *children: Child) -> Markup:
    """A stretched part, in which x goes from 0 to `columns` and y from 0 to `height`."""
    return element(
        "svg",
        *children,
        x=0,
        y=top,
        width="100%",
        height=height,
        viewBox=f"0 0 {columns:g} {height:g}",
        preserveAspectRatio="none",
    )


def _text(text: Child, share: float, y: float, anchor: str = "start", class_: str = "mark", dx: float = 0) -> Markup:
    return element("text", text, x=f"{share:.2%}", y=y, dx=dx or None, class_=f"{class_} {anchor}")


def _level(share: float, class_: str, y: float, end: float = 1.0) -> Markup:
    return element("line", x1=f"{share:.2%}", x2=f"{end:.2%}", y1=y, y2=y, class_=class_)


def distribution(series: Series, marks: Sequence[str], label: str) -> Markup:
    """Bars of the first series and steps of the others, [n] shares each; `marks` are below both ends."""
    height, foot = 88.0, 16.0
    floor = height - foot
    n = max((len(values) for values in series.values()), default=0)
    if not n:
        return picture(height, label, _text("no values", 0.5, height / 2, "middle"))
    highest = max(max(values, default=0) for values in series.values()) or 1
    drawn: list[Markup] = []
    for number, (name, values) in enumerate(series.items()):
        tops = [floor - (floor - 4) * value / highest for value in values]
        if number == 0:
            drawn += [
                element("rect", x=place + 0.06, y=top, width=0.88, height=floor - top, class_=f"bar {name}")
                for place, top in enumerate(tops)
                if top < floor
            ]
        else:
            path = "".join(f"{'L' if i else 'M'}{i} {top:.1f}H{i + 1}" for i, top in enumerate(tops))
            drawn.append(element("path", d=path, class_=f"line {name}"))
    shares = {1: [0.5], 2: [0.0, 1.0], 3: [0.0, 0.5, 1.0]}.get(len(marks), [])
    anchors = {1: ["middle"], 2: ["start", "end"], 3: ["start", "middle", "end"]}.get(len(marks), [])
    texts = [_text(m, x, height - 3, a) for m, x, a in zip(marks, shares, anchors, strict=False)]
    return picture(height, label, _stretched(n, 0, floor, drawn), _level(0, "axis", floor), texts)


def bars(rows: Sequence[tuple[str, float]], label: str, shown: Sequence[str] | None = None) -> Markup:
    """Names, horizontal bars coloured by the sign of their value, and numbers."""
    highest = max((abs(value) for _, value in rows), default=0) or 1
    drawn = []
    for number, (name, value) in enumerate(rows):
        tone = "negative" if value < 0 else "train"
        bar = element(
            "rect", x=0, y=5, width=f"{max(abs(value) / highest, 0.003):.2%}", height=10, rx=2, class_=f"bar {tone}"
        )
        text = shown[number] if shown else short(value)
        drawn.append(_row(name, picture(20, f"{name}: {text}", bar, class_="track"), text))
    return element("div", drawn, class_="rows", role="group", aria_label=label)


def intervals(rows: Sequence[tuple[str, float, float, float, bool]], label: str) -> Markup:
    """Names, dots with their intervals on one scale, and numbers; models are highlighted against baselines.

    Args:
        rows: the name, the value, the ends of its interval, and whether it is the model.
        label: description of the chart.
    """
    low, high = min(row[2] for row in rows), max(row[3] for row in rows)
    low, high = (low - 0.5, high + 0.5) if low == high else (low, high)

    def place(value: float) -> str:
        return f"{0.02 + 0.96 * (value - low) / (high - low):.2%}"

    drawn = []
    for name, value, least, most, is_model in rows:
        tone = "train" if is_model else "other"
        shapes = (
            _level(0, "grid", 10),
            element("line", x1=place(least), x2=place(most), y1=10, y2=10, class_=f"interval {tone}"),
            element("circle", cx=place(value), cy=10, r=4.5, class_=f"dot {tone}"),
        )
        description = f"{name}: {value:.4f}, between {least:.4f} and {most:.4f}"
        drawn.append(_row(name, picture(20, description, shapes, class_="track"), f"{value:.4f}", is_model))
    return element("div", drawn, class_="rows", role="group", aria_label=label)


def _row(name: str, track: Markup, number: str, strong: bool = False) -> Markup:
    style = "row strong" if strong else "row"
    return element(
        "div", element("span", name, class_="name"), track, element("span", number, class_="number"), class_=style
    )


def lines(series: Series, label: str, x_title: str, y_title: str, marked: int | None = None) -> Markup:
    """Lines of [n] values over 1, 2, ...; `marked` is the index of the best one."""
    top, tall, height = 36.0, 170.0, 242.0
    values = [value for points in series.values() for value in points]
    n = max(map(len, series.values()), default=0)
    if not values:
        return picture(60, label, _text("no values", 0.5, 30, "middle"))
    low, high = min(values), max(values)
    low, high = (low - 0.5, high + 0.5) if low == high else (low, high)

    def y(value: float) -> float:
        return tall - 4 - (tall - 8) * (value - low) / (high - low)

    span = max(n - 1, 1)
    drawn = [
        element(
            "path",
            d="".join(f"{'L' if i else 'M'}{i} {y(value):.1f}" for i, value in enumerate(points_of_series))
            + ("h1" if len(points_of_series) == 1 else ""),
            class_=f"line {name}",
        )
        for name, points_of_series in series.items()
    ]
    grid = []
    for part in range(4):
        value = low + (high - low) * part / 3
        grid += [_level(0, "grid", top + y(value)), _text(short(float(f"{value:.3g}")), 0, top + y(value) - 4)]
    ends = [(0, "start"), (n // 2, "middle"), (n - 1, "end")] if n > 2 else [(0, "start"), (n - 1, "end")][:n]
    marks = [_text(place + 1, place / span, top + tall + 16, anchor) for place, anchor in ends]
    best = []
    if marked is not None and 0 <= marked < n:
        share = marked / span
        best = [
            element("line", x1=f"{share:.2%}", x2=f"{share:.2%}", y1=top, y2=top + tall, class_="cut"),
            _text("best", share, top + 10, "end" if share > 0.8 else "start", dx=-5 if share > 0.8 else 5),
        ]
    titles = [_text(y_title, 0, 12), _text(x_title, 0.5, height - 4, "middle")]
    return picture(height, label, grid, _stretched(span, top, tall, drawn), best, marks, titles)


def timeline(series: Series, cuts: Sequence[tuple[float, str]], ends: tuple[str, str], label: str) -> Markup:
    """Stacked bars along time, [n] counts each, and lines where splits begin.

    Args:
        series: by split.
        cuts: the share of the axis at which a split begins, and its name.
        ends: the first and the last time.
        label: description of the chart.
    """
    top, tall, height = 24.0, 140.0, 184.0
    n = max((len(values) for values in series.values()), default=0) or 1
    totals = [sum(values[place] for values in series.values()) for place in range(n)]
    highest, base = max(totals, default=0) or 1, [tall] * n
    drawn = []
    for name, values in series.items():
        for place, value in enumerate(values):
            if value:
                long = tall * value / highest
                base[place] -= long
                drawn.append(
                    element("rect", x=place + 0.05, y=base[place], width=0.9, height=long, class_=f"bar {name}")
                )
    marks = []
    for number, (share, name) in enumerate(cuts):
        marks.append(element("line", x1=f"{share:.2%}", x2=f"{share:.2%}", y1=4, y2=top + tall, class_="cut"))
        right = share < 0.9 and (number + 1 == len(cuts) or cuts[number + 1][0] - share > 0.06)
        marks.append(_text(name, share, 13, "start" if right else "end", dx=5 if right else -5))
    texts = [_text(ends[0], 0, height - 3), _text(ends[1], 1, height - 3, "end")]
    return picture(height, label, _stretched(n, top, tall, drawn), _level(0, "axis", top + tall), marks, texts)


def calibration(points: Mapping[str, Sequence[tuple[float, float]]], label: str) -> Markup:
    """The share of positives against the mean score, with the diagonal of perfect calibration."""
    top, tall, height = 36.0, 220.0, 294.0
    highest = max((max(point) for points_of_series in points.values() for point in points_of_series), default=1) or 1

    def y(value: float) -> float:
        return tall - tall * value / highest

    drawn = [element("path", d=f"M0 {tall}L100 0", class_="cut")]
    dots = []
    for name, points_of_split in points.items():
        path = "".join(
            f"{'L' if i else 'M'}{100 * a / highest:.2f} {y(b):.1f}" for i, (a, b) in enumerate(points_of_split)
        )
        drawn.append(element("path", d=path, class_=f"line {name}"))
        dots += [
            element("circle", cx=f"{a / highest:.2%}", cy=top + y(b), r=3, class_=f"dot {name}")
            for a, b in points_of_split
        ]
    grid = []
    for part in range(5):
        value = highest * part / 4
        grid += [_level(0, "grid", top + y(value)), _text(percent(value), 0, top + y(value) - 4)]
    marks = [
        _text(percent(highest * part / 2), part / 2, top + tall + 16, a) for part, a in ((1, "middle"), (2, "end"))
    ]
    titles = [_text("Share of positives", 0, 12), _text("Mean score of a tenth of the rows", 0.5, height - 4, "middle")]
    return picture(height, label, grid, _stretched(100, top, tall, drawn), dots, marks, titles, class_="chart square")
