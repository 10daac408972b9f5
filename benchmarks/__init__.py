"""How fast gearmancmd's worker is, beside what one CPython thread can do, on a gearmand of the benchmarks' own.

The yardstick is ``peers/bare_worker.py``, a bare loop without threads and without a library: ours against it shows
what the library costs, on whatever machine. libgearman's C worker, php-gearman and others are measured against the same
loop (``--only peers``), so that each row says how far that one is ahead or behind at prefetch 1.

From a checkout, with gearmand, gcc and libgearman-dev installed, and gearmancmd in the environment::

    python -m benchmarks            # the whole, some minutes
    python -m benchmarks --quick    # under a minute, for a first look
    python -m benchmarks --only throughput --json figures.json

Each figure is the median of several rounds, and whatever is compared takes turns round by round, so that a machine that
slows down slows both. The last column says what is wanted: of the ratio where there is a yardstick, else of the figure
itself. All load is on loopback, and bounded.
"""
