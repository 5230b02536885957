"""The command line: one file a verb.

Only data goes to stdout; progress, summaries and errors go to stderr. The exit code is 0 for done, 1
for a failure in one line (`--debug` adds the traceback), 2 for misuse, 130 for an interruption, and 128
and the signal's number where SIGTERM or SIGHUP ended the command; none leaves a half-written file.
A verb's file is imported when the verb is used, and it imports torch only when it runs.
"""

from __future__ import annotations

import io
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from types import FrameType

import click

from latentpress import __version__
from latentpress.cli.streams import drop_stdout, flush_all, prepare_streams, say_plainly

__all__ = ["VERBS", "cli", "main"]

VERBS = ("train", "compress", "decompress", "inspect", "verify", "evaluate", "diagnose", "generate", "split")
VERBS += ("convert", "demo")
_EXTRA = ("jinja2", "matplotlib", "sklearn", "tabulate", "torchmetrics")  # what measuring and reports need


class _Ended(BaseException):
    """A signal asks the process to end."""


class _Verbs(click.Group):
    """Imports a verb's file when the verb is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return import_module(f"latentpress.cli.{cmd_name}").command if cmd_name in VERBS else None


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, message="%(prog)s %(version)s")
def cli() -> None:
    """Train a codec on your own images or texts, compress folders of them, and get them back."""


def main(args: Sequence[str] | None = None) -> int:
    """Runs one command line and returns its exit code; `args` defaults to the process's own."""
    flags: dict[str, bool] = {}  # set by options of all verbs
    prepare_streams()
    with warnings.catch_warnings(), _ending_by_signals():
        warnings.showwarning = _show_warning
        try:
            code = cli.main(args, prog_name="latentpress", standalone_mode=False, obj=flags) or 0
            flush_all()
            return code
        except click.ClickException as error:
            shown = io.StringIO()
            error.show(shown)
            say_plainly(shown.getvalue().rstrip("\n"))
            return error.exit_code
        except KeyboardInterrupt:
            say_plainly("latentpress: interrupted")
            return 130
        except click.Abort as abort:  # click's word for Ctrl-C, and for the end of a file
            if isinstance(abort.__cause__ or abort.__context__, KeyboardInterrupt):
                say_plainly("latentpress: interrupted")
                return 130
            say_plainly("latentpress: a file ended too early (--debug shows where)")
            return 1
        except _Ended as ended:
            say_plainly(f"latentpress: ended by {signal.Signals(ended.args[0]).name}")
            return 128 + ended.args[0]
        except Exception as error:  # whatever it is, the user gets one line
            if isinstance(error, BrokenPipeError):
                drop_stdout()
            if flags.get("debug") and sys.stderr is not None:
                traceback.print_exc()
            else:
                say_plainly(f"latentpress: {_one_line(error)}")
            return 1


@contextmanager
def _ending_by_signals() -> Iterator[None]:
    """Lets SIGTERM and SIGHUP, if nothing else handles them, unwind the command as SIGINT does."""

    def end(number: int, _: FrameType | None) -> None:
        raise _Ended(number)

    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    main_thread = threading.current_thread() is threading.main_thread()
    default = [number for number in numbers if main_thread and signal.getsignal(number) is signal.SIG_DFL]
    for number in default:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in default:
            signal.signal(number, signal.SIG_DFL)


_NO_MEMORY = ("not enough memory", "cannot map zero-fill pages", "failed to map segment")
"""What PyTorch, and who loads it, says where it gets none."""


def _one_line(error: Exception) -> str:
    from latentpress.errors import LatentpressError

    text = " ".join(str(error).split())
    if isinstance(error, LatentpressError):
        return text
    if isinstance(error, MemoryError) or any(words in text for words in _NO_MEMORY):
        return "there is not enough memory for this, or --max-memory does not allow it"
    if isinstance(error, ModuleNotFoundError) and (name := str(error.name).split(".")[0]) in _EXTRA:
        return f"{name} is not installed: pip install 'latentpress[evaluate]'"
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}"
    return f"{type(error).__name__}: {text} (--debug shows where)"


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    say_plainly(f"latentpress: warning: {message}")
