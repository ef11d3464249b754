"""What the tests of processes start, and find again."""

import psutil

from service.drivers.process.tree import MARK
from service.model.lifecycle import PowerAction

WITHOUT_LANDLOCK = """
import ctypes, struct, sys
from pathlib import Path
from service.drivers.process.runner import PowerAction, ProcessRunner

# A seccomp filter: the system call 444 answers ENOSYS, as on an older kernel.
steps = ((0x20, 0, 0, 0), (0x15, 0, 1, 444), (0x06, 0, 0, 0x50026), (0x06, 0, 0, 0x7FFF0000))
program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
prctl = ctypes.CDLL(None).prctl
assert prctl(38, 1, 0, 0, 0) == 0
assert prctl(22, 2, struct.pack("HxxxxxxP", len(steps), ctypes.addressof(program))) == 0

runner = ProcessRunner("node", root=Path(sys.argv[1]))
print({runner.probe().engine, runner.probe().engine})
runner.power(sys.argv[2], PowerAction.START)
"""


def run(runner, spec):
    """Create and start."""
    runner.create(spec, checkpoint=lambda: None)
    return runner.power(spec.instance_id, PowerAction.START)


def living(spec):
    """List the living processes that bear the instance's mark."""
    found = []
    for process in psutil.process_iter():
        try:
            marked = process.environ().get(MARK) == spec.instance_id
            if marked and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
        except psutil.Error:
            continue
    return found
