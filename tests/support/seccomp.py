"""The kernel's side of holding system calls: which ones, the filter that holds them, and the notes about them.

A seccomp filter with user notification: seccomp(2), seccomp_unotify(2); Linux 5.5 and later, here on x86-64.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct

# Number, which argument names the folder (a descriptor), the path, an open file: from asm/unistd_64.h. Where there is
# a path and an open file, a path of NULL means the file.
NUMBERS: dict[str, tuple[int, int | None, int | None, int | None]] = {
    "write": (1, None, None, 0),
    "openat": (257, 0, 1, None),
    "rename": (82, None, 0, None),
    "unlink": (87, None, 0, None),
    "mkdir": (83, None, 0, None),
    "rmdir": (84, None, 0, None),
    "symlink": (88, None, 1, None),
    "chmod": (90, None, 0, None),
    "chown": (92, None, 0, None),
    "utimensat": (280, 0, 1, 0),
    "setxattr": (188, None, 0, None),
    "removexattr": (197, None, 0, None),
    "fsync": (74, None, None, 0),
    "fdatasync": (75, None, None, 0),
}
# All others that change a file, a name or what is kept of it. A process that calls one is not understood.
_FOREIGN = {
    "pwrite64": 18, "writev": 20, "pwritev": 296, "pwritev2": 328, "sendfile": 40, "copy_file_range": 326,
    "splice": 275, "open": 2, "creat": 85, "openat2": 437, "link": 86, "linkat": 265, "symlinkat": 266, "mknod": 133,
    "mknodat": 259, "renameat": 264, "renameat2": 316, "unlinkat": 263, "mkdirat": 258, "fchmod": 91, "fchmodat": 268,
    "fchmodat2": 452, "fchown": 93, "lchown": 94, "fchownat": 260, "utime": 132, "utimes": 235, "futimesat": 261,
    "truncate": 76, "ftruncate": 77, "fallocate": 285, "sync_file_range": 277, "syncfs": 306, "sync": 162,
    "lsetxattr": 189, "fsetxattr": 190, "lremovexattr": 198, "fremovexattr": 199, "mount": 165,
    "io_uring_setup": 425, "io_setup": 206,
}  # fmt: skip
_BY_NUMBER = {facts[0]: name for name, facts in NUMBERS.items()} | {number: name for name, number in _FOREIGN.items()}

_ARCH = 0xC000003E  # AUDIT_ARCH_X86_64
_LOAD, _EQUAL, _ABOVE, _ANY, _RETURN = 0x20, 0x15, 0x25, 0x45, 0x06
_ALLOW, _NOTIFY, _KILL_PROCESS = 0x7FFF0000, 0x7FC00000, 0x80000000
_RECEIVE, _SEND, _CONTINUE = 0xC0502100, 0xC0182101, 1
_CHANGING = os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_RDWR
_SECCOMP, _NO_NEW_PRIVILEGES = 317, 38


def listener() -> int:
    """Puts the filter on this process; returns the descriptor of those who decide."""
    statements = [(_LOAD, 0, 0, 4), (_EQUAL, 1, 0, _ARCH), (_RETURN, 0, 0, _KILL_PROCESS), (_LOAD, 0, 0, 0)]
    opens = ((NUMBERS["openat"][0], 2), (_FOREIGN["open"], 1))
    for number, flags in opens:  # the low half of the argument that holds the flags
        statements += [
            (_EQUAL, 0, 4, number),
            (_LOAD, 0, 0, 16 + 8 * flags),
            (_ANY, 1, 0, _CHANGING),
            (_RETURN, 0, 0, _ALLOW),
            (_RETURN, 0, 0, _NOTIFY),
        ]
    statements += [
        (_EQUAL, 0, 4, NUMBERS["write"][0]),
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
    found = int(libc.syscall(_SECCOMP, 1, 8, program))  # SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER
    if found < 0:
        raise OSError(ctypes.get_errno(), "seccomp")
    return found


def note(at: int) -> tuple[int, int, str, list[int]] | None:
    """Waits for the next call that is held: its key, its process, its name and arguments; None if that was killed."""
    read = bytearray(80)
    try:
        fcntl.ioctl(at, _RECEIVE, read)
    except OSError as error:
        if error.errno == errno.ENOENT:
            return None
        raise
    key, pid, _, number, _, _, *arguments = struct.unpack("QIIiIQ6Q", read)
    return key, pid, _BY_NUMBER[number], list(arguments)


def answer(at: int, key: int, number: int | None) -> None:
    """Lets the call with this key go on, or fail with an errno. A process that was killed meanwhile needs no answer."""
    flags = _CONTINUE if number is None else 0
    try:
        fcntl.ioctl(at, _SEND, struct.pack("QqiI", key, 0, -(number or 0), flags))
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise
