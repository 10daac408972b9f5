#!/usr/bin/env python3
"""Draws the terminal pictures of docs/pictures/, each from a real run. Arguments: their names, by default all.

It needs gearmand and the extra `test`. Ports, times and speeds differ from run to run, so that the pictures do too.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ["TERM"] = "xterm-256color"

from gearmancmd import GearmanCMD, GearmanCMDQueue, JobFailed, JSONGearmanClient  # noqa: E402 - of this checkout
from gearmancmd.testing import working  # noqa: E402
from tests.support.gearmand import Gearmand  # noqa: E402
from tests.support.screen import Screen, exit_status, spawn  # noqa: E402
from tests.support.workers import ExampleProcess  # noqa: E402

PICTURES = ROOT / "docs" / "pictures"

# Pixels.
CELL_WIDTH, LINE_HEIGHT, FONT_SIZE, MARGIN = 8.4, 19, 14, 14

#: The colours of a terminal, by the names that pyte has for them; it gives others as six hexadecimal digits.
COLOURS = {
    "default": "#d8dee9",
    "black": "#4c566a",
    "red": "#e0717c",
    "green": "#a3be8c",
    "brown": "#ebcb8b",
    "blue": "#81a1c1",
    "magenta": "#c49abe",
    "cyan": "#88c0d0",
    "white": "#e5e9f0",
}
BACKGROUND, BORDER = "#1f242e", "#4c566a"


# The runs.


@contextmanager
def terminal(command: str, columns: int, lines: int, server: Gearmand | None = None) -> Iterator[Screen]:
    """A command in a terminal; whatever it does, it ends with the block."""
    environ = {"GEARMAN_SERVERS": server.address} if server is not None else {}
    child = spawn(command, columns, lines, TERM="xterm-256color", **environ)
    try:
        yield Screen(child)
    finally:
        child.close(force=True)


def demo(server: Gearmand) -> str:
    """The demo, to its end."""
    command = "gearmancmd demo"
    with terminal(command, 80, 9) as screen:
        screen.wait_for(lambda lines: any('"olleH"' in line for line in lines), "the demo's end")
        return drawn(screen.cells(), command)


def call(server: Gearmand) -> str:
    """A call whose job is in its second half."""
    command = 'gearmancmd call progress checksum numbers="[$(seq -s, 400)]"'
    worker = ExampleProcess("progress.py", server.address)
    try:
        with terminal(command, 80, 2, server) as screen:
            screen.wait_for(lambda lines: re.search(r" (2[4-9]\d|3\d\d)/400 ", "\n".join(lines)), "the second half")
            return drawn(screen.cells(), command)
    finally:
        worker.interrupt()
        worker.end()


def run(server: Gearmand) -> str:
    """A worker's log, from its start to its end by Ctrl+C."""
    command = "gearmancmd run queue=examples.reverse:Queue progress=examples.progress:Queue"
    with terminal(command, 114, 11, server) as screen, JSONGearmanClient([server.address], timeout=20) as client:
        for message in ("Hello", "namraeg", ".eert a pu deppac eW"):
            client.call("queue", {"command": "reverse", "message": message})
        client.call("progress", {"command": "checksum", "numbers": list(range(40))})
        try:
            client.call("progress", {"command": "checksum", "numbers": "one, two"})
        except JobFailed:
            pass  # the log is to show it
        screen.wait_for(lambda lines: any("must be a list" in line for line in lines), "the failure's line")
        screen.child.sendintr()
        screen.wait_for(lambda lines: any("has ended" in line for line in lines), "the worker's end")
        picture = drawn(screen.cells(), command)
        exit_status(screen.child)
        return picture


class Slow(GearmanCMDQueue):
    """Its command takes as long as the task says."""

    def work(self, gcmd: GearmanCMD, task: dict[str, float]) -> None:
        """Take some seconds."""
        time.sleep(task["seconds"])


