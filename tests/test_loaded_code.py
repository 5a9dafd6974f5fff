"""Modules of the user's that changed since a process began to import them."""

import importlib
from pathlib import Path

import pytest

from grao_pipeline.loaded_code import LoadedCode, own_files


@pytest.mark.slow
def test_a_module_of_the_users_that_is_written_later_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    imported, other = tmp_path / "imported_by_a_test.py", tmp_path / "never_imported_by_a_test.py"
    imported.write_text("VALUE = 1\n")
    importlib.import_module(imported.stem)
    written = imported.stat().st_ctime
    code = LoadedCode(since=written)
    assert not code.has_changed()
    rewrite(other, later_than=written)
    assert not code.has_changed()
    rewrite(imported, later_than=written)
    assert code.has_changed()
    assert not LoadedCode(since=imported.stat().st_ctime).has_changed()
    imported.unlink()
    assert LoadedCode().has_changed()


def test_installed_packages_are_not_the_users_though_the_folder_is_that_holds_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages = tmp_path / ".venv" / "lib" / "site-packages"
    packages.mkdir(parents=True)
    (packages / "installed_by_a_test.py").touch()
    (tmp_path / "written_by_a_user.py").touch()
    link = tmp_path.parent / f"{tmp_path.name}-link"
    link.symlink_to(tmp_path)
    for folder in (link, packages):
        monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr("site.getsitepackages", lambda: [str(packages)])
    for name in ("installed_by_a_test", "written_by_a_user"):
        importlib.import_module(name)
    files = own_files()
    assert str(link / "written_by_a_user.py") in files
    assert {__file__, str(packages / "installed_by_a_test.py")} & files == {__file__}
    assert str(pytest.__file__) not in files


def rewrite(path: Path, later_than: float) -> None:
    """Write a file until its time of change is later: file systems count in ticks of a few milliseconds."""
    path.write_text("VALUE = 2\n")
    while path.stat().st_ctime <= later_than:
        path.write_text("VALUE = 2\n")
