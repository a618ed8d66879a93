"""A pytest plugin for the sandbox: it notes which blocks of the repository's functions each test ran, and runs chosen tests only.

Probes are put into the syntax trees of the repository's files as they are imported, so that nothing else gets slower and
coverage tools and debuggers keep `sys.settrace` for themselves. What only C code opens (a parser given a path) is not seen.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from bot.workspace.toolchains.probes import PROBES

NAME = "ostler_recorder"
NOTES = "notes.json"
ONLY = "only.json"


def recording(out: Path, at: str, seconds: float = 0.0) -> tuple[str, ...]:
    """Put the plugin into `out`, which appears at `at`, and give pytest's options for it to leave its notes there.

    PYTHONPATH has to hold `at` too. After `seconds`, where they are given, no other test begins.
    """
    (out / f"{NAME}.py").write_text(f"{HEAD}{PROBES}{WATCH}{RECORDER}")
    (out / f"{NAME}_child.py").write_text(f"{HEAD}{PROBES}{WATCH}{CHILD}")
    (out / "sitecustomize.py").write_text(SITE)
    return ("-p", NAME, f"--ostler-notes={at}/{NOTES}", f"--ostler-seconds={seconds}")


def only(out: Path, at: str, items: Sequence[str]) -> tuple[str, ...]:
    """The same to run nothing but `items`, ids or whole files. Only their files are collected.

    Tracebacks are Python's own: for pytest's, each failure parses whole files, which would be most of the time where much fails.
    """
    (out / f"{NAME}.py").write_text(f"{HEAD}{CHOOSER}")
    (out / ONLY).write_text(json.dumps(list(items)))
    files = dict.fromkeys(item.partition("::")[0] for item in items)
    return ("-p", NAME, "--tb=native", f"--ostler-only={at}/{ONLY}", *files)


# Python 3.8 or newer, and the pytest that is there.
HEAD = r'''"""PYTEST_DONT_REWRITE"""
import ast, atexit, builtins, json, os, re, shlex, sys, time


def above(name):
    """The node ids from a test up to its file."""
    yield name
    path, _, rest = name.partition("::")
    parts = rest.split("[")[0].split("::")
    for n in range(len(parts) - 1, 0, -1):
        yield "::".join([path] + parts[:n])
    yield path


'''

CHOOSER = r'''import pytest
from _pytest.assertion import rewrite

plain_asserts = rewrite.rewrite_asserts


class Only:
    def __init__(self, config, wanted):
        if hasattr(config.option, "cov_fail_under"):
            config.option.cov_fail_under = 0  # a part of the suite covers a part
        self.wanted, self.root = set(wanted), str(getattr(config, "rootpath", "") or config.rootdir)
        self.parents = {up for name in wanted for up in above(name)}
        self.parents |= {up.partition("::")[0] + "::" + up.partition("::")[2].split("[")[0] for up in wanted if "::" in up}

    @pytest.hookimpl(tryfirst=True)
    def pytest_pycollect_makeitem(self, collector, name):
        if not self.whole(collector.nodeid) and collector.nodeid + "::" + name not in self.parents:
            return []

    def whole(self, node):
        return any(up in self.wanted for up in above(node))

    def idle(self, body, node):
        """The tests below a node that do not run."""
        for one in body if not self.whole(node) else ():
            below = "%s::%s" % (node, getattr(one, "name", ""))
            if isinstance(one, ast.ClassDef):
                yield from self.idle(one.body, below)
            elif getattr(one, "name", "").startswith("test") and below not in self.parents:
                yield one

    def rewrite_asserts(self, tree, source, module_path=None, config=None):
        # pytest explains each assert by some twenty nodes of code, which in files of many tests takes longer than a few of them.
        idle = list(self.idle(tree.body, os.path.relpath(module_path, self.root).replace(os.sep, "/"))) if module_path else []
        bodies = [one.body for one in idle]
        for one in idle:
            one.body = [ast.copy_location(ast.Pass(), one.body[0])]
        plain_asserts(tree, source, module_path, config)
        for one, body in zip(idle, bodies):
            one.body = body

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, config, items):
        gone = [item for item in items if not self.whole(item.nodeid)]
        if gone:
            config.hook.pytest_deselected(items=gone)
            items[:] = [item for item in items if self.whole(item.nodeid)]


def pytest_addoption(parser):
    parser.addoption("--ostler-only", default="")


def pytest_configure(config):
    with open(config.getoption("--ostler-only")) as file:
        only = Only(config, json.load(file))
    rewrite.rewrite_asserts = only.rewrite_asserts
    config.pluginmanager.register(only, "ostler-only")
'''

# A bucket is a node id: what it holds counts for every test below that node, "" for all. Others are of functions that keep what
# they work out, by number, and of files while they are imported. The stack says into which buckets what runs now belongs.
WATCH = r'''import _frozen_importlib_external as loading

HERE, PREFIX = os.path.dirname(os.path.abspath(__file__)), os.path.realpath(sys.prefix)
# Of a Python process that a test started: the number of the bucket that it counts for, and the root.
FOLLOWED = "RECORDER_FOLLOWS"
NUMBER, _, ROOT = os.environ.get(FOLLOWED, "").partition(":")
ROOT = ROOT or os.path.realpath(os.getcwd())
CHILDREN = os.path.join(HERE, "children")
FOREIGN = ("site-packages", "dist-packages", "node_modules")
STARTS = set("subprocess.Popen os.system os.fork os.forkpty os.posix_spawn os.spawn os.exec pty.spawn".split())
LISTS = {"os.listdir", "os.scandir"}
TOOLS = set(
    "uname ldconfig getconf git hg file locale stty tput cat less more true false echo ls sleep head tail wc sort grep sed "
    "which".split()
)
SHELLS = {"sh", "bash", "dash"}
QUOTED = "'[^']*'|\"[^\"$`]*\""
IMPORT = "import of "

hits, stack, opened, opaque, buckets, times = set(), [("",)], {}, set(), {}, {}
places = {}
collecting = [""]
labels, starts = {}, {}


def inside(path):
    """The path below the root with slashes, None for what is not the repository's."""
    if path not in places:
        whole = os.path.realpath(os.path.join(os.getcwd(), path))
        here = whole.startswith(ROOT + os.sep) and not whole.startswith(PREFIX + os.sep)
        below = whole[len(ROOT) + 1 :].split(os.sep) if here else []
        found = "/".join(below) if here and not any(part in FOREIGN for part in below) else None
        if not os.path.isabs(path):
            return found
        places[path] = found
    return places[path]


