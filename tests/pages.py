"""What pages of the documentation show: their blocks, and what these print."""

import re


def find_blocks(page: str, mark: str) -> list[str]:
    """List the code blocks that a comment marks."""
    return re.findall(rf"<!-- {mark} -->\s+```\w+\n(.*?)```", page, re.DOTALL)


def find_outputs(page: str) -> list[str]:
    """List the outputs that follow the blocks to run, "" for a block without one."""
    after = re.findall(
        r"<!-- run -->\s+```sh\n.*?```\n(?:\n```(?:json|text)\n(.*?)```)?", page, re.DOTALL
    )
    return [output.strip() for output in after]


def mask(output: str) -> str:
    """Take out of an output what is another in each run: ids, times, sizes, versions, ports."""
    for pattern, word in (
        (r"sq_[\w-]+", "KEY"),
        (r"\bi[a-z2-7]{11}\b", "ID"),
        (r"\b[0-9a-f]{16,20}\b", "HEX"),
        (r"(Date|Server|Content-Length): .*", r"\1"),
        (r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME"),
        (r"(?<=127\.0\.0\.1:)\d+", "PORT"),
        (r'(?<="ports": )"\d+:\d+", "primary": \d+', "PORTS"),
    ):
        output = re.sub(pattern, word, output)
    return "\n".join(line.rstrip() for line in output.strip().splitlines())
