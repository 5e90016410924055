"""Every install that must be refused, made for real, with its own code, one line of cause and one of what to do."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from patcher.errors import REINSTALL, CannotTell, PatcherError
from patcher.storage.record import record_row
from patcher.targets.distribution import (
    dist_infos,
    holds_install,
    installed_version,
    installer_of,
    read_distribution,
)

INFO = "transformers-4.45.1.dist-info"
Change = Callable[[Path], object]


@pytest.fixture
def folder(install: Any, tmp_path: Path) -> Path:
    """A site-packages folder with a sound install."""
    made: Path = install(tmp_path / "site-packages")
    assert read_distribution(made) == (made / INFO, "4.45.1")
    return made


def refusal(folder: Path) -> PatcherError:
    with pytest.raises(PatcherError) as caught:
        read_distribution(folder)
    assert "\n" not in caught.value.message + caught.value.hint
    return caught.value


def rename(old: str, new: str) -> Change:
    return lambda folder: (folder / old).rename(folder / new)


def write(name: str, text: str) -> Change:
    def change(folder: Path) -> None:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)

    return change


def unlink(name: str) -> Change:
    return lambda folder: (folder / name).unlink()


def pipe_for(name: str) -> Change:
    def change(folder: Path) -> None:
        (folder / name).unlink()
        os.mkfifo(folder / name)

    return change


def stating(version: str) -> Change:
    return write("transformers/__init__.py", f'# Copyright\n\n__version__ = "{version}"\n\nimport x\n')


def recorded(change: Change) -> Change:
    """A change of `__init__.py` that RECORD knows of."""

    def both(folder: Path) -> None:
        change(folder)
        list_in_record(folder / INFO)

    return both


def list_in_record(info: Path) -> None:
    """Makes RECORD list `transformers/__init__.py` as it is."""
    name = "transformers/__init__.py"
    row = record_row(name, (info.parent / name).read_bytes())
    others = [line for line in (info / "RECORD").read_text().splitlines() if not line.startswith(f"{name},")]
    (info / "RECORD").write_text("\n".join([row, *others, ""]))


EDITABLE = '{"url": "file:///s", "dir_info": {"editable": true}}'
REFUSED: dict[str, tuple[Change, str, str]] = {
    "no dist-info": (rename(INFO, "elsewhere"), "no-metadata", "Install a release"),
    "no METADATA": (unlink(f"{INFO}/METADATA"), "no-metadata", REINSTALL),
    "an egg": (rename(INFO, "transformers-4.45.1-py3.11.egg-info"), "no-metadata", "Install a release"),
    "no package": (rename("transformers", "elsewhere"), "no-files", REINSTALL),
    "no __init__.py": (unlink("transformers/__init__.py"), "no-files", REINSTALL),
    "METADATA empty": (write(f"{INFO}/METADATA", ""), "broken-metadata", REINSTALL),
    "METADATA says it in the body": (write(f"{INFO}/METADATA", "Name: t\n\nVersion: 1"), "broken-metadata", REINSTALL),
    "METADATA a pipe": (pipe_for(f"{INFO}/METADATA"), "broken-metadata", REINSTALL),
    "another's files": (stating("4.26.1"), "version-mismatch", REINSTALL),
    "of a development version": (stating("4.45.1.dev0"), "version-mismatch", REINSTALL),
    "egg-link": (write("transformers.egg-link", "/src"), "editable-install", "source tree"),
    "editable .pth": (write("__editable__.transformers-4.45.1.pth", "/src"), "editable-install", "source tree"),
    "editable": (write(f"{INFO}/direct_url.json", EDITABLE), "editable-install", "source tree"),
    "frozen": (write("base_library.zip", ""), "frozen-application",
        "Patch the environment that it is built from, then build again."),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused(folder: Path, name: str) -> None:
    change, code, hint = REFUSED[name]
    change(folder)
    told = refusal(folder)
    assert (told.code, told.exit_code) == (code, 1)
    assert hint in told.hint
    assert str(folder) in told.message


ACCEPTED: dict[str, Change] = {
    "an empty dist-info": lambda folder: (folder / "transformers-4.44.0.dist-info").mkdir(),
    "a dist-info of our folder alone": write("transformers-4.44.0.dist-info/mps-patcher", ""),
    "a dist-info without METADATA": write("transformers-4.44.0.dist-info/RECORD", ""),
    "other projects": write("transformers_stream_generator-0.0.5.dist-info/METADATA", ""),
    "another's editable install": write("__editable__.transformers_extra-1.pth", ""),
    "a .pth file": write("transformers.pth", ""),
    "from an archive": write(f"{INFO}/direct_url.json", '{"url": "https://x/t.whl", "archive_info": {}}'),
    "from a folder": write(f"{INFO}/direct_url.json", '{"url": "file:///s", "dir_info": {"editable": false}}'),
    "from nobody knows where": write(f"{INFO}/direct_url.json", "{"),
    "the version in its code": stating("4.45.1"),
    "in another spelling": stating("4.45.1.0"),
    "with a local label": stating("4.45.1+metal"),
    "another version in its code, as it was released": recorded(stating("4.45.0.dev0")),
    "a version that is none, computed": write("transformers/__init__.py", "__version__ = find()\n"),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_accepted(folder: Path, name: str) -> None:
    ACCEPTED[name](folder)
    assert read_distribution(folder) == (folder / INFO, "4.45.1")


@pytest.mark.parametrize("version", ["4.46.0.dev0", "4.46.0.dev0+local"])
@pytest.mark.parametrize("stated", ["4.46.0dev0", "4.46.0.dev0+g0c5e98d"])
def test_development_versions_are_compared_as_versions(folder: Path, version: str, stated: str) -> None:
    (folder / INFO / "METADATA").write_text(f"Name: transformers\nversion: {version}\nLicense: x\n  Version: 1\n")
    stating(stated)(folder)
    assert read_distribution(folder)[1] == version


def test_a_version_that_is_none(folder: Path) -> None:
    (folder / INFO / "METADATA").write_text("Name: transformers\nVersion: mine\n")
    stating("mine")(folder)
    assert read_distribution(folder)[1] == "mine"
    stating("yours")(folder)
    assert refusal(folder).code == "version-mismatch"


@pytest.mark.parametrize("stated", ["4.45.1", "4.44.2", "4.30.0", None])
def test_of_several_the_version_in_the_code_tells_whose_the_files_are(folder: Path, stated: str | None) -> None:
    """As `pip install --target DIR --upgrade` leaves them."""
    old = another(folder, "4.44.2")
    if stated:
        stating(stated)(folder)
    told = refusal(folder)
    assert (told.code, told.exit_code) == ("several-distributions", 1)
    assert f"{old.name}, {INFO}; " in told.message
    stale = {"4.45.1": old, "4.44.2": folder / INFO}.get(stated or "")
    gone = [stale] if stale else [folder / "transformers", old, folder / INFO]
    assert told.hint.endswith(f": rm -r {shlex.join(map(str, gone))}")
    assert (f"the files are those of {stated}." if stale else "which one the files belong to.") in told.message


@pytest.mark.parametrize("owner", ["4.45.1", "4.44.2"])
def test_of_several_record_decides_before_the_version_in_the_code(folder: Path, owner: str) -> None:
    old = another(folder, "4.44.2")
    stating("4.44.2" if owner == "4.45.1" else "4.45.1")(folder)
    list_in_record(folder / f"Transformers-{owner}.dist-info" if owner == "4.44.2" else folder / INFO)
    told = refusal(folder)
    assert f"the files are those of {owner}." in told.message
    assert told.hint.endswith(f"rm -r {old if owner == '4.45.1' else folder / INFO}")


def another(folder: Path, version: str) -> Path:
    """The metadata of another release beside that of the install."""
    info = folder / f"Transformers-{version}.dist-info"
    shutil.copytree(folder / INFO, info)
    (info / "METADATA").write_text(f"Name: transformers\nVersion: {version}\n")
    return info


def owned_by(folder: Path, name: str, version: str) -> None:
    """Makes the files another project's, as adapter-transformers does."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "RECORD").write_text("")
    list_in_record(info)