# --- what belongs where ---


def settle():
    now = hits.copy()
    if now:
        for bucket in stack[-1]:
            buckets.setdefault(bucket, set()).update(now)
        hits.difference_update(now)


def enter(where):
    settle()
    stack.append(where)


def leave(_=None):
    settle()
    if len(stack) > 1:
        stack.pop()


def enter_part(number):
    """What runs in a function that keeps its result is noted for it and for its caller; in an import, for the file."""
    enter((IMPORT + modules[-1 - number],) if number < 0 else (number,) + stack[-1])


builtins.__ostler_ran__ = hits.add
builtins.__ostler_enter__ = enter_part
builtins.__ostler_leave__ = leave

plain_source = loading.SourceLoader.source_to_code


def source_to_code(self, data, path, *rest, **named):
    here = inside(os.fsdecode(path)) if isinstance(path, (str, bytes)) else None
    if here is None:
        return plain_source(self, data, path, *rest, **named)
    try:
        tree = ast.parse(data, path)
        probe(tree, here, here != collecting[-1])
    except (SyntaxError, ValueError, RecursionError):
        return plain_source(self, data, path, *rest, **named)
    if NUMBER:
        functions.append((here, ""))
        hits.add(len(functions) - 1)
    return plain_source(self, tree, path, *rest, **named)


def audit(event, given):
    if event == "open" or event == "sqlite3.connect":
        path = given[0]
        if not isinstance(path, (str, bytes)) or event == "open" and (given[2] or 0) & os.O_ACCMODE == os.O_WRONLY:
            return
        if not given[1:] or given[1] is None or "r" in str(given[1]) or "+" in str(given[1]):
            note(os.fsdecode(path), "")
    elif event in LISTS:
        if given and isinstance(given[0], (str, bytes)):
            note(os.fsdecode(given[0]), "/")
        elif given and given[0] is None:
            note(".", "/")
    elif event in STARTS:
        if event == "subprocess.Popen" and given[0] == sys.executable:
            follow()
        elif not harmless(event, given):
            opaque.update(stack[-1])


def follow():
    """A Python process that starts now leaves notes of its own, in `CHILDREN`, for the bucket that runs now."""
    label = NUMBER or str(labels.setdefault(stack[-1], len(labels)))
    starts[label] = starts.get(label, 0) + 1
    os.environ[FOLLOWED] = label + ":" + ROOT


