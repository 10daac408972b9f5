"""What processes hold over a time, memory and descriptors, and a picture of it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

#: Points of a curve, and its colours; the size of the picture.
POINTS = 200
COLOURS = ["#2a6f97", "#c1666b", "#5b8e3e", "#d4a017", "#7b5ea7"]
WIDTH, HEIGHT = 640, 200


class Sample(NamedTuple):
    at: float
    mebibytes: float
    descriptors: int


class Held:
    """The resident set of a process in MiB, and how many descriptors it has, whenever it was looked at."""

    def __init__(self, name: str, pid: int) -> None:
        self.name = name
        self.samples: list[Sample] = []
        self._process = Path(f"/proc/{pid}")

    def look(self, at: float) -> None:
        pages = int((self._process / "statm").read_text("ascii").split()[1])
        descriptors = len(list((self._process / "fd").iterdir()))
        self.samples.append(Sample(at, pages * os.sysconf("SC_PAGE_SIZE") / 2**20, descriptors))

    def fifth(self, number: int) -> list[Sample]:
        """The samples of one of five parts of the time; the first part is 0."""
        count = len(self.samples)
        return self.samples[count * number // 5 : count * (number + 1) // 5]

    @property
    def growth(self) -> float:
        """How many MiB more it held in the last fifth than in the second. Medians, for payloads come and go."""
        first, last = (median(sample.mebibytes for sample in self.fifth(number)) for number in (1, 4))
        return last - first

    @property
    def more_descriptors(self) -> float:
        """The same for its descriptors."""
        first, last = (median(sample.descriptors for sample in self.fifth(number)) for number in (1, 4))
        return last - first


def drawn(curves: Sequence[Held]) -> str:
    """The resident sets as SVG: seconds and MiB."""
    seconds = max(held.samples[-1].at for held in curves)
    most = max(sample.mebibytes for held in curves for sample in held.samples)
    high = most * 1.2
    texts = [f'<text x="4" y="14">resident set, up to {most:.0f} MiB</text>']
    for number, (held, colour) in enumerate(zip(curves, COLOURS)):
        points = " ".join(
            f"{sample.at / seconds * WIDTH:.1f},{HEIGHT * (1 - sample.mebibytes / high):.1f}"
            for sample in thinned(held)
        )
        texts += [
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>',
            f'<text x="{4 + number * 140}" y="{HEIGHT + 15}" fill="{colour}">{held.name}</text>',
        ]
    texts.append(f'<text x="{WIDTH - 4}" y="{HEIGHT + 15}" text-anchor="end">{seconds:.0f} s</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT + 20}" font-family="sans-serif" '
        f'font-size="12"><rect width="{WIDTH}" height="{HEIGHT + 20}" fill="white"/>\n' + "\n".join(texts) + "</svg>\n"
    )


def thinned(held: Held) -> list[Sample]:
    """The largest of each few samples."""
    step = max(1, len(held.samples) // POINTS)
    pieces = [held.samples[start : start + step] for start in range(0, len(held.samples), step)]
    return [max(piece, key=lambda sample: sample.mebibytes) for piece in pieces]
