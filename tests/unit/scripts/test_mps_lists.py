"""Reading the lists of PyTorch's MPS tests."""

from __future__ import annotations

from pathlib import Path

from scripts.mps_evidence import Opinfo
from scripts.mps_lists import judge, read_lists, read_names, read_release

LISTS = """\
if torch.backends.mps.is_available():
    def mps_ops_modifier(ops):
        UNIMPLEMENTED_XFAILLIST: dict[str, list | None] = {
            "whole": None,
            "some": [torch.int64, torch.bool],
            "older": [torch.float32] if MACOS_VERSION < 15.0 else [],
        }
        if MACOS_VERSION < 14.0:
            UNIMPLEMENTED_XFAILLIST.update({"old_macos": None})
        UNDEFINED_XFAILLIST = {"random": None, "whole_and_random": [torch.float32]}
else:
    def mps_ops_modifier(ops):
        return ops
"""
NAMES = """\
op_db = [
    OpInfo("whole", dtypes=floats),
    UnaryUfuncInfo("some", variant_test_name="_variant"),
    make_signal_windows_opinfo(name="windows"),
    OpInfo(name_of(x)),
    partial("no_description"),
]
"""


def test_dtypes_are_those_of_the_newest_macos() -> None:
    found = read_lists(LISTS)
    assert found["UNIMPLEMENTED_XFAILLIST"] == {
        "whole": None,
        "some": frozenset({"int64", "bool"}),
        "older": frozenset(),
    }


def test_the_names_that_are_written_out() -> None:
    assert list(read_names(NAMES)) == ["whole", "some_variant", "windows"]


def test_the_letters() -> None:
    found = read_lists(LISTS)
    assert judge("whole", "float32", found) == "u"
    assert judge("some", "int64", found) == "u"
    assert judge("some", "float32", found) == "."
    assert judge("older", "float32", found) == "."
    assert judge("random", "float32", found) == "x"
    assert judge("whole", "complex64", found) == "x"


def test_a_release_has_what_it_names_and_what_none_names(tmp_path: Path) -> None:
    (tmp_path / "common_mps.py").write_text(LISTS)
    (tmp_path / "common_methods_invocations.py").write_text(NAMES)
    opinfos = [Opinfo(key, "float32", False, ()) for key in ("whole", "newer", "computed")]
    assert read_release(tmp_path, opinfos, everywhere={"whole", "newer"}) == {"whole": "u", "computed": "."}