def harmless(event, given):
    """Whether the process that starts is a tool of the system, which runs nothing of the repository."""
    try:
        program = given[0] if isinstance(given[0], (list, tuple)) else [given[0]]
        words = [os.fsdecode(word) for word in program[:1]]
        if event == "os.system" or event == "subprocess.Popen" and os.path.basename(words[0]) in SHELLS:
            command = os.fsdecode(given[0] if event == "os.system" else given[1][2])
            bare = re.sub(QUOTED, "", command)
            words = [] if set(bare) & set(";|&$`(){}<>\n") or "\\" in command else shlex.split(command)
        return os.path.basename(words[0]) in TOOLS
    except (TypeError, ValueError, IndexError):
        return False


def note(path, end):
    """The file or folder is data of what runs now, unless only the import system looks at it."""
    try:
        here = inside(path) if path != "." else ""
    except (OSError, ValueError):
        return
    if here is None or end and (len(stack) == 1 or inside_import()) or here.endswith(".py") and inside_import():
        return
    opened.setdefault(here + end, set()).update(stack[-1])


def inside_import():
    frame = sys._getframe(2)
    for _ in range(12):
        if frame is None:
            return False
        name = frame.f_code.co_filename
        if name.startswith("<frozen importlib") or name.endswith(REWRITES) or name.endswith(("linecache.py", "tokenize.py")):
            return True
        frame = frame.f_back
    return False


REWRITES = os.path.join("_pytest", "assertion", "rewrite.py")


def watch():
    loading.SourceLoader.source_to_code = source_to_code
    sys.addaudithook(audit)


def overlooked():
    """Files of the repository that were imported without probes."""
    paths = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
    return {inside(path) for path in paths if isinstance(path, str)} - probed - {None}


'''

# Python imports it as it starts, and what would have been imported in its place comes after it.
SITE = r"""import os, sys
from importlib.machinery import PathFinder
from importlib.util import module_from_spec

if os.environ.get("RECORDER_FOLLOWS"):
    import ostler_recorder_child
here = os.path.dirname(os.path.abspath(__file__))
other = PathFinder.find_spec("sitecustomize", [path for path in sys.path if os.path.abspath(path) != here])
if other is not None:
    sys.modules["sitecustomize"] = module_from_spec(other)
    other.loader.exec_module(sys.modules["sitecustomize"])
"""

# The recorder's work in a process that a test started, which leaves its notes at the end: an empty file is that of a process
# which did not get there.
CHILD = r"""def leave_notes(place):
    settle()
    ran = [functions[number] for number in set().union(*buckets.values())]
    notes = {"ran": ran, "opened": list(opened), "starts": sum(starts.values()), "opaque": bool(opaque or overlooked())}
    with open(place, "w") as file:
        json.dump(notes, file)


os.makedirs(CHILDREN, exist_ok=True)
own_notes = os.path.join(CHILDREN, "%s-%d-%d.json" % (NUMBER, os.getpid(), time.monotonic_ns()))
open(own_notes, "w").close()
atexit.register(leave_notes, own_notes)
enter(("",))
watch()
"""

RECORDER = r'''import pytest
from _pytest import fixtures
from _pytest.assertion import rewrite

plain_asserts = rewrite.rewrite_asserts


def rewrite_asserts(tree, source, module_path=None, config=None):
    here = inside(module_path) if module_path else None
    if here is not None:
        probe(tree, here, here != collecting[-1])
    plain_asserts(tree, source, module_path, config)


# At once: what other plugins import is to be seen too.
rewrite.rewrite_asserts = rewrite_asserts
watch()


def take_notes():
    """What the processes that tests started ran. One without notes, or with more than were started, may have run anything."""
    left = {str(number): [] for number in labels.values()}
    for name in sorted(os.listdir(CHILDREN)) if os.path.isdir(CHILDREN) else ():
        notes = left.setdefault(name.partition("-")[0], [])
        try:
            with open(os.path.join(CHILDREN, name)) as file:
                notes.append(json.load(file))
        except ValueError:  # it did not end, or has not yet
            notes.append(None)
    for keys, number in labels.items():
        notes = left[str(number)]
        whole = all(note and not note["opaque"] for note in notes)
        if not whole or len(notes) != starts.get(str(number), 0) + sum(note["starts"] for note in notes):
            opaque.update(keys)
            continue
        for note in notes:
            functions.extend(note["ran"])
            ran = range(len(functions) - len(note["ran"]), len(functions))
            for key in keys:
                buckets.setdefault(key, set()).update(ran)
            for path in note["opened"]:
                opened.setdefault(path, set()).update(keys)


