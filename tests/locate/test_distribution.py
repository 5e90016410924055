"""Every install that must be refused, made for real, with its own code, one line of cause and one of what to do."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from patcher.errors import CannotTell, PatcherError
from patcher.locate import distribution

INFO = "transformers-4.45.1.dist-info"


def refusal(folder: Path) -> PatcherError:
    with pytest.raises(PatcherError) as caught:
        distribution.read(folder)
    assert "\n" not in caught.value.message + caught.value.hint
    return caught.value


def rename(old: str, new: str) -> Callable[[Path], object]:
    return lambda folder: (folder / old).rename(folder / new)


def write(name: str, text: str) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)

    return change


REFUSED = {
    "no metadata": (rename(INFO, "elsewhere"), "no-metadata"),
    "no files": (rename("transformers", "elsewhere"), "no-files"),
    "a file for a package": (lambda f: (rename("transformers", "x")(f), write("transformers", "")(f)), "no-files"),
    "no __init__.py": (lambda folder: (folder / "transformers" / "__init__.py").unlink(), "namespace-package"),
    "neither": (
        lambda f: (rename(INFO, "x")(f), (f / "transformers" / "__init__.py").unlink()),
        "namespace-package",
    ),
    "two": (
        lambda f: ((f / (name := "Transformers-4.46.3.dist-info")).mkdir(), write(f"{name}/METADATA", "")(f)),
        "several-distributions",
    ),
    "two, one of which is a file": (write("Transformers-4.46.3.dist-info", ""), "several-distributions"),
    "METADATA gone": (lambda folder: (folder / INFO / "METADATA").unlink(), "broken-metadata"),
    "METADATA empty": (write(f"{INFO}/METADATA", ""), "broken-metadata"),
    "METADATA of another": (write(f"{INFO}/METADATA", "Name: torch\nVersion: 4.45.1\n"), "broken-metadata"),
    "METADATA of no one": (write(f"{INFO}/METADATA", "Version: 4.45.1\n"), "broken-metadata"),
    "dist-info a file": (lambda f: (rename(INFO, "x")(f), write(INFO, "Name: transformers\nVersion: 4.45.1")(f)),
        "broken-metadata"),
    "another version": (rename(INFO, "transformers-4.46.3.dist-info"), "version-mismatch"),
    "no version": (rename(INFO, "transformers-what.dist-info"), "version-mismatch"),
    "egg": (rename(INFO, "transformers-4.45.1-py3.11.egg-info"), "legacy-install"),
    "unpacked egg": (rename(INFO, "EGG-INFO"), "legacy-install"),
    "egg-link": (write("transformers.egg-link", "/src"), "editable-install"),
    "editable .pth": (write("__editable__.transformers-4.45.1.pth", "/src"), "editable-install"),
    "editable": (write(f"{INFO}/direct_url.json", '{"url": "file:///s", "dir_info": {"editable": true}}'),
        "editable-install"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused(install: Any, tmp_path: Path, name: str) -> None:
    folder = install(tmp_path / "site-packages")
    damage, code = REFUSED[name]
    distribution.read(folder)
    damage(folder)
    assert (refusal(folder).code, refusal(folder).exit_code) == (code, 1)


@pytest.mark.parametrize("name", ["EGG-INFO", "transformers-4.45.1-py3.11.egg-info"])
def test_an_egg_is_named(install: Any, tmp_path: Path, name: str) -> None:
    folder = install(tmp_path / "site-packages")
    (folder / INFO).rename(folder / name)
    assert f"installed as an egg ({name})" in refusal(folder).message


def test_an_empty_dist_info_is_none(install: Any, tmp_path: Path) -> None:
    """As a cut leaves it where it comes between the two last steps of clearing one away."""
    folder = install(tmp_path / "site-packages")
    (folder / "transformers-4.44.0.dist-info").mkdir()
    assert distribution.read(folder).version == "4.45.1"


DIRECT = {
    "an archive": '{"url": "https://x/t.whl", "archive_info": {}}',
    "a VCS": '{"url": "https://x/t.git", "vcs_info": {"vcs": "git", "commit_id": "0"}}',
    "a folder": '{"url": "file:///src", "dir_info": {}}',
    "not editable": '{"url": "file:///src", "dir_info": {"editable": false}}',
    "no one knows": "{",
}


@pytest.mark.parametrize("origin", DIRECT)
def test_a_regular_install_from_anywhere(install: Any, tmp_path: Path, origin: str) -> None:
    folder = install(tmp_path / "site-packages")
    (folder / INFO / "direct_url.json").write_text(DIRECT[origin])
    (folder / "transformers_stream_generator-0.0.5.dist-info").mkdir()
    (folder / "__editable__.transformers_extra-1.pth").write_text("")
    (folder / "transformers.pth").write_text("")
    assert distribution.read(folder).version == "4.45.1"


def test_the_same_version_in_another_spelling(install: Any, tmp_path: Path) -> None:
    folder = install(tmp_path / "site-packages")
    (folder / INFO).rename(folder / "transformers-4.45.1.0.dist-info")
    assert distribution.read(folder).version == "4.45.1"


def test_a_version_that_is_none_but_agrees(install: Any, tmp_path: Path) -> None:
    folder = install(tmp_path / "site-packages")
    (folder / INFO).rename(folder / "transformers-mine.dist-info")
    (folder / "transformers-mine.dist-info" / "METADATA").write_text("Name: Transformers\nVersion: mine\n")
    assert distribution.read(folder).version == "mine"


@pytest.mark.parametrize("sign", [".git", ".hg", ".svn"])
def test_a_checkout(install: Any, tmp_path: Path, sign: str) -> None:
    folder = install(tmp_path / "src")
    (tmp_path / sign).mkdir()
    distribution.read(folder)  # installed with --target inside a project
    (folder / INFO).rename(folder / "transformers.egg-info")
    assert refusal(folder).code == "vcs-checkout"
    (folder / "transformers.egg-info").rename(folder / "elsewhere")
    assert refusal(folder).code == "vcs-checkout"


def test_a_virtual_environment_inside_a_checkout(venv: Any, install: Any, look: Any, cwd: Path) -> None:
    subprocess.run(["git", "init", "--quiet", str(cwd)], check=True)
    env = venv(".venv", parent=cwd)
    folder = install(env.site_packages)
    assert look(python=[env.python])[0].version == "4.45.1"
    (folder / INFO).rename(folder / "elsewhere")
    assert refusal(folder).code == "no-metadata"


@pytest.mark.parametrize("name", ["transformers", INFO])
def test_a_link_to_a_shared_folder(install: Any, tmp_path: Path, name: str) -> None:
    folder = install(tmp_path / "site-packages")
    (folder / name).rename(tmp_path / "shared")
    (folder / name).symlink_to(tmp_path / "shared")
    told = refusal(folder)
    assert told.code == "linked-package"
    assert str(tmp_path / "shared") in told.message
    assert told.hint.endswith(f"--site-packages {tmp_path}.")


def test_a_site_packages_that_is_a_link(install: Any, tmp_path: Path) -> None:
    folder = install(tmp_path / "it's here")
    (tmp_path / "site-packages").symlink_to(folder)
    told = refusal(tmp_path / "site-packages")
    assert told.code == "linked-folder"
    assert told.hint.endswith(f"--site-packages {shlex.quote(str(folder))}.")


def test_what_is_no_folder(wheels: Callable[[str], Path], tmp_path: Path) -> None:
    (tmp_path / "text").write_text("")
    assert refusal(tmp_path / "text").code == "unreadable-folder"
    assert refusal(tmp_path / "missing").code == "unreadable-folder"
    assert refusal(wheels("4.45.1")).code == "in-zip"
    assert isinstance(refusal(tmp_path), CannotTell)


def test_a_folder_that_may_be_listed_and_no_more(install: Any, tmp_path: Path, monkeypatch: Any) -> None:
    def refuse(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    folder = install(tmp_path / "site-packages")
    monkeypatch.setattr(Path, "is_dir", refuse)  # root, who runs the tests in containers, may read all
    assert refusal(folder).code == "unreadable-folder"


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


def test_a_checkout_on_pythonpath(venv: Any, poison: Callable[[Path], None], look: Any, cwd: Path) -> None:
    subprocess.run(["git", "init", "--quiet", str(cwd)], check=True)
    (cwd / "src").mkdir()
    poison(cwd / "src" / "transformers")
    (found,) = look(python=[venv().python], PYTHONPATH="src")
    assert (found.error.code, found.site_packages) == ("vcs-checkout", cwd / "src")
    assert str(cwd) in found.error.message


@pytest.mark.parametrize("kind", ["package", "module"])
def test_a_copy_that_hides_the_installed_one(
    venv: Any, install: Any, poison: Callable[[Path], None], look: Any, cwd: Path, kind: str
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


def test_a_namespace_on_the_path(venv: Any, look: Any, cwd: Path) -> None:
    (cwd / "transformers").mkdir()
    (found,) = look(python=[venv().python], PYTHONPATH=cwd)
    assert found.error.code == "namespace-package"


def test_metadata_without_files_on_the_path(venv: Any, install: Any, look: Any) -> None:
    env = venv()
    (install(env.site_packages) / "transformers").rename(env.prefix / "elsewhere")
    (found,) = look(python=[env.python])
    assert (found.error.code, found.python) == ("no-files", env.python)


def test_an_install_that_an_import_hook_hides(venv: Any, install: Any, look: Any) -> None:
    env = venv()
    hide = "import sys\nsys.modules['transformers'] = None\n"
    install(env.site_packages)
    (env.site_packages / "sitecustomize.py").write_text(hide)
    (found,) = look(python=[env.python])
    assert (found.error.code, found.python) == ("no-transformers", env.python)
