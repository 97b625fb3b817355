"""Processes that are killed before each of their calls that change a filesystem, one after the other."""

import os
import pathlib
import signal
import sys
from collections.abc import Callable

from recsys_tft.storage import version_folders

EVENTS = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.symlink", "os.link", "shutil.rmtree", "os.truncate"}
OPENED_TO_WRITE = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


def killed_at(number: int, act: Callable[[], None], within: pathlib.Path) -> bool:
    """Runs `act` in a process of its own, which is killed before its call of that number, from 0; False if it ends.

    Args:
        number: of a call that makes, renames or removes something `within` a folder; `swap` is one.
        act: what to do.
        within: the folder; other calls are not counted.
    """
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            assert os.WTERMSIG(status) == signal.SIGKILL
            return True
        assert os.WEXITSTATUS(status) == 0
        return False
    try:
        calls = 0

        def count() -> None:
            nonlocal calls
            if calls == number:
                os.kill(os.getpid(), signal.SIGKILL)
            calls += 1

        def hook(event: str, arguments: tuple) -> None:
            written = event == "open" and isinstance(arguments[2], int) and arguments[2] & OPENED_TO_WRITE
            if (event in EVENTS or written) and any(_is_within(one, within) for one in arguments[:2]):
                count()

        swap = version_folders.swap

        def swapped(*names: pathlib.Path) -> bool:
            count()
            return swap(*names)

        version_folders.swap = swapped
        sys.addaudithook(hook)
        act()
        os._exit(0)
    except BaseException as error:  # whatever it is, it must not reach the process that was forked
        print(repr(error), file=sys.stderr)
        os._exit(1)


def _is_within(path: object, folder: pathlib.Path) -> bool:
    return isinstance(path, str | bytes | os.PathLike) and os.fsdecode(path).startswith(str(folder))
