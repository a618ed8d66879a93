"""A session's state in its check run: shown, and found again. The App does it, or, where there is none, the last job."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from bot.core.session import SessionState, branch_prefix, is_branch_of
from bot.core.settling import Report, state_label, view
from bot.github import checks, labels, refs
from bot.github.client import Client
from bot.loop.comments import check_summary
from bot.store.envelope import Key, choose

Seal = Callable[[SessionState], str]
MOST_COMMITS = 20
"""How far behind its head a branch is looked through for the session's first commit."""


def show(
    client: Client,
    state: SessionState,
    *,
    app_id: int,
    seal: Seal | None,
    report: Report | None,
    details_url: str,
    buttons: bool = True,
) -> None:
    """Put `state` on the check run of the session's head, and its label on the issue. Done twice it is done once.

    `app_id` is the App that `client` is. The check runs of the commits that it began on end when the result has one of its own.
    """
    seen = view(state)
    text = seal(state) if seal else ""
    summary = check_summary(state, report, job_url=details_url)
    actions = tuple(checks.Action(b.label, b.description, b.identifier) for b in seen.buttons) if buttons else ()
    heads = list(dict.fromkeys(head for head in (state.anchor_sha, state.from_sha, state.head_sha) if head))
    for head in heads:
        last = head == heads[-1]
        checks.put(
            client,
            checks.Check(
                head_sha=head,
                session=state.session,
                status=seen.status if last else "completed",
                conclusion=seen.conclusion if last else "neutral",
                title=seen.title if last else f"Went on in pull request #{state.pull}",
                summary=summary,
                text=text,
                actions=actions if last else (),
                details_url=details_url,
            ),
            app_id=app_id,
        )
    if not state.archived_by:  # the issue's label is that of another session by then, or of how this one ended
        labels.set_state(client, state.issue, state_label(state))


def recover(
    client: Client, keys: Sequence[Key], *, app_id: int, repo_id: int, issue: int, session: str = "", branch: str = ""
) -> SessionState | None:
    """The newest state of the issue's sessions that are not archived, or of `session` (an id or name) or the one of `branch`,
    from the check runs on their branches;
    None where there is none.

    Raises:
        PolicyError: two states claim the same place: somebody replayed or forged one.
    """
    found = []
    for name, head in refs.matching(client, branch_prefix(issue)):
        if (session and not is_branch_of(name, issue, session)) or branch not in ("", name):
            continue
        stated = checks.read_states(client, lineage(client, head), app_id)
        for id_ in {seen.session for seen in stated if is_branch_of(name, issue, seen.session)}:
            texts = [seen.text for seen in stated if seen.session == id_ and seen.text]
            state = choose(texts, keys, repo_id=repo_id, issue=issue, session=id_)
            if state is not None and state.branch == name and (session or branch or not state.archived_by):
                found.append(state)
    return max(found, key=lambda state: state.issued_at, default=None)


def lineage(client: Client, head: str) -> Iterator[str]:
    """The commits of a session's branch, newest first, down to the one that it began with."""
    sha: str | None = head
    for _ in range(MOST_COMMITS):
        if sha is None:
            return
        yield sha
        made = refs.commit(client, sha)
        if str(made["message"]).startswith("Begin ostler/"):
            return
        sha = next(iter(refs.parents(made)), None)  # of what people merged into it, the branch's own side


def anchor_of(client: Client, branch: str) -> str:
    """The first commit of a session's branch, empty where there is no such branch."""
    head = refs.head(client, branch)
    return list(lineage(client, head))[-1] if head else ""
