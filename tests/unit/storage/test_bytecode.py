"""Bytecode: which a module has, which of it would run instead of the source, and that all of it goes."""

from __future__ import annotations

import importlib.util
import marshal
import os
import subprocess
import sys
from pathlib import Path

import pytest

from patcher.errors import PatcherError
from patcher.storage.bytecode import PycStatus, cache_prefixes, has_stale_pyc, judge_pyc, pyc_files, remove_pycs

OLD, NEW = "VALUE = 'old'\n", "VALUE = 'new'\n"
MODES = ("TIMESTAMP", "CHECKED_HASH", "UNCHECKED_HASH")
OURS = Path(sys.executable)
COMPILE = """if True:
    import py_compile, sys
    mode = py_compile.PycInvalidationMode[sys.argv[2]]
    print(py_compile.compile(sys.argv[1], doraise=True, invalidation_mode=mode))
"""
RUN = "import sys; sys.path.insert(0, sys.argv[1]); import module; print(module.VALUE)"
MINE = (
    "module.cpython-38.pyc",
    "module.cpython-311.opt-1.pyc",
    "module.cpython-311.opt-2.pyc",
    "module.pypy310-pp73.pyc",
)
OTHERS = ("module_more.cpython-311.pyc", "my_module.cpython-311.pyc", "module.cpython-311.txt")


@pytest.fixture(params=["ours", *(f"3.{minor}" for minor in range(8, 15))])
def python(request: pytest.FixtureRequest, pythons: dict[tuple[int, int], Path]) -> Path:
    """The interpreter that runs this test, then each other one that is installed."""
    if request.param == "ours":
        return OURS
    version = (3, int(request.param.partition(".")[2]))
    if version not in pythons or version == sys.version_info[:2]:
        pytest.skip(f"no other Python {request.param} here")
    return pythons[version]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "site" / "package" / "module.py"
    path.parent.mkdir(parents=True)
    path.write_text(OLD)
    return path


def ask(python: Path, script: str, *arguments: str) -> str:
    command = [str(python), *(["-B"] if script == RUN else []), "-c", script, *arguments]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(command, capture_output=True, text=True, check=True, env=clean).stdout.strip()


def compiled(python: Path, source: Path, mode: str, *flags: str) -> Path:
    """The .pyc that this interpreter makes."""
    command = [str(python), *flags, "-c", COMPILE, str(source), mode]
    return Path(subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip())


def judged(pyc: Path, source: Path) -> PycStatus:
    return judge_pyc(pyc.read_bytes(), source.read_bytes(), source.stat())


def hashes_as_ours(python: Path) -> bool:
    minor = int(ask(python, "import sys; print(sys.version_info[1])"))
    return (minor >= 11) == (sys.version_info >= (3, 11))


def edit(source: Path, *, same_time: bool) -> None:
    """Gives the source another value of the same length, and the old time or a later one."""
    found = source.stat()
    source.write_text(NEW)
    later = 0 if same_time else 5_000_000_000
    os.utime(source, ns=(found.st_atime_ns, found.st_mtime_ns + later))


@pytest.mark.parametrize("mode", MODES)
def test_bytecode_of_this_source_is_fresh(mode: str, python: Path, source: Path) -> None:
    found = judged(compiled(python, source, mode), source)
    unknown = {"TIMESTAMP": python != OURS, "UNCHECKED_HASH": not hashes_as_ours(python)}
    assert found is (PycStatus.UNKNOWN if unknown.get(mode) else PycStatus.FRESH)
    assert not has_stale_pyc(source)


@pytest.mark.parametrize("mode", MODES)
def test_an_edited_source_leaves_only_unchecked_bytecode_stale(mode: str, python: Path, source: Path) -> None:
    pyc = compiled(python, source, mode)
    edit(source, same_time=False)
    found, ran = judged(pyc, source), ask(python, RUN, str(source.parent))
    if mode == "UNCHECKED_HASH":
        assert (found, ran) == (PycStatus.STALE if hashes_as_ours(python) else PycStatus.UNKNOWN, "old")
    else:
        assert (found, ran) == (PycStatus.FRESH, "new")
    assert has_stale_pyc(source) == (found is PycStatus.STALE)


@pytest.mark.parametrize("mode", MODES)
def test_an_edit_that_time_and_size_hide_is_seen(mode: str, python: Path, source: Path) -> None:
    pyc = compiled(python, source, mode)
    edit(source, same_time=True)
    found, ran = judged(pyc, source), ask(python, RUN, str(source.parent))
    if mode == "CHECKED_HASH":
        assert (found, ran) == (PycStatus.FRESH, "new")
    elif python != OURS and (mode == "TIMESTAMP" or not hashes_as_ours(python)):
        assert (found, ran) == (PycStatus.UNKNOWN, "old")
    else:
        assert (found, ran) == (PycStatus.STALE, "old")


@pytest.mark.parametrize("flag", ["-B", "-O", "-OO"])
def test_optimised_bytecode_of_this_source_is_fresh(flag: str, source: Path) -> None:
    source.write_text('"""Goes with -OO."""\nassert __debug__  # goes with -O\nVALUE = 1\n')
    assert judged(compiled(OURS, source, "TIMESTAMP", flag), source) is PycStatus.FRESH


def test_a_source_that_python_warns_of_is_judged(source: Path) -> None:
    source.write_text("VALUE = '\\d' is 1\n")
    assert judged(compiled(OURS, source, "TIMESTAMP", "-Wignore"), source) is PycStatus.FRESH


