"""What does a run look like on one line of time? Throughput, waits and every fault, as SVG.

The plot says classes, never colours: those are the style sheet's, in light and in dark. It is drawn
twice, for a desk and for a phone, so that its letters keep their size. Whatever comes from a run goes into texts, which
drawsvg escapes, and never into attributes, which it does not.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import drawsvg
from markupsafe import Markup

from paidonce.chaos.facts import Fault
from paidonce.chaos.page.series import Series
from paidonce.console.scale import Scale, powers, ticks

#: Pixels of one letter at the size of a label, so that labels do not run into each other.
LETTER = 6.2
#: A fault that was over at once is still to be seen.
BAND_LEAST = 3.0
#: The shortest wait that is told apart, and the longest one that every plot has room for.
WAIT_LEAST_S, WAIT_MOST_S = 0.001, 1.0


@dataclass(frozen=True, slots=True)
class Layout:
    """The measures of a plot, in pixels."""

    name: str
    width: int
    #: beside the plots, for the figures at their edge and the names of targets
    left: int
    panel: int
    #: of one target
    lane: int
    #: whether the target stands above its lane and not beside it
    above: bool
    #: marks on the line of time
    ticks: int


LAYOUTS = (
    Layout("wide", width=960, left=168, panel=110, lane=26, above=False, ticks=10),
    Layout("narrow", width=340, left=48, panel=92, lane=36, above=True, ticks=5),
)
#: Above a panel, for its title; right of it, for the last letters of its edge; below it all, for the time.
TITLE, RIGHT, FOOT = 34, 14, 34


def timeline(series: Series, faults: Sequence[Fault]) -> Markup:
    """Return the plot in both layouts."""
    return Markup("\n").join(_Plot(layout, series, faults).drawn() for layout in LAYOUTS)


def _lasts(fault: Fault) -> bool:
    """Tell whether the fault is there all the time: it has a lane of its own then, and no moment to be shaded."""
    return fault.kind == "skew"


def _lane(fault: Fault) -> str:
    return f"{fault.target} clock" if _lasts(fault) else fault.target


class _Plot:
    def __init__(self, layout: Layout, series: Series, faults: Sequence[Fault]) -> None:
        self._layout, self._series = layout, series
        self._fired = [fault for fault in faults if fault.fired_at is not None]
        self._targets = sorted(set(map(_lane, self._fired)))
        self._time = Scale(0.0, series.lasts_s, layout.left, layout.width - RIGHT)
        self._parts: list[drawsvg.DrawingElement] = []

    def drawn(self) -> Markup:
        y = self._throughput(0)
        y = self._waits(y)
        if any(self._series.unanswered):
            y = self._unanswered(y)
        self._shades(y)
        y = self._lanes(y + TITLE) if self._targets else y
        self._foot(y)
        drawing = drawsvg.Drawing(self._layout.width, y + FOOT, class_=f"plot {self._layout.name}", role="img")
        drawing.append(drawsvg.Title("Throughput, waits and faults on one line of time"))
        drawing.extend(self._parts)
        return Markup(drawing.as_svg(header="", skip_js=True, skip_css=True))  # noqa: S704  drawsvg escapes texts

    def _throughput(self, y: float) -> float:
        high = max(1.0, *self._series.accepted, *self._series.captured) * 1.1
        scale = self._panel(y, "payments a second", [("accepted", "accepted"), ("captured", "captured")], high)
        self._parts.append(self._steps(self._series.accepted, scale, "accepted"))
        self._parts.append(self._steps(self._series.captured, scale, "captured"))
        return y + TITLE + self._layout.panel

    def _waits(self, y: float) -> float:
        top, bottom = y + TITLE, y + TITLE + self._layout.panel
        high = max(WAIT_MOST_S, *(one or 0.0 for one in self._series.most)) * 1.2
        scale = Scale(WAIT_LEAST_S, high, bottom, top, by_powers=True)
        self._title(y, "time until an answer", [("half", "half of them"), ("most", "99 %")])
        for value in powers(WAIT_LEAST_S, high):
            self._edge(scale(value), f"{value:g} s" if value >= 1 else f"{value * 1000:g} ms")
        for values, name in ((self._series.most, "most"), (self._series.half, "half")):
            self._parts.append(self._steps(values, scale, name))
        return bottom

    def _unanswered(self, y: float) -> float:
        most = max(self._series.unanswered)
        bottom = y + TITLE + self._layout.panel / 2
        scale = Scale(0.0, most, bottom, y + TITLE)
        self._title(y, "requests a second without an answer", [])
        self._edge(bottom, "0")
        self._edge(scale(most), f"{most:g}")
        for number, value in enumerate(self._series.unanswered):
            left, right = self._stretch(number)
            if value:
                bar = drawsvg.Rectangle(left, scale(value), right - left, bottom - scale(value), class_="unanswered")
                self._parts.append(bar)
        return bottom

    def _panel(self, y: float, title: str, legend: Sequence[tuple[str, str]], high: float) -> Scale:
        scale = Scale(0.0, high, y + TITLE + self._layout.panel, y + TITLE)
        self._title(y, title, legend)
        for value in ticks(high, 4):
            self._edge(scale(value), f"{value:g}")
        return scale

    def _title(self, y: float, title: str, legend: Sequence[tuple[str, str]]) -> None:
        self._text(title, 0 if self._layout.above else self._layout.left, y + TITLE - 9, "title")
        x = float(self._layout.width - RIGHT)
        for class_, text in reversed(legend):
            x -= len(text) * LETTER
            self._text(text, x, y + TITLE - 9, "label")
            x -= 14
            self._parts.append(drawsvg.Line(x, y + TITLE - 13, x + 10, y + TITLE - 13, class_=f"line {class_}"))
            x -= 12

    def _edge(self, y: float, text: str) -> None:
        self._parts.append(drawsvg.Line(self._time.start, y, self._time.end, y, class_="grid"))
        self._text(text, self._time.start - 6, y + 4, "label end")

    def _steps(self, values: Sequence[float | None], scale: Scale, name: str) -> drawsvg.Path:
        """Return a line that stays level in each stretch, and breaks where there is no value."""
        path, broken = drawsvg.Path(class_=f"line {name}"), True
        for number, value in enumerate(values):
            if value is not None:
                left, right = self._stretch(number)
                (path.M if broken else path.L)(left, scale(value))
                path.L(right, scale(value))
            broken = value is None
        return path

    def _stretch(self, number: int) -> tuple[float, float]:
        begin = number * self._series.stretch_s
        return self._time(begin), self._time(begin + self._series.stretch_s)

    def _shades(self, bottom: float) -> None:
        """Shade everything above for as long as some fault was felt; where several were, no darker."""
        felt: list[tuple[float, float]] = []
        for left, _, right in sorted(self._band(fault) for fault in self._fired if not _lasts(fault)):
            if felt and left <= felt[-1][1]:
                felt[-1] = (felt[-1][0], max(felt[-1][1], right))
            else:
                felt.append((left, max(left + 1.0, right)))
        self._parts[:0] = [
            drawsvg.Rectangle(left, TITLE, round(right - left, 1), bottom - TITLE, class_="shade")
            for left, right in felt
        ]

    def _lanes(self, y: float) -> float:
        self._title(y - TITLE, "faults", [("struck", "at work"), ("felt", "until whom it struck works again")])
        for target in self._targets:
            lane = [fault for fault in self._fired if _lane(fault) == target]
            self._lane(y, target, sorted(lane, key=lambda fault: fault.fired_at or 0.0))
            y += self._layout.lane
        return y

    def _lane(self, y: float, target: str, lane: Sequence[Fault]) -> None:
        layout, bottom = self._layout, y + self._layout.lane - 4
        self._parts.append(drawsvg.Line(self._time.start, bottom, self._time.end, bottom, class_="grid"))
        if layout.above:
            self._text(target, layout.left, y + 11, "label")
        else:
            self._text(target, layout.left - 6, bottom - 4, "label end")
        starts = [self._band(fault)[0] for fault in lane]
        for fault, (left, room) in zip(lane, pairwise([*starts, self._time.end]), strict=True):
            self._fault(fault, bottom, (room - left) - 6)

    def _fault(self, fault: Fault, bottom: float, room: float) -> None:
        left, healed, right = self._band(fault)
        group, height = drawsvg.Group(), 14
        over = max(healed, left + BAND_LEAST)
        group.append(drawsvg.Title(f"fault {fault.number}: {fault.kind} {fault.target}. {fault.saw}"))
        felt = round(max(right - left, BAND_LEAST), 1)
        group.append(drawsvg.Rectangle(left, bottom - height, felt, height, class_="felt"))
        group.append(drawsvg.Rectangle(left, bottom - height, round(over - left, 1), height, class_="struck"))
        self._parts.append(group)
        named = [f"{fault.number} {fault.kind}", str(fault.number)][int(self._layout.above) :]
        inside = [text for text in named if len(text) * LETTER + 6 <= over - left]
        beside = [text for text in named if len(text) * LETTER + 6 <= room - (over - left)]
        if inside and (inside[0] == named[0] or not beside):
            self._text(inside[0], left + 3, bottom - 3, "label over")
        else:
            self._text((beside or named[-1:])[0], over + 3, bottom - 3, "label name")

    def _band(self, fault: Fault) -> tuple[float, float, float]:
        """Return where a fault began, where its cause was over, and where whom it struck worked again."""
        assert fault.fired_at is not None
        healed_at = fault.fired_at if fault.healed_at is None else fault.healed_at
        back_at = healed_at + (fault.back_after_s or 0.0)
        began, healed, back = (self._time(at - self._series.origin) for at in (fault.fired_at, healed_at, back_at))
        return began, healed, back

    def _foot(self, y: float) -> None:
        self._parts.append(drawsvg.Line(self._time.start, y, self._time.end, y, class_="axis"))
        for value in ticks(self._series.lasts_s, self._layout.ticks):
            self._parts.append(drawsvg.Line(self._time(value), y, self._time(value), y + 4, class_="axis"))
            self._text(f"{value:g} s", self._time(value), y + 17, "label middle")

    def _text(self, text: str, x: float, y: float, classes: str) -> None:
        self._parts.append(drawsvg.Text(text, 11, round(x, 1), round(y, 1), class_=classes))
