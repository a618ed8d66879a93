"""The wheel holds everything that runs, and the lock files hold everything that is needed."""

from __future__ import annotations

import re
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.house.tree import ROOT

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PUBLISHED = {"action.yml", ".github/workflows/improve.yml"} | {
    path.relative_to(ROOT).as_posix() for path in (ROOT / "docs" / "workflows").iterdir()
}
STAGE = """
import sys
from pathlib import Path
from bot.cli.demo import ISSUE, demo_files
from bot.demo.stage import HOME, REUSABLE, stage

with stage(Path(sys.argv[1]), [], demo_files()) as scene:
    hub = scene.hub
    assert hub.bare(hub.found(HOME)).file("main", REUSABLE)
    number = hub.person("ada").open_issue(scene.name, "Title", ISSUE.read_text())
    own = hub.bare(hub.found(scene.name))
    print(*sorted(entry.path for entry in own.tree("main", recursive=True) if entry.type == "blob"), number, scene.app.poll())
"""


def run(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def files(folder: Path) -> set[str]:
    return {
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts
    }


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built as a user would, but without network: the build backend is in the lock files."""
    out = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-I", "-m", "pip", "--quiet", "--no-cache-dir"]
    run(*pip, "wheel", "--no-index", "--no-deps", "--no-build-isolation", "--wheel-dir", out, ROOT)
    (built,) = out.glob("ostler-*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a fresh environment with the wheel in it; dependencies are lent by the environment that runs the tests."""
    home = tmp_path_factory.mktemp("installed")
    run(sys.executable, "-I", "-m", "venv", "--without-pip", home)
    python = home / "bin" / "python"
    pip = [sys.executable, "-I", "-m", "pip", "--quiet", "--no-cache-dir", "--python", str(python)]
    run(*pip, "install", "--no-index", "--no-deps", wheel)
    site = Path(run(python, "-I", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    (site / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return python


def test_wheel_holds_the_package_the_templates_and_nothing_else(wheel: Path) -> None:
    templates = {f"bot/templates/{name}" for name in files(ROOT / "templates")}
    package = {f"bot/{name}" for name in files(ROOT / "bot")}
    published = {f"bot/demo/published/{name}" for name in PUBLISHED}
    assert templates, "there are no templates"
    held = {name for name in zipfile.ZipFile(wheel).namelist() if not name.startswith("ostler-0.1.0.dist-info/")}
    assert held == package | templates | published


def test_the_wheels_copies_are_those_of_the_checkout(wheel: Path) -> None:
    """The demo's stand-in for GitHub runs the very workflows that people copy."""
    assert not (ROOT / "bot" / "demo" / "published").exists(), "in a checkout it would hide the real ones"
    with zipfile.ZipFile(wheel) as held:
        assert {name: held.read(f"bot/demo/published/{name}") for name in PUBLISHED} == {
            name: (ROOT / name).read_bytes() for name in PUBLISHED
        }


def test_checkout_has_one_templates_folder() -> None:
    """`bot/templates` exists in a wheel only; in a checkout it would hide the real ones."""
    assert not (ROOT / "bot" / "templates").exists()


def test_installed_wheel_finds_its_templates(installed: Path) -> None:
    found = Path(run(installed, "-I", "-c", "import bot.render; print(bot.render.TEMPLATES)").strip())
    assert found.is_relative_to(installed.parents[1]), "taken from the checkout"
    assert files(found) == files(ROOT / "templates")


def test_installed_command_starts(installed: Path) -> None:
    assert "Usage" in run(installed.with_name("ostler"), "--help")


def test_installed_demo_finds_its_stage(installed: Path, tmp_path: Path) -> None:
    """The stand-in GitHub hosts Ostler's workflows and the example, and the App answers; all of it from the wheel."""
    out = run(installed, "-I", "-c", STAGE, tmp_path / "stage")
    assert out.split() == [*sorted({*files(ROOT / "bot" / "demo" / "example"), ".github/workflows/ostler.yml"}), "1", "None"]
    assert "--keep" in run(installed.with_name("ostler"), "demo", "--help")


def test_locks_hold_what_the_project_asks_for() -> None:
    runtime, dev = (pins(ROOT / name) for name in ("requirements.lock", "requirements-dev.lock"))
    assert runtime.items() <= dev.items(), "the two lock files differ: make lock"
    needed = [*PROJECT["project"]["dependencies"], *PROJECT["build-system"]["requires"]]
    assert unmet(needed, runtime) == []
    assert unmet(PROJECT["project"]["optional-dependencies"]["dev"], dev) == []


def test_build_backend_is_locked_as_it_is_asked_for() -> None:
    assert PROJECT["dependency-groups"]["build"] == PROJECT["build-system"]["requires"]


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock"])
def test_lock_names_no_place(name: str) -> None:
    """Neither an index nor a folder of the machine it was made on, and a hash for every package."""
    text = (ROOT / name).read_text(encoding="utf-8")
    assert not re.search(r"://|(?m:^-)|@ ", text)
    packages = re.split(r"\n(?=[a-z0-9])", text)[1:]
    assert packages
    assert all("--hash=sha256:" in package for package in packages)


def pins(lock: Path) -> dict[str, str]:
    return dict(re.findall(r"(?m)^([a-z0-9.-]+)(?:\[[a-z0-9, -]+\])?==(\S+)", lock.read_text(encoding="utf-8")))


def unmet(requirements: list[str], locked: dict[str, str]) -> list[str]:
    wanted = [Requirement(line) for line in requirements]
    return [
        str(each)
        for each in wanted
        if (version := locked.get(canonicalize_name(each.name))) is None or not each.specifier.contains(version)
    ]
