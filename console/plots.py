"""What has a figure been like? A small line, as SVG without letters: what it says in numbers stands beside it.

Classes, never colours: those are the style sheet's, in light and in dark.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import drawsvg
from markupsafe import Markup

from paidonce.console.pages import count, span
from paidonce.console.scale import Scale
from paidonce.console.watch import Point

#: Pixels before the style sheet stretches it; the line keeps its width.
WIDTH, HEIGHT, EDGE = 240, 48, 2
#: Seconds that a plot shows at least, so that the first looks do not fill it.
SPAN_LEAST_S = 120.0


@dataclass(frozen=True, slots=True)
class Plot:
    """A figure with its past."""

    title: str
    #: what the figure means, for who has not met it
    means: str
    now: int | None
    most: int | None
    line: Markup


@dataclass(frozen=True, slots=True)
class _Figure:
    title: str
    means: str
    of: Callable[[Point], int | None]


FIGURES: Sequence[_Figure] = (
    _Figure("Outbox", "events that no relay has taken yet", lambda point: point.waiting),
    _Figure("Lag", "records that the consumers have not committed", lambda point: point.lag),
    _Figure("Parked", "messages that wait for a later attempt", lambda point: point.parked),
    _Figure("Effects", "calls to the outside that are open", lambda point: point.open_effects),
    _Figure("Unknown", "effects of which nobody knows", lambda point: point.unknown),
    _Figure("Dead letters", "messages that wait for a decision", lambda point: point.dead),
)


def plots(points: Sequence[Point]) -> list[Plot]:
    """Return a plot of each figure; none without points."""
    return [_plot(figure, points) for figure in FIGURES] if points else []


def reach(points: Sequence[Point]) -> str:
    """Say how far back the plots go."""
    return span((points[-1].at - points[0].at).total_seconds()) if points else ""


def _plot(figure: _Figure, points: Sequence[Point]) -> Plot:
    values = [figure.of(point) for point in points]
    known = [value for value in values if value is not None]
    most = max(known, default=None)
    said = f"{figure.title}: {count(values[-1])} now, {count(most)} at most in {reach(points)}"
    return Plot(figure.title, figure.means, values[-1], most, _line(said, points, values, max(1, most or 0)))


def _line(said: str, points: Sequence[Point], values: Sequence[int | None], high: int) -> Markup:
    last = points[-1].at
    began = -max(SPAN_LEAST_S, (last - points[0].at).total_seconds())
    along, up = Scale(began, 0.0, 0, WIDTH), Scale(0, high, HEIGHT - EDGE, EDGE)
    drawing = drawsvg.Drawing(WIDTH, HEIGHT, class_="plot", role="img", preserveAspectRatio="none")
    drawing.append(drawsvg.Title(said))
    drawing.append(drawsvg.Line(0, HEIGHT - EDGE, WIDTH, HEIGHT - EDGE, class_="axis"))
    seconds = [(point.at - last).total_seconds() for point in points]
    for stretch in _stretches([(along(at), value) for at, value in zip(seconds, values, strict=True)]):
        area, line = drawsvg.Path(class_="area"), drawsvg.Path(class_="line")
        area.M(stretch[0][0], HEIGHT - EDGE)
        line.M(stretch[0][0], up(stretch[0][1]))
        for x, value in stretch:
            area.L(x, up(value))
            line.L(x, up(value))
        area.L(stretch[-1][0], HEIGHT - EDGE)
        drawing.extend([area, line])
    return Markup(drawing.as_svg(header="", skip_js=True, skip_css=True))  # noqa: S704  drawsvg escapes texts


def _stretches(places: Sequence[tuple[float, int | None]]) -> Iterator[list[tuple[float, int]]]:
    """Yield what is known in one piece: the line breaks where nobody could say."""
    stretch: list[tuple[float, int]] = []
    for x, value in places:
        if value is not None:
            stretch.append((x, value))
        elif stretch:
            yield stretch
            stretch = []
    if stretch:
        yield stretch
