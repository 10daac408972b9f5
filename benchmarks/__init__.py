"""How fast gearmancmd's worker is, beside libgearman's C worker and others, on a gearmand of the benchmarks' own.

From a checkout, with gearmand, gcc and libgearman-dev installed, and gearmancmd in the environment::

    python -m benchmarks            # the whole, some minutes
    python -m benchmarks --quick    # under a minute, for a first look
    python -m benchmarks --only throughput --json figures.json

Each figure is the median of several rounds, and whatever is compared takes turns round by round, so that a machine that
slows down slows both. All load is on loopback, and bounded.
"""