def test_files_of_another_project_are_told_with_its_name(folder: Path) -> None:
    stating("4.26.1")(folder)
    assert "are those of 4.26.1." in refusal(folder).message
    owned_by(folder, "adapter-transformers", "3.2.1.post0")
    told = refusal(folder)
    assert told.code == "version-mismatch"
    assert "are those of 4.26.1, from adapter-transformers 3.2.1.post0." in told.message
    shutil.rmtree(folder / INFO)
    told = refusal(folder)
    assert told.code == "no-metadata"
    assert "belongs to adapter-transformers 3.2.1.post0, which carries its own copy, 4.26.1." in told.message


@pytest.mark.parametrize("place", ["_internal", "App.app/Contents/Frameworks", "dist/app"])
def test_an_application_of_pyinstaller(folder: Path, look: Any, tmp_path: Path, place: str) -> None:
    """With and without metadata, named or come upon."""
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    inside = folder.rename(tmp_path / place)
    (inside / "base_library.zip").write_text("")
    for _ in range(2):
        for found in (look(site_packages=[inside]), look(under=[tmp_path])):
            assert [one.error.code for one in found] == ["frozen-application"]
        shutil.rmtree(inside / INFO, ignore_errors=True)
    shutil.rmtree(inside / "transformers")
    assert refusal(inside).code == "no-transformers"


