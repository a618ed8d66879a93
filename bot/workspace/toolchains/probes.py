"""How the recorder puts probes into the repository's code: a script that runs in the sandbox, Python 3.8 or newer.

A probe stands where a block begins: what runs first in a function, each list of statements in one of its statements, and what
follows such a statement, which may not be reached. `core/outline.py` finds and names the same blocks in the text.
"""

from __future__ import annotations

# Probes call __ostler_ran__ with a number of `functions`. What runs while a file is imported, and in functions that keep what
# they work out, is between __ostler_enter__ and __ostler_leave__.
PROBES = r'''
FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)
APART = FUNCTION + (ast.ClassDef, ast.Lambda)
LOAD = ast.Load()
KEEPS = ("cache", "memo", "once", "singleton")

functions, modules, probed = [], [], set()


def call(name, number, at):
    place = (at.lineno, at.col_offset, at.end_lineno, at.end_col_offset)
    here = dict(zip(("lineno", "col_offset", "end_lineno", "end_col_offset"), place))
    return ast.Expr(ast.Call(ast.Name(name, LOAD, **here), [ast.Constant(number, **here)], [], **here), **here)


def ran(path, name, at):
    functions.append((path, name))
    return call("__ostler_ran__", len(functions) - 1, at)


def own(node):
    """The nodes of a function without those of functions and classes in it."""
    found = [node]
    for one in found:
        found += [child for child in ast.iter_child_nodes(one) if not isinstance(child, APART)]
    return found[1:]


def keeps(function, nodes, names):
    """Whether what the function works out may be kept for later callers: a cache decorator, or a global that it sets."""
    for mark in function.decorator_list:
        for node in ast.walk(mark):
            name = getattr(node, "attr", getattr(node, "id", ""))
            if isinstance(name, str) and any(word in name.lower() for word in KEEPS):
                return True
    for node in nodes:
        if isinstance(node, ast.Global):
            return True
        if isinstance(node, (ast.Subscript, ast.Attribute)) and isinstance(node.ctx, ast.Store):
            base = node.value
            if isinstance(base, ast.Name) and (base.id in names or base.id == "cls"):
                return True
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name):
            if node.func.value.id in names and node.func.attr in ("append", "add", "setdefault", "update", "insert", "extend"):
                return True
    return False


def guarded(number, body):
    """`body`, with what runs in it noted for bucket `number` too."""
    return [
        call("__ostler_enter__", number, body[0]),
        ast.copy_location(ast.Try(body, [], [], [call("__ostler_leave__", number, body[-1])]), body[0]),
    ]


def is_text(statement):
    return isinstance(statement, ast.Expr) and isinstance(getattr(statement.value, "value", None), str)


def lists(statement):
    """The lists of statements in a statement."""
    if not isinstance(statement, FUNCTION + (ast.ClassDef,)):
        for part in [statement] + getattr(statement, "handlers", []) + getattr(statement, "cases", []):
            for field in ("body", "orelse", "finalbody"):
                if getattr(part, field, None):
                    yield getattr(part, field)


def blocks(body, path, name):
    """`body` with a probe where each block below `name` begins."""
    made, number = [], 0
    for at, statement in enumerate(body):
        made.append(statement)
        before = number
        for block in lists(statement):
            number += 1
            below = "%s:%d" % (name, number)
            block[:] = [ran(path, below, block[0])] + blocks(block, path, below)
        if number > before and at + 1 < len(body):
            number += 1
            made.append(ran(path, "%s:%d" % (name, number), body[at + 1]))
    return made


def probe(tree, path, whole):
    """Put a probe into every block of a module's functions; `whole` also notes apart what runs while it is imported."""
    probed.add(path)
    names = {node.id for node in own(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}

    def begin(function, name):
        number = len(functions)
        start = 1 if is_text(function.body[0]) else 0
        rest = function.body[start:]
        nodes = own(function)
        waits = isinstance(function, ast.AsyncFunctionDef) or any(isinstance(node, (ast.Yield, ast.YieldFrom)) for node in nodes)
        keeping = rest and not waits and keeps(function, nodes, names)
        first = ran(path, name, rest[0] if rest else function.body[0])
        rest = blocks(rest, path, name)
        function.body[start:] = [first] + (guarded(number, rest) if keeping else rest)

    def visit(body, prefix):
        for node in body:
            if isinstance(node, FUNCTION):
                visit(node.body, prefix + node.name + ".<locals>.")
                begin(node, prefix + node.name)
            elif isinstance(node, ast.ClassDef):
                visit(node.body, prefix + node.name + ".")
            else:
                for field in ("body", "orelse", "finalbody", "handlers", "cases"):
                    visit(getattr(node, field, None) or [], prefix)

    visit(tree.body, "")
    if whole:
        start = 1 if tree.body and is_text(tree.body[0]) else 0
        while start < len(tree.body) and getattr(tree.body[start], "module", "") == "__future__":
            start += 1
        if tree.body[start:]:
            modules.append(path)
            tree.body[start:] = guarded(-len(modules), tree.body[start:])


'''
