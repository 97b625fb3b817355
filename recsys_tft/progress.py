"""What a long command is doing: a spinner on a terminal, plain lines for warnings elsewhere."""

import sys
from types import TracebackType

from rich.console import Console
from rich.status import Status

from recsys_tft.errors import redacted


class Progress:
    """Shows the current step.

    Attributes:
        console: where the command prints.
    """

    def __init__(self) -> None:
        self.console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
        self._status = Status("Starting", console=self.console)

    def __enter__(self) -> "Progress":
        if self.console.is_terminal:
            self._status.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._status.stop()

    def say(self, text: str) -> None:
        """A new step; a warning or `note: ` is printed and stays, and `progress: ` is for terminals only."""
        text = redacted(text)
        if text.startswith("progress: "):
            self._status.update(text.removeprefix("progress: "))
            return
        if text.startswith("note: "):
            self.console.print(text.removeprefix("note: "), markup=False, soft_wrap=True)
            return
        if text.startswith("warning: "):
            self.console.print(text, markup=False, style="yellow", soft_wrap=True)
            return
        if not self.console.is_terminal:
            self.console.print(text, markup=False, soft_wrap=True)
        self._status.update(text)
