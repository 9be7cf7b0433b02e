"""Fenced blocks of the pages, and the shell commands in them and in their sentences."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import NamedTuple

from doc_blocks import ROOT, pages

FENCE = re.compile(r"^```(?P<info>[^\n`]*)\n(?P<text>.*?)^```[ \t]*$", re.DOTALL | re.MULTILINE)
SHELL, OTHER = ("bash", "sh", "console"), ("text", "python", "pycon", "json", "yaml", "toml")
# where a fence names no language, e.g. on GitHub: what begins a command and not an output
BEGINS = re.compile(r"^(\w+=\S+ )*(python |make |tools/|mkdocs )")
INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
# in a sentence: a command to type, or a tool with arguments that the sentence is about
TYPED = re.compile(r"(\w+=\S+ )*(python|pytest|pip|make|mkdocs|tools/\w+\.sh) \S")
ABOUT = re.compile(r"tools/\w+\.py \S")


class Fence(NamedTuple):
    """A block: where it stands, its language, its title (a file's path), its text."""

    page: str
    line: int
    language: str
    title: str
    text: str

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"


class Command(NamedTuple):
    """A shell command: its variables, its program, its arguments; whether some are left out."""

    place: str
    env: dict[str, str]
    program: str
    words: list[str]
    is_part: bool = False

    @property
    def is_synopsis(self) -> bool:
        """Whether it shows what may be said, by brackets and bars, and not what to type."""
        return self.is_part or any(re.match(r"\[|\w+\|\w", word) for word in self.words)


def fences(page: Path) -> list[Fence]:
    """A page -> its fenced blocks."""
    text, found = page.read_text(), []
    for match in FENCE.finditer(text):
        info = match["info"].strip()
        title = re.search(r'title="([^"]*)"', info)
        found.append(
            Fence(
                page.relative_to(ROOT).as_posix(),
                text.count("\n", 0, match.start()) + 1,
                info.split(" ")[0],
                title[1] if title else "",
                match["text"],
            )
        )
    return found


def all_fences(*languages: str) -> list[Fence]:
    """-> the blocks of all pages, of these languages."""
    found = [fence for page in pages() for fence in fences(page)]
    return [fence for fence in found if not languages or fence.language in languages]


def all_commands() -> list[Command]:
    """-> every shell command of README and docs."""
    fenced = [c for f in all_fences(*SHELL, "") for c in commands(f)]
    return fenced + [c for page in pages() for c in inline_commands(page)]


def inline_commands(page: Path) -> list[Command]:
    """A page -> the commands in its sentences and tables."""
    prose = FENCE.sub(lambda match: "\n" * match[0].count("\n"), page.read_text())
    found = []
    for match in INLINE.finditer(prose):
        if TYPED.match(match[1]) or ABOUT.match(match[1]):
            line = prose.count("\n", 0, match.start()) + 1
            place = f"{page.relative_to(ROOT).as_posix()}:{line}"
            found.append(command_of(match[1], place)._replace(is_part=bool(ABOUT.match(match[1]))))
    return found


def commands(fence: Fence) -> list[Command]:
    """A block -> its commands; what is joined by a backslash is one."""
    lines = fence.text.replace("\\\n", " ").splitlines()
    found = []
    for line in lines:
        line = line.removeprefix("$ ").strip()
        if not line or line.startswith("#") or (not fence.language and not BEGINS.match(line)):
            continue
        found.append(command_of(line, fence.place))
    return found


def command_of(line: str, place: str) -> Command:
    """A line as it is typed -> its parts; ``python X`` and ``python -m X`` are X."""
    words = shlex.split(line, comments=True)
    env = {}
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        key, _, env[key] = words.pop(0).partition("=")
    program = words.pop(0)
    if program == "python" and words:
        program = words.pop(0)
    if program == "-m" and words:
        program = words.pop(0)
    return Command(place, env, program, words)
