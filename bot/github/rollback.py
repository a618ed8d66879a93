"""`/ostler rollback` over REST, without git: the session's branch, or files of it, back to a point; a merged change by a branch
that reverts it, and a link to open its pull request with: neither the App nor the job `post` may open one.

Where the branch was before each move is kept as `refs/ostler/rollback/<session>/<n>`; point 0 is the session's own first commit,
which holds the base's files. Doing it twice does it once.
"""

from __future__ import annotations

from urllib.parse import quote

from bot.core.errors import BadInput
from bot.core.inert import plain
from bot.core.session import RolledBack, SessionState, session_hash
from bot.github.client import Client, repeatable
from bot.github.refs import Author, Entries, author_of, commit, entries, head, make_commit, make_ref, move

KEPT = "ostler/rollback"


def roll_back(client: Client, state: SessionState, point: str, when: str) -> RolledBack:
    """Do what `/ostler rollback POINT` asks for in a session that delivered.

    `point` is a number, a path, or empty for 0. `when` dates commits.
    """
    try:
        return _rolled_back(client, state, point, when)
    except BadInput as error:
        return RolledBack(state.branch, refused=str(error))


def _rolled_back(client: Client, state: SessionState, point: str, when: str) -> RolledBack:
    pull = client.get(f"issues/{state.pull}")  # readable for whoever may answer on issues, other than `pulls`
    if pull["pull_request"]["merged_at"]:
        return _revert(client, state, str(pull["title"]), when)
    here = head(client, state.branch)
    if here is None:
        raise BadInput(f"The branch {state.branch} is gone: there is nothing to roll back.")
    points = _points(client, state)
    if point.isdecimal() or not point:
        return _back(client, state, points, int(point or 0), here)
    return _file(client, state, points, point, here, when)


def _points(client: Client, state: SessionState) -> dict[int, str]:
    listed = client.pages(f"git/matching-refs/{KEPT}/{quote(state.session)}/")
    found = {str(item["ref"]).rpartition("/")[2]: str(item["object"]["sha"]) for item in listed}
    return {0: state.anchor_sha} | {int(number): sha for number, sha in found.items() if number.isdecimal()}


def _back(client: Client, state: SessionState, points: dict[int, str], number: int, here: str) -> RolledBack:
    if number not in points:
        known = ", ".join(map(str, sorted(points)))
        raise BadInput(f"There is no rollback point {number}: there are {known}.")
    if here != points[number]:
        points = _keep(client, state, points, here)
        move(client, state.branch, points[number], force=True)
    undo = max((at for at, sha in points.items() if sha != points[number]), default=0)
    return RolledBack(state.branch, number, points[number], undo)


def _file(client: Client, state: SessionState, points: dict[int, str], path: str, here: str, when: str) -> RolledBack:
    """One file as it was before the session, in a new commit."""
    now, then = entries(client, here), entries(client, points[0])
    if path not in now and path not in then:
        raise BadInput(f"{plain(path, 200)} is no file of the branch, neither now nor before the session.")
    if now.get(path) != then.get(path):
        points = _keep(client, state, points, here)
        tree = _tree(client, here, {path: then.get(path)}, now)
        message = f"revert: {plain(path, 60)} as before the session\n\nOstler-Session: {state.session}\n"
        move(client, state.branch, make_commit(client, message, tree, here, _author(client, state), when))
    return RolledBack(state.branch, undo=max(points), path=path)


def _keep(client: Client, state: SessionState, points: dict[int, str], here: str) -> dict[int, str]:
    """The points, with one that holds `here`."""
    if here in points.values():
        return points
    number = max(points) + 1
    make_ref(client, f"{KEPT}/{state.session}/{number}", here, lambda: _points(client, state).get(number))
    return points | {number: here}


def _revert(client: Client, state: SessionState, title: str, when: str) -> RolledBack:
    """A branch on the default branch that takes back the files that the session changed, where nobody changed them since."""
    about = client.get("")
    base = str(about["default_branch"])
    onto = head(client, base)
    if onto is None:
        raise BadInput(f"The branch {base} is gone: there is nothing to revert on.")
    before, after, now = (entries(client, sha) for sha in (state.anchor_sha, state.head_sha, onto))
    changed = sorted(path for path in {*before, *after} if before.get(path) != after.get(path))
    if touched := next((path for path in changed if now.get(path) not in (after.get(path), before.get(path))), ""):
        raise BadInput(f"{plain(touched, 200)} was changed again since it was merged: revert it by hand.")
    wanted = {path: before.get(path) for path in changed if now.get(path) != before.get(path)}
    branch = f"ostler/revert-{state.issue}-{session_hash(state.session)}"
    if head(client, branch) is None:
        if not wanted:
            raise BadInput(f"Nothing of pull request #{state.pull} is left on {base}.")
        message = f'Revert "{plain(title, 60)}"\n\nThis reverts pull request #{state.pull}.\n\nOstler-Session: {state.session}\n'
        sha = make_commit(client, message, _tree(client, onto, wanted, now), onto, _author(client, state), when)
        make_ref(client, f"heads/{branch}", sha, lambda: head(client, branch))
    there = f"{about['html_url']}/compare/{quote(base)}...{quote(branch)}?expand=1"
    return RolledBack(branch, reverts=state.pull, link=there)


def _author(client: Client, state: SessionState) -> Author | None:
    """GitHub signs these commits where it signed the one that the session's branch begins with."""
    return author_of(commit(client, state.anchor_sha)["verification"]["verified"])


def _tree(client: Client, onto: str, wanted: dict[str, tuple[str, str] | None], now: Entries) -> str:
    """The tree of `onto` with `wanted` put in place; None takes a file out."""
    changes = [
        {"path": path, "mode": (entry or now[path])[0], "type": "blob", "sha": entry[1] if entry else None}
        for path, entry in sorted(wanted.items())
    ]
    body = {"base_tree": commit(client, onto)["tree"]["sha"], "tree": changes}
    return str(repeatable(lambda: client.post("git/trees", body), clock=client.clock)["sha"])
