"""The progress of a download on stderr: a bar per file on a terminal, a line per file elsewhere."""

from rich.console import Console
from rich.filesize import decimal
from rich.progress import DownloadColumn, Progress, TaskID, TransferSpeedColumn


class DownloadProgress:
    def __init__(self) -> None:
        self._console = Console(stderr=True)
        # Not Console.is_terminal, which $FORCE_COLOR makes true in a pipe.
        self._animated = self._console.file.isatty()
        columns = (*Progress.get_default_columns(), DownloadColumn(), TransferSpeedColumn())
        #: a context in which the bars are shown, if stderr is a terminal
        self.bars = Progress(*columns, console=self._console, disable=not self._animated)
        self._tasks: dict[str, TaskID] = {}

    def say(self, line: str) -> None:
        """Print a line, above the bars if they are there."""
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def begin(self, name: str, mirror: str, present: int, total: int | None) -> None:
        """A file's bytes start to arrive; `present` of its `total` bytes are here already."""
        if not self._animated:
            size = "" if total is None else f" ({decimal(total)})"
            self.say(f"downloading {name}{size} from {mirror}")
        if name not in self._tasks:
            self._tasks[name] = self.bars.add_task(name, total=None)
        self.bars.reset(self._tasks[name], total=total, completed=present)

    def advance(self, name: str, count: int) -> None:
        self.bars.advance(self._tasks[name], count)
