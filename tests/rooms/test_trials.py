"""An auditor's check in the real sandbox: it says what the code does, and can do nothing else."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from bot.core.answers import AuditCheck
from bot.core.reports import Check
from bot.workspace.sandbox import Sandbox
from bot.workspace.toolchains import detect
from bot.workspace.trials import DETAIL, TEST_FILE, try_check
from tests.rooms.trees import names, put

WRONG = "def add(left, right):\n    return left - right\n"
RIGHT = "def add(left, right):\n    return left + right\n"
PYTEST = {
    "pyproject.toml": "[tool.pytest.ini_options]\ntestpaths = ['tests']\npythonpath = ['.']\n",
    "tests/conftest.py": "import pytest\n\n\n@pytest.fixture\ndef two():\n    return 2\n",
    "tests/test_calc.py": "from calc import add\n\n\ndef test_zero():\n    assert add(2, 0) == 2\n",
}
UNITTEST = {
    "test_calc.py": "import unittest\n\n\nclass A(unittest.TestCase):\n    def test_a(self):\n        pass\n",
}
CLAIM = "from calc import add\n\n\ndef test_adds(two):\n    assert add(two, 3) == 5\n"
CLAIM_UNITTEST = (
    "import unittest\n\nfrom calc import add\n\n\nclass B(unittest.TestCase):\n    def test_adds(self):\n"
    "        self.assertEqual(add(2, 3), 5)\n"
)


def tried(box: Sandbox, root: Path, check: AuditCheck, files: dict[str, str], seconds: float = 60.0) -> Check:
    put(root, files)
    return try_check(check, root, box, detect(root, names(root), Path("/work/checkout"), box=box), seconds)


@pytest.mark.parametrize(("files", "body"), [(PYTEST, CLAIM), (UNITTEST, CLAIM_UNITTEST)], ids=["pytest", "unittest"])
def test_a_test_fails_on_the_wrong_code_and_passes_on_the_right(
    box: Sandbox, tmp_path: Path, files: dict[str, str], body: str
) -> None:
    check = AuditCheck("test", body)
    wrong = tried(box, tmp_path / "wrong", check, {**files, "calc.py": WRONG})
    right = tried(box, tmp_path / "right", check, {**files, "calc.py": RIGHT})
    assert (wrong.outcome, right.outcome) == ("fail", "pass")
    assert "5" in wrong.detail


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        ("python3 -c 'from calc import add; assert add(2, 3) == 5'", "pass"),
        ("python3 -c 'from calc import add; assert add(2, 3) == 6'", "fail"),
        ("grep -q 'left + right' calc.py", "pass"),
        ("no-such-program", "neutral"),
        ("kill -9 $$", "neutral"),
    ],
)
def test_a_command_speaks_by_its_exit_code(box: Sandbox, tmp_path: Path, body: str, outcome: str) -> None:
    assert tried(box, tmp_path / "t", AuditCheck("command", body), {**PYTEST, "calc.py": RIGHT}).outcome == outcome


@pytest.mark.parametrize(
    "check",
    [
        AuditCheck("command", "sleep 600"),
        AuditCheck("test", "import time\n\n\ndef test_slow():\n    time.sleep(600)\n"),
        AuditCheck("command", "while :; do echo flood; done"),
    ],
    ids=["command", "test", "flood"],
)
def test_what_never_ends_says_nothing(box: Sandbox, tmp_path: Path, check: AuditCheck) -> None:
    done = tried(box, tmp_path / "t", check, {**PYTEST, "calc.py": RIGHT}, seconds=3.0)
    assert done.outcome == "neutral"
    assert "end by" in done.detail
    assert len(done.detail) <= DETAIL


def test_a_test_that_cannot_be_collected_says_nothing(box: Sandbox, tmp_path: Path) -> None:
    """Also one of something that the base does not have yet."""
    for number, body in enumerate(("import nowhere\n", "def test_(:\n", "X = 1\n", "from calc import missing\n")):
        files = {**PYTEST, "calc.py": RIGHT}
        assert tried(box, tmp_path / str(number), AuditCheck("test", body), files).outcome == "neutral", body


def test_it_writes_nowhere_but_in_its_copy_and_reaches_nobody(box: Sandbox, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    outside.chmod(0o777)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        reach = f"import socket; socket.create_connection(('127.0.0.1', {port}), 3)"
        for number, body in enumerate((f"echo taken > {outside}/file", f'python3 -c "{reach}"')):
            check = AuditCheck("command", body)
            assert tried(box, tmp_path / str(number), check, {**PYTEST, "calc.py": RIGHT}).outcome == "fail", body
    assert list(outside.iterdir()) == []


def test_a_test_is_written_through_no_link(box: Sandbox, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    root = put(tmp_path / "t", {**PYTEST, "calc.py": RIGHT})
    toolchain = detect(root, names(root), Path("/work/checkout"), box=box)
    (root / "tests").rename(tmp_path / "kept")
    (root / "tests").symlink_to(outside, target_is_directory=True)
    try_check(AuditCheck("test", CLAIM), root, box, toolchain, 60.0)
    assert list(outside.iterdir()) == []
    assert (root / TEST_FILE).is_file()


def test_where_there_is_no_python_only_a_command_can_be_run(box: Sandbox, tmp_path: Path) -> None:
    files = {"go.mod": "module example.com/x\n", "main.go": "package main\n\nfunc main() {}\n"}
    assert tried(box, tmp_path / "a", AuditCheck("test", CLAIM), files).outcome == "neutral"
    assert tried(box, tmp_path / "b", AuditCheck("command", "grep -q func main.go"), files).outcome == "pass"