# --- hooks ---


class Recorder:
    def __init__(self, target, seconds):
        self.target, self.late, self.left = target, False, []
        self.end = time.monotonic() + seconds if seconds else None
        finish = fixtures.FixtureDef.finish
        self.nodes = {}
        hits.clear()  # what other plugins ran when they were imported

        def finished(fixture, request):
            enter((self.nodes.get(id(fixture), stack[-1][-1]),))
            try:
                return finish(fixture, request)
            finally:
                leave()

        fixtures.FixtureDef.finish = finished

    @pytest.hookimpl(hookwrapper=True)
    def pytest_make_collect_report(self, collector):
        one = isinstance(collector, (pytest.File, pytest.Class)) and not isinstance(collector, pytest.Package)
        enter((collector.nodeid,) if one else ())
        collecting.append(collector.nodeid.partition("::")[0] if one else "")
        yield
        collecting.pop()
        leave()

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item):
        self.late = self.end is not None and time.monotonic() > self.end
        if self.late:
            self.left.append(item.nodeid)
        else:
            times.setdefault(item.nodeid, 0.0)
        enter((item.nodeid,))
        if labels:
            os.environ[FOLLOWED] = "%d:%s" % (labels.setdefault(stack[-1], len(labels)), ROOT)
        yield
        leave()

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_fixture_setup(self, fixturedef, request):
        node = request.node.nodeid
        node = "" if isinstance(request.node, (pytest.Session, pytest.Package)) else node
        self.nodes[id(fixturedef)] = node
        enter((node,))
        yield
        leave()

    def pytest_runtest_logreport(self, report):
        times[report.nodeid] = times.get(report.nodeid, 0.0) + report.duration

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self):
        settle()
        os.environ.pop(FOLLOWED, None)
        take_notes()
        with open(self.target, "w") as file:
            json.dump(self.notes(), file, separators=(",", ":"))

    def notes(self):
        ids, masks, ran, sets = list(times), {}, {}, {}
        for number, name in enumerate(ids):
            for up in above(name):
                masks[up] = masks.get(up, 0) | 1 << number
        for bucket, found in buckets.items():
            mask = masks.get(bucket, 0)
            for function in found if mask else ():
                ran[function] = ran.get(function, 0) | mask

        def of(keys):
            """The tests below these nodes."""
            found = 0
            for key in keys:
                everyone = isinstance(key, str) and (not key or key.startswith(IMPORT))
                found |= (1 << len(ids)) - 1 if everyone else masks.get(key, 0)
            return "%x" % found

        return {
            "tests": [[name, round(times[name], 4)] for name in ids],
            "functions": functions,
            "ran": [[function, sets.setdefault(mask, len(sets))] for function, mask in sorted(ran.items())],
            "sets": ["%x" % mask for mask in sets],
            "everyone": sorted(buckets.get("", ())),
            "imported": [[path, sorted(buckets[IMPORT + path])] for path in sorted(set(modules)) if IMPORT + path in buckets],
            "kept": [[key, sorted(found)] for key, found in buckets.items() if isinstance(key, int)],
            "opened": [[path, of(keys)] for path, keys in sorted(opened.items()) if os.path.exists(os.path.join(ROOT, path))],
            "opaque": of(opaque),
            "files": sorted(probed),
            "unseen": sorted(overlooked()),
            "left": self.left,
        }


class Limit:
    def __init__(self, recorder):
        self.recorder = recorder

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self):
        return True if self.recorder.late else None


def pytest_addoption(parser):
    parser.addoption("--ostler-notes", default="")
    parser.addoption("--ostler-seconds", type=float, default=0.0)


def pytest_load_initial_conftests(early_config):
    """Without notes where tests run in several processes, or are named from another folder."""
    given = early_config.known_args_namespace
    apart = getattr(given, "numprocesses", None) or "PYTEST_XDIST_WORKER" in os.environ
    if given.ostler_notes and not apart and os.path.realpath(str(early_config.rootdir)) == ROOT:
        recorder = Recorder(given.ostler_notes, given.ostler_seconds)
        early_config.pluginmanager.register(recorder, "ostler-notes")
        early_config.pluginmanager.register(Limit(recorder), "ostler-limit")
'''
