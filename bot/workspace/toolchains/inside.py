"""Scripts that run inside the sandbox with the repository's own Python (3.8 or newer) and nothing of Ostler's."""

from __future__ import annotations

# Run with -I, so that a json.py of the repository isn't what is imported here.
# argv: a JSON file with {"files": [...], "roots": [...]}, and where to write the answer. Compiles and resolves without executing.
INSPECT = r'''
import ast, importlib.util, json, os, sys

with open(sys.argv[1]) as file:
    job = json.load(file)
roots = job["roots"]
def inside(name, bases):
    """True if the dotted name is a module, package or folder of the repository."""
    parts = name.split(".")
    for base in bases:
        path = os.path.join(base, *parts)
        if os.path.isfile(path + ".py") or os.path.isfile(path + ".pyi") or os.path.isdir(path):
            return True
        folder, stem = os.path.split(path)
        if os.path.isdir(folder) and any(e.startswith(stem + ".") and e.endswith((".so", ".pyd")) for e in os.listdir(folder)):
            return True
    return False


def elsewhere(name):
    top = name.split(".")[0]
    try:
        return top in sys.builtin_module_names or importlib.util.find_spec(top) is not None
    except (ImportError, ValueError, AttributeError):
        return False


def optional(node):
    names = {"ImportError", "ModuleNotFoundError", "Exception", "BaseException"}
    for handler in node.handlers:
        if handler.type is None or any(isinstance(n, ast.Name) and n.id in names for n in ast.walk(handler.type)):
            return True
    return False


def wanted(body):
    """Imports that run when the module is imported and may not fail."""
    for node in body:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield node
        elif isinstance(node, ast.Try):
            parts = [node.orelse, node.finalbody] if optional(node) else [node.body, node.orelse, node.finalbody]
            for part in parts:
                yield from wanted(part)
        elif isinstance(node, (ast.With, ast.ClassDef)):
            yield from wanted(node.body)


def names(node, path):
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not node.level:
        return [node.module]
    folder = os.path.dirname(path)
    for _ in range(node.level - 1):
        folder = os.path.dirname(folder)
    whole = os.path.join(folder, *(node.module or "").split("."))
    there = os.path.isdir(whole) or os.path.isfile(whole + ".py") or os.path.isfile(whole + ".pyi")
    return [] if there else ["." * node.level + (node.module or "")]


def base_of(path):
    folder = os.path.dirname(path) or "."
    while os.path.isfile(os.path.join(folder, "__init__.py")) and folder not in (".", ""):
        folder = os.path.dirname(folder) or "."
    return folder


def unresolved(tree, path):
    bases = list(dict.fromkeys([*roots, ".", base_of(path), os.path.dirname(path) or "."]))
    for node in wanted(tree.body):
        for name in names(node, path):
            if name.startswith("."):
                yield name
                continue
            if not inside(name, bases) and not elsewhere(name):
                yield name


syntax, imports = {}, {}
for path in job["files"]:
    if os.path.islink(path) or not os.path.isfile(path):
        continue
    with open(path, "rb") as file:
        source = file.read()
    try:
        tree = ast.parse(source, path)
        compile(source, path, "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        syntax[path] = "line %s: %s" % (getattr(error, "lineno", None) or "?", getattr(error, "msg", None) or error)
    else:
        imports[path] = sorted(set(unresolved(tree, path)))
with open(sys.argv[2], "w") as file:
    json.dump({"syntax": syntax, "imports": imports}, file)
'''

