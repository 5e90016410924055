"""As root, work as the owner of a target: what the owner may not do cannot be done."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from patcher.errors import PatcherError

_LOADED_LATER = ("libcst", "difflib", "json", "shutil")
"""What is imported only when it is needed, and may lie where only root can read."""


def as_user_of(*paths: Path) -> dict[str, Any]:
    """What makes `subprocess` start a process as the first owner of these paths, or of a link there, who is not root.

    Nothing where that is nobody, or where we are not root ourselves. The groups are those of the user's account: a
    folder's group may be one that its owner is no member of.
    """
    if os.geteuid() != 0:
        return {}
    seen = (look(path) for path in paths if os.path.exists(path) for look in (os.lstat, os.stat))  # noqa: PTH110
    found = next((one for one in seen if one.st_uid), None)
    if found is None:
        return {}
    import pwd

    try:
        account = pwd.getpwuid(found.st_uid)
    except KeyError:  # a number without an account, as in containers
        return {"user": found.st_uid, "group": found.st_gid, "extra_groups": ()}
    groups = os.getgrouplist(account.pw_name, account.pw_gid)
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": groups}


@contextmanager
def as_owner_of(*paths: Path) -> Iterator[None]:
    """Within: where root works on paths of which one is another user's, effective user and groups are of the first.

    Files that are written come out as that user's, and nothing that the user could forge there (a link, a state file)
    gets at what the user may not read or write. An ordinary user stays who they are.
    """
    owner = as_user_of(*paths)
    if not owner:
        yield
        return
    for name in _LOADED_LATER:
        importlib.import_module(name)
    groups, gid = os.getgroups(), os.getegid()
    try:
        os.setgroups(owner["extra_groups"])
        os.setegid(owner["group"])
        os.seteuid(owner["user"])
    except PermissionError as error:  # root of a container that dropped the right to, or one of these rights
        with suppress(PermissionError):
            os.setegid(gid)
            os.setgroups(groups)
        message = f"{paths[0]} belongs to another user, and this process cannot switch to that user."
        raise PatcherError("not-permitted", message, "Run the command as the owner of the environment.") from error
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(gid)
        os.setgroups(groups)
