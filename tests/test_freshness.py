"""What a .pyc file means, judged from its bytes, beside what the interpreter that made it really runs."""

from __future__ import annotations

import importlib.util
import marshal
import os
import subprocess
import sys
from pathlib import Path

import pytest

from patcher.freshness import Freshness, bytecode_of, judge

OLD, NEW = "VALUE = 'old'\n", "VALUE = 'new'\n"
MODES = ("TIMESTAMP", "CHECKED_HASH", "UNCHECKED_HASH")
COMPILE = """if True:
    import py_compile, sys
    mode = py_compile.PycInvalidationMode[sys.argv[2]]
    py_compile.compile(sys.argv[1], doraise=True, invalidation_mode=mode)
"""
RUN = "import sys; sys.path.insert(0, sys.argv[1]); import module; print(module.VALUE)"


@pytest.fixture(params=["ours", *(f"3.{minor}" for minor in range(8, 15))])
def python(request: pytest.FixtureRequest, pythons: dict[tuple[int, int], Path]) -> Path:
    """The interpreter that runs this test, then each other one that is installed."""
    if request.param == "ours":
        return Path(sys.executable)
    version = (3, int(request.param.partition(".")[2]))
    if version not in pythons or version == sys.version_info[:2]:
        pytest.skip(f"no other Python {request.param} here")
    return pythons[version]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "module.py"
    path.write_text(OLD)
    return path


def ask(python: Path, script: str, *arguments: str) -> str:
    command = [str(python), *(["-B"] if script == RUN else []), "-c", script, *arguments]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(command, capture_output=True, text=True, check=True, env=clean).stdout.strip()


def compiled(python: Path, source: Path, mode: str, *flags: str) -> Path:
    """The .pyc that this interpreter makes, beside the source."""
    before = set(bytecode_of(source))
    command = [str(python), *flags, "-c", COMPILE, str(source), mode]
    subprocess.run(command, check=True)
    (made,) = set(bytecode_of(source)) - before
    return made


def judged(pyc: Path, source: Path) -> Freshness:
    return judge(pyc.read_bytes(), source.read_bytes(), source.stat())


def is_ours(python: Path) -> bool:
    return python == Path(sys.executable)


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
    unknown = {"TIMESTAMP": not is_ours(python), "UNCHECKED_HASH": not hashes_as_ours(python)}
    assert found is (Freshness.UNKNOWN if unknown.get(mode) else Freshness.FRESH)


@pytest.mark.parametrize("mode", MODES)
def test_an_edited_source_leaves_only_unchecked_bytecode_stale(mode: str, python: Path, source: Path) -> None:
    pyc = compiled(python, source, mode)
    edit(source, same_time=False)
    found, ran = judged(pyc, source), ask(python, RUN, str(source.parent))
    if mode == "UNCHECKED_HASH":
        assert (found, ran) == (Freshness.STALE if hashes_as_ours(python) else Freshness.UNKNOWN, "old")
    else:
        assert (found, ran) == (Freshness.FRESH, "new")


@pytest.mark.parametrize("mode", MODES)
def test_an_edit_that_time_and_size_hide_is_seen(mode: str, python: Path, source: Path) -> None:
    pyc = compiled(python, source, mode)
    edit(source, same_time=True)
    found, ran = judged(pyc, source), ask(python, RUN, str(source.parent))
    if mode == "CHECKED_HASH":
        assert (found, ran) == (Freshness.FRESH, "new")
    elif not is_ours(python) and (mode == "TIMESTAMP" or not hashes_as_ours(python)):
        assert (found, ran) == (Freshness.UNKNOWN, "old")
    else:
        assert (found, ran) == (Freshness.STALE, "old")


@pytest.mark.parametrize("flag", ["-B", "-O", "-OO"])
def test_optimised_bytecode_of_this_source_is_fresh(flag: str, source: Path) -> None:
    source.write_text('"""Goes with -OO."""\nassert __debug__  # goes with -O\nVALUE = 1\n')
    assert judged(compiled(Path(sys.executable), source, "TIMESTAMP", flag), source) is Freshness.FRESH


def test_a_source_that_python_warns_of_is_judged(source: Path) -> None:
    source.write_text("VALUE = '\\d' is 1\n")
    pyc = compiled(Path(sys.executable), source, "TIMESTAMP", "-Wignore")
    assert judged(pyc, source) is Freshness.FRESH


@pytest.mark.parametrize(("magic", "since_3_11"), [(3449, False), (3450, True)])
def test_the_hash_of_another_kind_of_python_tells_nothing(magic: int, since_3_11: bool, source: Path) -> None:
    """3450 is the first magic number of Python 3.11, which changed the hash."""
    pyc = magic.to_bytes(2, "little") + b"\r\n" + (1).to_bytes(4, "little") + b"not ours"
    alike = since_3_11 == (sys.version_info >= (3, 11))
    assert judge(pyc, source.read_bytes(), source.stat()) is (Freshness.STALE if alike else Freshness.UNKNOWN)


def test_bytecode_without_a_whole_header_is_never_run(source: Path) -> None:
    pyc = compiled(Path(sys.executable), source, "UNCHECKED_HASH")
    pyc.write_bytes(pyc.read_bytes()[:15])
    edit(source, same_time=True)
    assert judged(pyc, source) is Freshness.FRESH
    assert ask(Path(sys.executable), RUN, str(source.parent)) == "new"


@pytest.mark.parametrize("rest", [b"", b"\xe3", b"N", b"\x00" * 40, b"?"])
def test_bytecode_that_holds_no_code_is_stale(rest: bytes, source: Path) -> None:
    """Python does not fall back on the source then: the import fails."""
    pyc = compiled(Path(sys.executable), source, "TIMESTAMP")
    pyc.write_bytes(pyc.read_bytes()[:16] + rest)
    assert judged(pyc, source) is Freshness.STALE
    with pytest.raises(subprocess.CalledProcessError):
        ask(Path(sys.executable), RUN, str(source.parent))


def test_all_bytecode_of_the_module_is_found_and_no_other(pythons: dict[tuple[int, int], Path], source: Path) -> None:
    neighbour = source.with_name("module_more.py")
    neighbour.write_text(OLD)
    compiled(Path(sys.executable), neighbour, "TIMESTAMP")
    assert bytecode_of(source) == ()
    made = [compiled(Path(sys.executable), source, "TIMESTAMP", flag) for flag in ("-B", "-O", "-OO")]
    made += [
        compiled(path, source, "TIMESTAMP") for version, path in pythons.items() if version != sys.version_info[:2]
    ]
    assert bytecode_of(source) == tuple(sorted(made))
    (source.parent / "__pycache__" / "module.another.pyc").mkdir()
    assert bytecode_of(source) == tuple(sorted(made))


def test_bytecode_of_a_source_that_cannot_be_compiled_is_stale(tmp_path: Path) -> None:
    """`return` outside of a function is a tree all the same, so the file may well be a patched one."""
    source = tmp_path / "odd.py"
    source.write_bytes(b"return 5\n")
    status = source.stat()
    header = [0, int(status.st_mtime), status.st_size]
    pyc = importlib.util.MAGIC_NUMBER + b"".join(number.to_bytes(4, "little") for number in header) + marshal.dumps(5)
    assert judge(pyc, source.read_bytes(), status) is Freshness.STALE