def test_what_only_reminds_of_it_is_none(folder: Path) -> None:
    """What a cut run of ours leaves after `pip uninstall`, say."""
    shutil.rmtree(folder / "transformers")
    (folder / INFO / "METADATA").unlink()
    told = refusal(folder)
    assert isinstance(told, CannotTell)
    assert (told.code, told.message) == ("no-transformers", f"There is no transformers in {folder}.")


@pytest.mark.parametrize("name", ["transformers", INFO])
def test_a_link_to_a_shared_folder(folder: Path, tmp_path: Path, name: str) -> None:
    (folder / name).rename(tmp_path / "shared")
    (folder / name).symlink_to(tmp_path / "shared")
    told = refusal(folder)
    assert told.code == "linked-package"
    assert str(tmp_path / "shared") in told.message
    assert told.hint.endswith(f"--site-packages {tmp_path}")


def test_a_site_packages_that_is_a_link(folder: Path, tmp_path: Path) -> None:
    real = folder.rename(tmp_path / "it's here")
    folder.symlink_to(real)
    told = refusal(folder)
    assert told.code == "linked-folder"
    assert told.hint.endswith(f"--site-packages {shlex.quote(str(real))}")


def test_what_is_no_folder(wheels: Callable[[str], Path], tmp_path: Path) -> None:
    (tmp_path / "text").write_text("")
    os.mkfifo(tmp_path / "pipe")
    for name in ("text", "missing", "pipe", "x" * 300):
        assert refusal(tmp_path / name).code == "unreadable-folder"
    assert refusal(wheels("4.45.1")).code == "in-zip"
    assert refusal(tmp_path).code == "no-transformers"


BACKEND = """
import zipfile, pathlib
INFO = "transformers-4.46.0.dev0.dist-info/"
FILES = {
    "_transformers.pth": str(pathlib.Path.cwd() / "src"),
    INFO + "METADATA": "Metadata-Version: 2.1\\nName: transformers\\nVersion: 4.46.0.dev0\\n",
    INFO + "WHEEL": "Wheel-Version: 1.0\\nGenerator: x\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
}
def build_editable(folder, config_settings=None, metadata_directory=None):
    name = "transformers-4.46.0.dev0-py3-none-any.whl"
    record = "".join(f"{path},,\\n" for path in [*FILES, INFO + "RECORD"])
    with zipfile.ZipFile(pathlib.Path(folder, name), "w") as wheel:
        for path, text in {**FILES, INFO + "RECORD": record}.items():
            wheel.writestr(path, text)
    return name
"""


@pytest.mark.parametrize("tool", ["pip", "uv"])
def test_a_real_editable_install(
    venv: Any, poison: Callable[[Path], None], look: Any, cwd: Path, tmp_path: Path, tool: str
) -> None:
    env = venv()
    (cwd / "src").mkdir()
    poison(cwd / "src" / "transformers")
    (cwd / "backend.py").write_text(BACKEND)
    (cwd / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]'
    )
    pip = ["pip", "--python", str(env.python), "install", "--no-index"]
    uv = ["uv", "pip", "install", "--python", str(env.python), "--offline", "--cache-dir", str(tmp_path / "cache")]
    subprocess.run([sys.executable, "-m", *(pip if tool == "pip" else uv), "-q", "-e", str(cwd)], check=True)
    for found in (look(python=[env.python]), look(under=[env.prefix]), look(site_packages=[env.site_packages])):
        assert [one.error.code for one in found] == ["editable-install"]
    assert found[0].version == "4.46.0.dev0"