@pytest.mark.parametrize(("magic", "since_3_11"), [(3449, False), (3450, True)])
def test_the_hash_of_another_kind_of_python_tells_nothing(magic: int, since_3_11: bool, source: Path) -> None:
    """3450 is the first magic number of Python 3.11, which changed the hash."""
    pyc = magic.to_bytes(2, "little") + b"\r\n" + (1).to_bytes(4, "little") + b"not ours"
    alike = since_3_11 == (sys.version_info >= (3, 11))
    assert judge_pyc(pyc, source.read_bytes(), source.stat()) is (PycStatus.STALE if alike else PycStatus.UNKNOWN)


def test_bytecode_without_a_whole_header_is_never_run(source: Path) -> None:
    pyc = compiled(OURS, source, "UNCHECKED_HASH")
    pyc.write_bytes(pyc.read_bytes()[:15])
    edit(source, same_time=True)
    assert judged(pyc, source) is PycStatus.FRESH
    assert ask(OURS, RUN, str(source.parent)) == "new"


@pytest.mark.parametrize("rest", [b"", b"\xe3", b"N", b"\x00" * 40, b"?"])
def test_bytecode_that_holds_no_code_is_stale(rest: bytes, source: Path) -> None:
    """Python does not fall back on the source then: the import fails."""
    pyc = compiled(OURS, source, "TIMESTAMP")
    pyc.write_bytes(pyc.read_bytes()[:16] + rest)
    assert judged(pyc, source) is PycStatus.STALE
    with pytest.raises(subprocess.CalledProcessError):
        ask(OURS, RUN, str(source.parent))


def test_bytecode_of_a_source_that_cannot_be_compiled_is_stale(source: Path) -> None:
    """`return` outside of a function is a tree all the same, so the file may well be a patched one."""
    source.write_bytes(b"return 5\n")
    status = source.stat()
    header = [0, int(status.st_mtime), status.st_size]
    pyc = importlib.util.MAGIC_NUMBER + b"".join(number.to_bytes(4, "little") for number in header) + marshal.dumps(5)
    assert judge_pyc(pyc, source.read_bytes(), status) is PycStatus.STALE


def fill(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in MINE + OTHERS:
        (folder / name).write_bytes(b"bytecode")


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_all_tags_and_levels_go_and_nothing_else(source: Path) -> None:
    cache, legacy = source.parent / "__pycache__", source.with_suffix(".pyc")
    fill(cache)
    legacy.write_bytes(b"bytecode")
    assert pyc_files(source) == tuple(sorted([legacy, *(cache / name for name in MINE)]))
    remove_pycs(source, [source.parent / "nowhere"])
    assert names(cache) == set(OTHERS)
    assert names(source.parent) == {"module.py", "__pycache__"}
    assert pyc_files(source) == ()


def test_a_module_of_every_interpreter_here(pythons: dict[tuple[int, int], Path], source: Path) -> None:
    made = {compiled(python, source, "TIMESTAMP") for python in (OURS, *pythons.values())}
    assert set(pyc_files(source)) == made


@pytest.mark.parametrize("linked", [False, True])
def test_a_prefix_is_searched_as_python_writes_it(source: Path, tmp_path: Path, linked: bool) -> None:
    """By an interpreter's own doing, also where its path leads through a link."""
    prefix, alias = tmp_path / "prefix", tmp_path / "alias"
    alias.symlink_to(source.parents[1])
    seen = alias / source.parent.name if linked else source.parent
    script = f"import sys; sys.path.insert(0, {str(seen)!r}); import module; print(module.__cached__)"
    command = [sys.executable, "-X", f"pycache_prefix={prefix}", "-c", script]
    cached = Path(subprocess.run(command, check=True, capture_output=True, text=True, env={}).stdout.strip())
    assert cached.is_relative_to(prefix)
    assert cached.exists()
    remove_pycs(seen / source.name, [prefix])
    assert not cached.exists()


def test_a_link_to_bytecode_goes_and_what_it_leads_to_stays(source: Path, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs.pyc"
    theirs.write_bytes(b"bytecode")
    cached = Path(importlib.util.cache_from_source(str(source)))
    cached.parent.mkdir()
    cached.symlink_to(theirs)
    remove_pycs(source)
    assert not cached.is_symlink()
    assert theirs.exists()


def test_a_linked_cache_is_refused(source: Path, tmp_path: Path) -> None:
    fill(tmp_path / "shared")
    (source.parent / "__pycache__").symlink_to(tmp_path / "shared")
    with pytest.raises(PatcherError) as caught:
        remove_pycs(source)
    assert caught.value.code == "linked-folder"
    assert names(tmp_path / "shared") == {*MINE, *OTHERS}


def test_what_cannot_be_removed_is_an_error(source: Path) -> None:
    (source.parent / "__pycache__" / "module.cpython-311.pyc").mkdir(parents=True)
    assert not has_stale_pyc(source)  # Python cannot read it either, and compiles
    with pytest.raises(PatcherError) as caught:
        remove_pycs(source)
    assert caught.value.code == "bytecode-not-removed"
    assert "module.cpython-311.pyc" in caught.value.message


@pytest.mark.parametrize(
    ("named", "known", "found"),
    [
        ("", None, []),
        ("", "/one", ["/one"]),
        ("/two", "/one", ["/one", "/two"]),
        ("/one", "/one", ["/one"]),
        ("here", None, [str(Path.cwd() / "here")]),
    ],
)
def test_prefixes_are_the_interpreters_and_ours(
    monkeypatch: pytest.MonkeyPatch, named: str, known: str | None, found: list[str]
) -> None:
    monkeypatch.setenv("PYTHONPYCACHEPREFIX", named)
    assert cache_prefixes(Path(known) if known else None) == tuple(map(Path, found))
