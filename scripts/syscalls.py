"""The system calls of a process that change files, each held at the kernel's door until it is decided upon.

The kernel itself holds them: a seccomp filter with user notification (seccomp(2), seccomp_unotify(2); Linux 5.5 and
later) that the process gives itself before it runs anything, and that its children inherit. Nothing is installed and
nothing is preloaded; whatever Python, its libraries or libc do to a file passes here.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
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

# Number, which argument names the folder (a descriptor), the path, an open file: from asm/unistd_64.h
_AT, _PATH, _FD = 0, 1, 2
_NUMBERS: dict[str, tuple[int, int | None, int | None, int | None]] = {
    "write": (1, None, None, 0),
    "openat": (257, 0, 1, None),
    "renameat": (264, 0, 1, None),
    "renameat2": (316, 0, 1, None),
    "unlinkat": (263, 0, 1, None),
    "mkdirat": (258, 0, 1, None),
    "symlinkat": (266, 1, 2, None),
    "fchmod": (91, None, None, 0),
    "fchown": (93, None, None, 0),
    "utimensat": (280, None, None, 0),
    "fsetxattr": (190, None, None, 0),
    "fremovexattr": (199, None, None, 0),
    "fsync": (74, None, None, 0),
    "fdatasync": (75, None, None, 0),
    "unlink": (87, None, 0, None),
    "rmdir": (84, None, 0, None),
    "open": (2, None, 0, None),
    "rename": (82, None, 0, None),
    "mkdir": (83, None, 0, None),
}
# All others that change a file, a name or what is kept of it. A process that calls one is not understood.
_FOREIGN = {
    "pwrite64": 18, "writev": 20, "pwritev": 296, "pwritev2": 328, "sendfile": 40, "copy_file_range": 326,
    "splice": 275, "creat": 85, "openat2": 437, "link": 86, "linkat": 265, "symlink": 88, "mknod": 133,
    "mknodat": 259, "chmod": 90, "fchmodat": 268, "fchmodat2": 452, "chown": 92, "lchown": 94, "fchownat": 260,
    "utime": 132, "utimes": 235, "futimesat": 261, "truncate": 76, "ftruncate": 77, "fallocate": 285,
    "sync_file_range": 277, "syncfs": 306, "sync": 162, "setxattr": 188, "lsetxattr": 189, "removexattr": 197,
    "lremovexattr": 198, "mount": 165, "io_uring_setup": 425, "io_setup": 206,
}  # fmt: skip
_BY_NUMBER = {facts[0]: name for name, facts in _NUMBERS.items()} | {number: name for name, number in _FOREIGN.items()}

_ARCH = 0xC000003E  # AUDIT_ARCH_X86_64
_LOAD, _EQUAL, _ABOVE, _ANY, _RETURN = 0x20, 0x15, 0x25, 0x45, 0x06
_ALLOW, _NOTIFY, _KILL_PROCESS = 0x7FFF0000, 0x7FC00000, 0x80000000
_RECEIVE, _SEND, _CONTINUE = 0xC0502100, 0xC0182101, 1
_CHANGING = os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_RDWR
_SECCOMP, _NO_NEW_PRIVILEGES = 317, 38


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
        return held(lambda: 0, lambda *_: None).status == 0
    except OSError:
        return False


def held(work: Callable[[], int] | list[str], judge: Judge, *, environ: dict[str, str] | None = None) -> Ending:
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
        listener = _filtered()
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


def _filtered() -> int:
    """Puts the filter on this process; returns the descriptor of those who decide."""
    statements = [(_LOAD, 0, 0, 4), (_EQUAL, 1, 0, _ARCH), (_RETURN, 0, 0, _KILL_PROCESS), (_LOAD, 0, 0, 0)]
    opens = ((_NUMBERS["openat"][0], 2), (_NUMBERS["open"][0], 1))
    for number, flags in opens:  # the low half of the argument that holds the flags
        statements += [
            (_EQUAL, 0, 4, number),
            (_LOAD, 0, 0, 16 + 8 * flags),
            (_ANY, 1, 0, _CHANGING),
            (_RETURN, 0, 0, _ALLOW),
            (_RETURN, 0, 0, _NOTIFY),
        ]
    statements += [
        (_EQUAL, 0, 4, _NUMBERS["write"][0]),
        (_LOAD, 0, 0, 16),
        (_ABOVE, 1, 0, 2),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _NOTIFY),
    ]
    for number in _BY_NUMBER:
        statements += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _NOTIFY)]
    statements.append((_RETURN, 0, 0, _ALLOW))
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *statement) for statement in statements))
    program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(statements), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    listener = int(libc.syscall(_SECCOMP, 1, 8, program))  # SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER
    if listener < 0:
        raise OSError(ctypes.get_errno(), "seccomp")
    return listener


def _serve(listener: int, judge: Judge, calls: list[Call]) -> None:
    poller = select.poll()
    poller.register(listener, select.POLLIN)
    while not any(event & select.POLLHUP for _, event in poller.poll()):
        note = bytearray(80)
        try:
            fcntl.ioctl(listener, _RECEIVE, note)
        except OSError as error:  # the process was killed between the two
            if error.errno == errno.ENOENT:
                continue
            raise
        key, pid, _, number, _, _, *arguments = struct.unpack("QIIiIQ6Q", note)
        call = _read(pid, _BY_NUMBER[number], arguments)
        decision = None if call is None else _judged(judge, calls, call)
        if isinstance(decision, Kill):
            _kill(pid, call, half=isinstance(decision, Half))
            continue
        answer = (0, 0, _CONTINUE) if decision is None else (0, -decision, 0)
        try:
            fcntl.ioctl(listener, _SEND, struct.pack("QqiI", key, *answer))
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise


def _judged(judge: Judge, calls: list[Call], call: Call) -> Decision:
    calls.append(call)
    return judge(len(calls) - 1, call)


def _read(pid: int, name: str, arguments: list[int]) -> Call | None:
    """The call in words; None for one that changes no file that lasts."""
    if name not in _NUMBERS:
        raise Unknown(f"{name} {arguments}")
    _, at, path, fd = _NUMBERS[name]
    if fd is not None:
        subject = _link(pid, f"fd/{_signed(arguments[fd])}")
    else:
        subject = _resolved(pid, None if at is None else arguments[at], arguments[path or 0])
    if subject in (os.devnull, "") or subject.startswith(("pipe:", "socket:", "/memfd:", "anon_inode:", "/proc/")):
        return None
    match name:
        case "write":
            data = _memory(pid, arguments[1], arguments[2])
            return Call(name=name, path=subject, data=data, offset=_position(pid, arguments[0]))
        case "renameat" | "renameat2":
            to = _resolved(pid, arguments[2], arguments[3])
            return Call(name=name, path=subject, to=to, value=arguments[4] if name == "renameat2" else 0)
        case "rename":
            return Call(name=name, path=subject, to=_resolved(pid, None, arguments[1]))
        case "symlinkat":
            return Call(name=name, path=subject, to=_string(pid, arguments[0]))
        case "utimensat":
            seconds, rest = struct.unpack("qq", _memory(pid, arguments[2] + 16, 16))
            return Call(name=name, path=subject, value=seconds * 10**9 + rest)
        case "openat" | "unlinkat":
            return Call(name=name, path=subject, value=arguments[2])
        case "open" | "fchmod":
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