class TestImported:
    """What an interpreter imports, where that is not simply what is installed."""

    def test_a_checkout_on_pythonpath(self, venv: Any, poison: Any, look: Any, cwd: Path) -> None:
        (cwd / "src").mkdir()
        poison(cwd / "src" / "transformers")
        (found,) = look(python=[venv().python], PYTHONPATH="src")
        assert (found.error.code, found.site_packages) == ("no-metadata", cwd / "src")

    @pytest.mark.parametrize("kind", ["package", "module"])
    def test_a_copy_that_hides_the_installed_one(
        self, venv: Any, install: Any, poison: Any, look: Any, cwd: Path, kind: str
    ) -> None:
        env = venv()
        install(env.site_packages)
        if kind == "package":
            poison(cwd / "transformers")
        else:
            (cwd / "transformers.py").write_text("")
        (found,) = look(python=[env.python], PYTHONPATH=cwd)
        assert (found.error.code, found.site_packages, found.python) == ("shadowed", cwd, env.python)
        assert str(env.site_packages) in found.error.message
        assert "PYTHONPATH" in found.error.hint

    def test_metadata_without_files(self, venv: Any, install: Any, look: Any) -> None:
        env = venv()
        shutil.rmtree(install(env.site_packages) / "transformers")
        (found,) = look(python=[env.python])
        assert (found.error.code, found.python) == ("no-files", env.python)

    def test_an_install_that_an_import_hook_hides(self, venv: Any, install: Any, look: Any) -> None:
        env = venv()
        install(env.site_packages)
        (env.site_packages / "sitecustomize.py").write_text("import sys\nsys.modules['transformers'] = None\n")
        (found,) = look(python=[env.python])
        assert (found.error.code, found.error.exit_code) == ("no-transformers", 3)

    def test_a_zip_on_pythonpath(self, venv: Any, install: Any, look: Any, tmp_path: Path) -> None:
        archive = shutil.make_archive(str(tmp_path / "all"), "zip", install(tmp_path / "unpacked"))
        (found,) = look(python=[venv().python], PYTHONPATH=archive)
        assert found.error.code == "in-zip"
        assert archive in found.error.message


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("transformers-4.45.1.dist-info", True),
        ("Transformers-4.45.1.dist-info", True),
        ("transformers-4.45.1-py3.11.egg-info", False),
        ("~ransformers-4.45.1.dist-info", False),
        ("sentence_transformers-3.0.dist-info", False),
        ("transformers_stream_generator-0.0.5.dist-info", False),
    ],
)
def test_dist_infos(name: str, is_one: bool) -> None:
    assert dist_infos([name]) == ([name] if is_one else [])
    assert holds_install(Path("site-packages"), [name]) == is_one


@pytest.mark.parametrize(
    ("mark", "version"),
    [
        ("coqui_tts-0.27.5.dist-info/METADATA", "0.27.5"),
        ("Coqui.TTS-0.27.5.dist-info/METADATA", "0.27.5"),
        ("coqui_tts-0.27.5-py3.11.egg-info/PKG-INFO", "0.27.5"),  # as conda has them
        ("coqui_tts_extra-0.27.5.dist-info/METADATA", None),
        ("coqui_tts-0.27.5.dist-info/RECORD", None),
    ],
)
def test_an_installed_version_comes_from_the_first_folder_that_tells(
    tmp_path: Path, mark: str, version: str | None
) -> None:
    for folder, stated in (("first", "0.27.5"), ("last", "0.28.0")):
        (tmp_path / folder / mark).parent.mkdir(parents=True)
        (tmp_path / folder / mark).write_text(f"Name: x\nVERSION: {stated} \r\n\r\nVersion: 1")
    path = [tmp_path / name for name in ("none", "first", "last")]
    assert installed_version("coqui-tts", path) == version


@pytest.mark.parametrize(
    ("content", "word"), [("uv\n", "uv"), ("root:$y$j9T$x:20000", "root"), (" \n", None), (None, None)]
)
def test_the_installer_is_one_word(tmp_path: Path, content: str | None, word: str | None) -> None:
    if content is not None:
        (tmp_path / "INSTALLER").write_text(content)
    assert installer_of(tmp_path) == word
