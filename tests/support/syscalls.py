"""The system calls of a process that change files, each held at the kernel's door until it is decided upon.

The kernel itself holds them: a seccomp filter with user notification (seccomp(2), seccomp_unotify(2); Linux 5.5 and
later) that the process gives itself before it runs anything, and that its children inherit. Nothing is installed and
nothing is preloaded; whatever Python, its libraries or libc do to a file passes here.
"""

from __future__ import annotations

import errno
import os
import platform
import select
import signal
import socket
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import seccomp


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One system call that is about to change something."""

    name: str
    path: str
    """What it is about, absolute: the file, or the new name's old one."""
    to: str | None = None
    """The new name of a renaming, the text of a symbolic link."""
    data: bytes | None = None
    """What is written."""
    offset: int = 0
    """Where it is written, in bytes."""
    value: int = 0
    """The mode, the flags, or the time of the last change in nanoseconds."""


class Kill:
    """The process dies in the place of the call, as by a cut of power to it alone."""


class Half(Kill):
    """The same in the midst of a write: half of it is done."""


Decision = int | Kill | None
"""An errno that the call fails with, the end of the process, or None: it goes on."""
Judge = Callable[[int, Call], Decision]
"""Given the call's number, from 0, and the call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How the process ended, and what it did before."""

    status: int
    """As `subprocess` has it: negative for a signal."""
    calls: tuple[Call, ...]
    """Those that were let through, and the last one where it was not."""
    out: str
    err: str


class Unknown(Exception):
    """The process changes files by a call that is not understood here."""


@cache
def available() -> bool:
    """Whether system calls can be held here: on Linux on x86-64, where no sandbox forbids it."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return False
    try:
        return intercept(lambda: 0, lambda *_: None).status == 0
    except OSError:
        return False


def intercept(work: Callable[[], int] | list[str], judge: Judge, *, environ: dict[str, str] | None = None) -> Ending:
    """Runs a command, or a function in a fork of this process, and has `judge` decide about each call.

    The function returns the exit status. Writes to the standard streams and to /dev/null are not looked at. Raises
    Unknown, after killing the process.
    """
    mine, its = socket.socketpair()
    out, err = os.memfd_create("out"), os.memfd_create("err")
    child = os.fork()
    if child == 0:
        _become(work, its, out, err, environ)
    its.close()
    calls: list[Call] = []
    try:
        _, listeners, *_ = socket.recv_fds(mine, 1, 1)
        if not listeners:
            raise OSError(errno.ENOSYS, "no system call can be held here")
        try:
            _serve(listeners[0], judge, calls)
        finally:
            os.close(listeners[0])
    except BaseException:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        raise
    finally:
        mine.close()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return Ending(status=status, calls=tuple(calls), out=_text(out), err=_text(err))


def _become(
    work: Callable[[], int] | list[str], its: socket.socket, out: int, err: int, environ: dict[str, str] | None
) -> None:
    """The child's life. It never returns."""
    try:
        os.dup2(os.open(os.devnull, os.O_RDWR), 0)
        os.dup2(out, 1)
        os.dup2(err, 2)
        listener = seccomp.listener()
        socket.send_fds(its, [b"!"], [listener])
        os.close(listener)
        its.close()
        if isinstance(work, list):
            os.execve(work[0], work, {**os.environ, **(environ or {})})  # noqa: S606
        sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
        code = work()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    except BaseException as error:
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
        os._exit(70)


def _serve(at: int, judge: Judge, calls: list[Call]) -> None:
    poller = select.poll()
    poller.register(at, select.POLLIN)
    while not any(event & select.POLLHUP for _, event in poller.poll()):
        found = seccomp.note(at)
        if found is None:
            continue
        key, pid, name, arguments = found
        call = _read(pid, name, arguments)
        decision = None if call is None else _judged(judge, calls, call)
        if isinstance(decision, Kill):
            _kill(pid, call, half=isinstance(decision, Half))
        else:
            seccomp.answer(at, key, decision)


def _judged(judge: Judge, calls: list[Call], call: Call) -> Decision:
    calls.append(call)
    return judge(len(calls) - 1, call)


def _read(pid: int, name: str, arguments: list[int]) -> Call | None:
    """The call in words; None for one that changes no file that lasts."""
    if name not in seccomp.NUMBERS:
        raise Unknown(f"{name} {arguments}")
    _, at, path, fd = seccomp.NUMBERS[name]
    if path is not None and (fd is None or arguments[path]):
        subject = _resolved(pid, None if at is None else arguments[at], arguments[path])
    else:
        subject = _link(pid, f"fd/{_signed(arguments[fd or 0])}")
    if subject in (os.devnull, "") or subject.startswith(("pipe:", "socket:", "/memfd:", "anon_inode:", "/proc/")):
        return None
    match name:
        case "write":
            data = _memory(pid, arguments[1], arguments[2])
            return Call(name=name, path=subject, data=data, offset=_position(pid, arguments[0]))
        case "rename":
            return Call(name=name, path=subject, to=_resolved(pid, None, arguments[1]))
        case "symlink":
            return Call(name=name, path=subject, to=_string(pid, arguments[0]))
        case "utimensat":
            seconds, rest = struct.unpack("qq", _memory(pid, arguments[2] + 16, 16))
            return Call(name=name, path=subject, value=seconds * 10**9 + rest)
        case "openat":
            return Call(name=name, path=subject, value=arguments[2])
        case "chmod" | "mkdir":
            return Call(name=name, path=subject, value=arguments[1])
        case _:
            return Call(name=name, path=subject)


def _resolved(pid: int, folder: int | None, address: int) -> str:
    text = _string(pid, address)
    if text.startswith("/"):
        return text
    base = "cwd" if folder is None or _signed(folder) == -100 else f"fd/{_signed(folder)}"
    return f"{_link(pid, base)}/{text}"


def _link(pid: int, name: str) -> str:
    return str(Path(f"/proc/{pid}/{name}").readlink())


def _signed(argument: int) -> int:
    number = argument & 0xFFFFFFFF
    return number - (1 << 32) if number & 0x80000000 else number


def _memory(pid: int, address: int, size: int) -> bytes:
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        memory.seek(address)
        return memory.read(size) or b""


def _string(pid: int, address: int) -> str:
    found = b""
    while b"\0" not in found:  # never across the end of a page that may be the last
        found += _memory(pid, address + len(found), 4096 - (address + len(found)) % 4096)
    return os.fsdecode(found.partition(b"\0")[0])


def _position(pid: int, fd: int) -> int:
    first = Path(f"/proc/{pid}/fdinfo/{fd}").read_text().splitlines()[0]
    return int(first.split()[1])


def _kill(pid: int, call: Call | None, *, half: bool) -> None:
    if half and call and call.data:
        with Path(call.path).open("r+b", buffering=0) as file:
            file.seek(call.offset)
            file.write(call.data[: len(call.data) // 2])
    os.kill(pid, signal.SIGKILL)


def _text(fd: int) -> str:
    with open(fd, "rb") as file:
        file.seek(0)
        return file.read().decode("utf-8", "replace")
