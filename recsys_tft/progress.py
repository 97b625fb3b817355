"""Progress of a long command: on a terminal the step, its time, rows done and left; otherwise plain lines."""

import logging
import re
import time
from types import TracebackType

from rich.progress import Progress as Live
from rich.progress import ProgressColumn, SpinnerColumn, Task, TextColumn
from rich.table import Column
from rich.text import Text

from recsys_tft import terminal
from recsys_tft.errors import redacted

_LOGGER = logging.getLogger("recsys_tft")
_SHARE = re.compile(r" \((\d+) % of all\)$")


class Progress:
    """Shows the current step; finished ones stay, with their durations.

    Attributes:
        console: of the command's output.
    """

    def __init__(self) -> None:
        self.console = terminal.console()
        line = Column(no_wrap=True, overflow="ellipsis")
        columns = SpinnerColumn(), _Times(line), TextColumn("{task.description}", markup=False, table_column=line)
        self._live = Live(*columns, console=self.console, transient=True)
        self._step, self._began = "", time.monotonic()
        self._task = self._live.add_task("Starting")

    def __enter__(self) -> "Progress":
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._live.stop()
        self._leave()

    def say(self, text: str) -> None:
        """Begin a step; `warning: ` and `note: ` are printed and stay, and `progress: ` is for terminals only.

        If progress ends with `(N % of all)`, the remaining time is estimated.
        """
        text = redacted(text)
        if text.startswith("progress: "):
            self._go_on(text.removeprefix("progress: "))
            return
        _LOGGER.log(logging.WARNING if text.startswith("warning: ") else logging.INFO, "%s", text)
        if text.startswith("note: "):
            self.console.print(text.removeprefix("note: "), markup=False, soft_wrap=True)
            return
        if text.startswith("warning: "):
            self.console.print(text, markup=False, style="yellow", soft_wrap=True)
            return
        if not self.console.is_terminal:
            self.console.print(text, markup=False, soft_wrap=True)
        self._begin(text)

    def _begin(self, step: str) -> None:
        self._leave()
        self._step, self._began = step, time.monotonic()
        self._live.remove_task(self._task)
        self._task = self._live.add_task(step, total=None)

    def _go_on(self, text: str) -> None:
        match = _SHARE.search(text)
        description = f"{self._step}: {_SHARE.sub('', text)}"
        self._live.update(self._task, description=description, completed=float(match[1]) if match else 0, total=100)

    def _leave(self) -> None:
        """Print a line about the step that ends."""
        if self._step and self.console.is_terminal:
            took = f"{self._step}: {time.monotonic() - self._began:.1f} s"
            self.console.print(took, markup=False, style="dim", soft_wrap=True)
        self._step = ""


class _Times(ProgressColumn):
    """The elapsed time of a step, and an estimate of the remaining time."""

    def render(self, task: Task) -> Text:
        spent = task.elapsed or 0.0
        if not task.total or not 0 < task.completed < task.total:
            return Text(_clock(spent))
        left = spent * (task.total - task.completed) / task.completed
        return Text(f"{_clock(spent)}, about {_clock(left)} left")


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