#: What is in the picture of `top`: each queue's workers, seconds of a job, and how many jobs are sent at each look.
LOAD: dict[str, tuple[int, float, Callable[[int], int]]] = {
    "mail": (3, 0.02, lambda look: 220 if look % 12 == 3 else 10),
    "reports": (0, 0.0, lambda look: look % 2),
    "search index": (2, 0.03, lambda look: 4 if look < 20 else 12),
    "thumbnails": (4, 0.1, lambda look: 60 if look == 2 else 4),
}
LOOKS, LOOK_SECONDS = 32, 0.25


def top(server: Gearmand) -> str:
    """Queues under a load of several kinds."""
    command = f"gearmancmd top --interval {LOOK_SECONDS}"
    with ExitStack() as stack:
        client = stack.enter_context(JSONGearmanClient([server.address], timeout=20))
        for queue, (workers, _, _) in LOAD.items():
            for _ in range(workers):
                stack.enter_context(working(GearmanCMD([server.address]).register_task(queue, Slow())))
        screen = stack.enter_context(terminal(command, 88, 6, server))
        for look in range(LOOKS):
            for queue, (_, seconds, jobs) in LOAD.items():
                list(client.submit_many(queue, [{"command": "work", "seconds": seconds}] * jobs(look)))
            end = time.monotonic() + LOOK_SECONDS
            while time.monotonic() < end:
                screen.lines()  # else the terminal is full at last, and the command waits for it
                time.sleep(0.02)
        return drawn(screen.cells(), command)


# The drawing.


def drawn(cells: list[list[Any]], command: str) -> str:
    """The screen as SVG, below the command as somebody typed it."""
    lines = [[("$ ", COLOURS["green"], True), (command, COLOURS["white"], True)], *map(pieces, cells)]
    while not lines[-1]:
        lines.pop()
    columns = max(len(cells[0]), len(command) + 2)
    width, height = round(columns * CELL_WIDTH + 2 * MARGIN), len(lines) * LINE_HEIGHT + 2 * MARGIN
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
            'role="img">',
            f"<title>{escape(command)}</title>",
            f'<rect x=".5" y=".5" width="{width - 1}" height="{height - 1}" rx="8" fill="{BACKGROUND}" '
            f'stroke="{BORDER}"/>',
            f'<g font-family="ui-monospace, Menlo, Consolas, \'DejaVu Sans Mono\', monospace" font-size="{FONT_SIZE}">',
            *(text for number, line in enumerate(lines) for text in texts(line, number)),
            "</g>",
            "</svg>\n",
        ]
    )


def pieces(row: list[Any]) -> list[tuple[str, str, bool]]:
    """A line of the screen as pieces of one colour each: text, colour, whether it is bold."""
    found = [
        ("".join(cell.data for cell in group), COLOURS.get(colour, f"#{colour}"), bold)
        for (colour, bold), group in groupby(row, key=lambda cell: (cell.fg, cell.bold))
    ]
    while found and not found[-1][0].strip():
        found.pop()
    return found


def texts(line: Iterable[tuple[str, str, bool]], number: int) -> Iterator[str]:
    """A line's pieces as elements, cut where there are two spaces or more, which SVG would make one.

    Each says how long it is, so that the columns stand in line in any font.
    """
    y = MARGIN + number * LINE_HEIGHT + FONT_SIZE
    column = 0
    for text, colour, bold in line:
        weight = ' font-weight="bold"' if bold else ""
        for found in re.finditer(r"\S+(?: \S+)*", text):
            x, length = MARGIN + (column + found.start()) * CELL_WIDTH, len(found[0]) * CELL_WIDTH
            yield (
                f'<text x="{x:.1f}" y="{y}" fill="{colour}"{weight} textLength="{length:.1f}" '
                f'lengthAdjust="spacingAndGlyphs">{escape(found[0])}</text>'
            )
        column += len(text)


SCENES: dict[str, Callable[[Gearmand], str]] = {"demo": demo, "call": call, "run": run, "top": top}


def main(names: list[str]) -> None:
    """Draw the pictures of these names."""
    PICTURES.mkdir(exist_ok=True)
    for name in names or SCENES:
        with Gearmand("--job-handle-prefix", "H:example") as server:
            (PICTURES / f"{name}.svg").write_text(SCENES[name](server), "utf-8")
        print(f"docs/pictures/{name}.svg")


if __name__ == "__main__":
    main(sys.argv[1:])
