"""All metadata of the package; pyproject.toml holds the build system and the tools' tables only."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
EMBEDDED = ["gear>=0.16"]
CLI = ["click>=8.1", "rich>=13"]
METRICS = ["prometheus-client>=0.20"]


def version() -> str:
    """The version, read rather than imported: the dependencies may not be there yet."""
    found = re.search(r'^__version__ = "(.+)"$', (ROOT / "gearmancmd" / "__init__.py").read_text("utf-8"), re.MULTILINE)
    if found is None:
        raise RuntimeError("gearmancmd/__init__.py has no __version__")
    return found.group(1)


setup(
    name="gearmancmd",
    version=version(),
    description="Gearman workers that dispatch JSON tasks to the methods of a class, clients and a command line",
    long_description=(ROOT / "README.md").read_text("utf-8"),
    long_description_content_type="text/markdown",
    author="The gearmancmd authors",
    license_expression="MIT",
    license_files=["LICENSE"],
    keywords="gearman gearmand worker job queue",
    classifiers=[
        "Development Status :: 4 - Beta",
        "Framework :: AsyncIO",
        "Framework :: Pytest",
        "Intended Audience :: Developers",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Programming Language :: Python :: Implementation :: CPython",
        "Topic :: System :: Distributed Computing",
        "Typing :: Typed",
    ],
    packages=find_packages(include=["gearmancmd", "gearmancmd.*"]),
    package_data={"gearmancmd": ["py.typed"]},
    python_requires=">=3.10",
    install_requires=["pygearman>=0.2.6,<0.3", "simplejson>=3.19,<5"],
    entry_points={
        "console_scripts": ["gearmancmd=gearmancmd.cli:main"],
        "pytest11": ["gearmancmd=gearmancmd.pytest_plugin"],
    },
    extras_require={
        "embedded": EMBEDDED,
        "cli": CLI,
        "metrics": METRICS,
        "test": [
            *EMBEDDED,
            *CLI,
            *METRICS,
            "coverage>=7.4",
            "Django>=5.2",
            "Flask>=3",
            "hypothesis>=6.100",
            "pexpect>=4.9",
            "pyte>=0.8.2",
            "pytest>=8",
            "pytest-timeout>=2.3",
            "PyYAML>=6",
            "trustme>=1.1",
        ],
        "docs": [*METRICS, "furo>=2024.8.6", "myst-parser>=4", "sphinx>=8"],
        "lint": ["check-jsonschema>=0.31", "mypy>=1.14", "pyright[nodejs]>=1.1.400", "ruff>=0.8"],
    },
)
