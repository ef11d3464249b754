"""The guide's blocks: what each language runs, and what all of them print."""

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.pages import mask

FOLDER = Path(__file__).resolve().parents[2] / "docs/guide"
PAGES = ("first-deploy", "lists-and-changes", "bot", "dashboard")
SHOWN_PORT = "25565"
BETWEEN = "--- the next block ---"
TIMEOUT_S = 100


@dataclass(frozen=True)
class Language:
    """How its blocks are marked, and how a file of them is run."""

    fence: str
    command: tuple[str, ...]
    suffix: str
    mark: str
    """A statement that prints the line between two blocks."""


LANGUAGES = {
    "curl": Language("sh", ("bash", "-euo", "pipefail"), "sh", f"echo; echo '{BETWEEN}'"),
    "python": Language("python", (sys.executable,), "py", f"print('{BETWEEN}')"),
    "javascript": Language("js", ("node",), "mjs", f"console.log('{BETWEEN}');"),
}


def read(page: str) -> str:
    """Read a page of the guide."""
    return FOLDER.joinpath(f"{page}.md").read_text("utf-8")


def list_steps(page: str) -> list[dict[str, str]]:
    """List the steps of a page: the block of each language, and what they print as `text`."""
    steps = re.findall(r"<!-- step -->\n((?:```\w+\n.*?```\n)+)", read(page), re.DOTALL)
    return [dict(re.findall(r"```(\w+)\n(.*?)```", step, re.DOTALL)) for step in steps]


def write_files(folder: Path) -> None:
    """Save the files of all pages, as a reader does."""
    for page in PAGES:
        files = re.findall(r"<!-- file: (\S+) -->\n```\w+\n(.*?)```", read(page), re.DOTALL)
        for name, content in files:
            folder.joinpath(name).write_text(content, "utf-8")


def run_steps(page: str, language: Language, folder: Path, environ: dict[str, str]) -> list[str]:
    """Run the blocks of a page as one program; return what each printed."""
    program = folder / f"run-{page}.{language.suffix}"
    blocks = [step[language.fence] for step in list_steps(page)]
    program.write_text("".join(f"{block}\n{language.mark}\n" for block in blocks), "utf-8")
    done = subprocess.run(
        [*language.command, program.name],
        cwd=folder,
        env=environ,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    outputs = done.stdout.replace(environ["PORT"], SHOWN_PORT).split(f"{BETWEEN}\n")
    if done.returncode != 0:
        return [*map(mask, outputs), done.stderr]
    return [mask(output) for output in outputs[:-1]]