# argv: where to write the report, then test paths or ids (file::Class::name). Writes the JUnit form that pytest writes.
UNITTEST = r'''
import fnmatch, os, sys, traceback, unittest, xml.sax.saxutils as sax

report, chosen = sys.argv[1], sys.argv[2:] or ["."]
root = os.getcwd()
NO_TESTS, BROKEN = 5, 2


def files(path):
    if os.path.isfile(path):
        return [path]
    found = []
    for folder, inner, names in os.walk(path):
        inner[:] = sorted(n for n in inner if not n.startswith(".") and n not in ("node_modules", "__pycache__"))
        found += [os.path.join(folder, n) for n in sorted(names) if fnmatch.fnmatch(n, "test*.py") or n.endswith("_test.py")]
    return found


def load(path):
    """The module as `python -m unittest discover` would name it: dotted from the first folder that is no package."""
    path = os.path.normpath(path)
    folder, parts = os.path.dirname(path), [os.path.basename(path)[:-3]]
    while folder and os.path.isfile(os.path.join(folder, "__init__.py")):
        folder, name = os.path.split(folder)
        parts.insert(0, name)
    where = os.path.join(root, folder)
    if where not in sys.path:
        sys.path.insert(0, where)
    __import__(".".join(parts))
    return sys.modules[".".join(parts)]


def ident(test):
    test = getattr(test, "test_case", test)  # a subtest goes by its test's name, which is there when it passes too
    kind = type(test)
    module = sys.modules.get(kind.__module__)
    path = os.path.relpath(getattr(module, "__file__", None) or kind.__module__, root)
    name = getattr(test, "_testMethodName", None)
    if name is None:
        return "", "", test.id()
    return path, kind.__qualname__, name


class Result(unittest.TestResult):
    def __init__(self):
        super().__init__()
        self.rows = []

    def row(self, test, tag, message="", text=""):
        self.rows.append((*ident(test), tag, message, text))

    def oops(self, test, tag, error):
        line = "".join(traceback.format_exception_only(error[0], error[1])).strip()
        frames = traceback.extract_tb(error[2])
        mine = [f for f in frames if f.filename.startswith(root)]
        place = "%s:%s: " % (os.path.relpath(mine[-1].filename, root), mine[-1].lineno) if mine else ""
        self.row(test, tag, line, "".join(traceback.format_exception(*error)) + "\n" + place + error[0].__name__)
        sys.stderr.write("%s: %s\n%s\n" % (tag, test, line))

    def addSuccess(self, test):
        self.row(test, "")

    def addFailure(self, test, error):
        super().addFailure(test, error)
        self.oops(test, "failure", error)

    def addError(self, test, error):
        super().addError(test, error)
        self.oops(test, "error", error)

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.row(test, "skipped", reason)

    def addExpectedFailure(self, test, error):
        self.row(test, "")

    def addUnexpectedSuccess(self, test):
        super().addUnexpectedSuccess(test)
        self.row(test, "failure", "unexpected success")

    def addSubTest(self, test, subtest, error):
        super().addSubTest(test, subtest, error)
        if error is not None:
            self.oops(subtest, "failure" if issubclass(error[0], test.failureException) else "error", error)


def clean(text):
    return "".join(c if c in "\n\t" or " " <= c < "\ud800" or "\ue000" <= c <= "\ufffd" or c > "\uffff" else "?" for c in text)


def write(rows):
    with open(report, "w", encoding="utf-8") as out:
        out.write("<testsuites><testsuite name='unittest'>\n")
        for path, owner, name, tag, message, text in rows:
            module = path[:-3].replace("/", ".") if path else ""
            dotted = ".".join(part for part in (module, owner) if part)
            facts = [("file", path), ("classname", dotted), ("name", name)]
            out.write("<testcase %s>" % " ".join("%s=%s" % (k, sax.quoteattr(clean(v))) for k, v in facts if v))
            if tag:
                out.write("<%s message=%s>%s</%s>" % (tag, sax.quoteattr(clean(message)), sax.escape(clean(text)), tag))
            out.write("</testcase>\n")
        out.write("</testsuite></testsuites>\n")


loader, suite, broken = unittest.TestLoader(), unittest.TestSuite(), []
for item in chosen:
    path, _, rest = item.partition("::")
    for file in files(path):
        try:
            module = load(file)
            here = loader.loadTestsFromName(rest.replace("::", "."), module) if rest else loader.loadTestsFromModule(module)
            suite.addTest(here)
        except unittest.SkipTest:
            pass
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            line = "".join(traceback.format_exception_only(type(error), error)).strip()
            broken.append((os.path.normpath(file), "", "import", "error", line, traceback.format_exc()))
            sys.stderr.write("cannot import %s: %s\n" % (file, line))
result = Result()
suite.run(result)
write(broken + result.rows)
good = result.wasSuccessful()
sys.stderr.write("ran %d tests, %d bad\n" % (result.testsRun, sum(1 for row in result.rows if row[3] in ("failure", "error"))))
sys.stderr.flush()
sys.stdout.flush()
sys.exit(BROKEN if broken else 1 if not good else 0 if result.rows else NO_TESTS)
'''
