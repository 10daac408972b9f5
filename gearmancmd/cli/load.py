"""From an import path to a queue. Whatever the user's module does wrong is told with its own file and line."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

from ..cmd import GearmanCMD
from ..logs import exit_call, reason
from ..queue import GearmanCMDQueue
from .failure import Misuse
from .place import place, user_place
from .sigterm import Terminated


def queue_paths(targets: Sequence[str], queue: str | None) -> list[tuple[str, str]]:
    """The pairs of a queue's name and an import path. Misuse when a name is missing, or left over."""
    pairs = [(name, path) for name, mark, path in (target.rpartition("=") for target in targets) if mark]
    bare = [target for target in targets if "=" not in target]
    if bare and queue is None:
        raise Misuse(f"{bare[0]}: which queue? Say QUEUE={bare[0]}, or -q QUEUE")
    if queue is not None and len(bare) != 1:
        raise Misuse(f"-q {queue} is for one MODULE:CLASS without a queue, not {len(bare)}")
    pairs += [(queue or "", path) for path in bare]
    names = [name for name, _ in pairs]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise Misuse(f"queue {twice} is given twice")
    return pairs


def gcmd_path(targets: Sequence[str], queue: str | None) -> str | None:
    """The import path of what has queues of its own; None where there are queues on the command line."""
    return targets[0] if len(targets) == 1 and "=" not in targets[0] and queue is None else None


def load_queue(path: str) -> GearmanCMDQueue:
    """The queue at an import path: of the class there, or the instance there. Misuse when there is none."""
    target = _load(path, lambda found: found() if _is_class(found, GearmanCMDQueue) else found)
    if isinstance(target, GearmanCMD) or _is_class(target, GearmanCMD):
        raise Misuse(f"{path} is a GearmanCMD, which has queues of its own: name no queue")
    if not isinstance(target, GearmanCMDQueue):
        raise Misuse(f"{path} is not a GearmanCMDQueue")
    return target


def load_gcmd(path: str) -> GearmanCMD:
    """The GearmanCMD at an import path, or what the function or the class there returns. Misuse when there is none."""
    target = _load(path, lambda found: found() if _makes_gcmd(found) else found)
    if isinstance(target, GearmanCMDQueue) or _is_class(target, GearmanCMDQueue):
        raise Misuse(f"{path}: which queue? Say QUEUE={path}, or -q QUEUE")
    if not isinstance(target, GearmanCMD):
        raise Misuse(f"{path} is neither a GearmanCMDQueue, a GearmanCMD nor a function that returns a GearmanCMD")
    return target


def _is_class(found: object, base: type) -> bool:
    return isinstance(found, type) and issubclass(found, base)


def _makes_gcmd(found: object) -> bool:
    """Whether to call it. An instance may be callable too, and a class may be anything's."""
    if isinstance(found, (type, GearmanCMD, GearmanCMDQueue)):
        return _is_class(found, GearmanCMD)
    return callable(found)


def _load(path: str, use: Callable[[Any], Any]) -> Any:
    """What `use` makes of the object at an import path. Misuse when either fails."""
    module_name, _, name = path.partition(":")
    if not module_name or not name:
        raise Misuse(f"{path} is not an import path: MODULE:CLASS, such as myapp.queues:Queue")
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # as with python -m, whatever script started us
    try:
        return use(attrgetter(name)(importlib.import_module(module_name)))
    except (KeyboardInterrupt, Terminated):
        raise
    except BaseException as error:
        raise Misuse(f"{path} cannot be loaded: {_told(error)}{place(error)}") from error


def register(gcmd: GearmanCMD, queue: str, path: str) -> None:
    """Load the queue at an import path, and register it. Misuse when either fails."""
    target = load_queue(path)
    try:
        gcmd.register_task(queue, target)
    except (KeyboardInterrupt, Terminated):
        raise
    except BaseException as error:
        refused = isinstance(error, (TypeError, ValueError)) and not user_place(error)
        told = str(error) if refused else _told(error)
        try:
            told = told.replace(repr(target), path)  # an object's address tells nobody which one it is
        except Exception:
            pass  # its repr() fails, and so is not in the text
        raise Misuse(f"{path} cannot be registered: {told}{place(error)}") from error


def _told(error: BaseException) -> str:
    """Type and text in one line. A module that calls sys.exit() has often said why, but not that it did."""
    if isinstance(error, SystemExit):
        return f"it calls {exit_call(error)}"
    if isinstance(error, SyntaxError) and error.msg:
        return f"{type(error).__name__}: {error.msg}"
    return reason(error)
