"""The process that stands for one of `helpers.forked`: `forked_client.py SOCKET PYTHON WORDS`.

It imports little, since it starts as often as Python would.
"""

import json
import os
import signal
import socket
import sys


def is_inherited(descriptor: int) -> bool:
    """Whether whoever started this process left it an open file."""
    try:
        return os.get_inheritable(descriptor)
    except OSError:  # of the listing itself
        return False


def main(address: str, python: str, *words: str) -> None:
    """Asks for the process, and ends as it ends."""
    if os.isatty(1) or os.isatty(2):  # what is known about a terminal is known from the start
        os.execv(python, [python, *words])
    descriptors = [each for each in map(int, os.listdir("/proc/self/fd")) if is_inherited(each)]  # noqa: PTH208
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(address)
    socket.send_fds(connection, [b" "], descriptors)
    asked = {"words": words, "cwd": os.getcwd(), "env": dict(os.environ), "descriptors": descriptors}  # noqa: PTH109
    lines = connection.makefile("rw")
    print(json.dumps(asked), file=lines, flush=True)
    process = int(lines.readline())
    if process < 0:
        os.execv(python, [python, *words])
    for signum in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(signum, lambda signum, _: os.kill(process, signum))
    for descriptor in descriptors:
        os.close(descriptor)
    status = int(lines.readline())
    if status < 0:
        if -status != signal.SIGKILL:
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status)


main(*sys.argv[1:])
