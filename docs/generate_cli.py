"""Writes docs/cli.md from the commands' own help; `make docs` runs it and a test holds it current."""

import sys
from pathlib import Path

from latentpress.cli import VERBS, cli

__all__ = ["reference"]

PAGE = Path(__file__).with_name("cli.md")
HEAD = """\
# Command line

What `latentpress --help` and `latentpress VERB --help` print. This page is generated: `make docs`.

Only data goes to stdout, all else to stderr; `-` is stdin or stdout. Exit codes: 0 done, 1 failed (one
line says why, `--debug` shows where) or a training that SIGTERM stopped, 2 misuse, 130 interrupted.
"""


def reference() -> str:
    """Returns the page."""
    root = cli.make_context("latentpress", [], resilient_parsing=True, terminal_width=100)
    parts = [HEAD, _block("latentpress", cli.get_help(root))]
    for verb in VERBS:
        command = cli.get_command(root, verb)
        assert command is not None
        context = command.make_context(verb, [], parent=root, resilient_parsing=True)
        parts.append(_block(f"latentpress {verb}", command.get_help(context)))
    return "\n".join(parts)


def _block(title: str, text: str) -> str:
    return f"## {title}\n\n```text\n{text.rstrip()}\n```\n"


if __name__ == "__main__":
    PAGE.write_text(reference())
    print(f"wrote {PAGE}", file=sys.stderr)
