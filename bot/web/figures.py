"""What sessions cost, what their caps have left and who waits, as JSON for whoever has the App's token. Read from the database
alone."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

from bot.core.costs import Settled, analysis, by, costs, spent_since, total
from bot.web import allowances, queue
from bot.web.jobs import Refused
from bot.web.office import Office

DAYS, MOST_DAYS = 30, 366
MOST_REPORTS, MOST_RUNS = 5_000, 500
"""Reports that one question may be about, and runs that an answer lists."""


def budget_analysis(office: Office, query: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """`/api/reports/budget_analysis?days=`: runs against their caps."""
    days, since = _days(office, query)
    return {"days": days, "since": since, **analysis(_settled(office, since), since, MOST_RUNS)}


def metrics_costs(office: Office, query: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """`/api/metrics/costs?days=`: what was spent, in parts."""
    days, since = _days(office, query)
    return {"days": days, "since": since, **costs(spent_since(_settled(office, since), since))}


def usage(office: Office, query: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """`/api/dashboard/usage?period=`: tokens and money of the UTC day, the ISO week or the month, and today's caps."""
    period, today = _one(query, "period") or "day", _today(office)
    begins = {"day": today, "week": today - timedelta(days=today.weekday()), "month": today.replace(day=1)}
    if period not in begins:
        raise Refused(422, "period is day, week or month.")
    since = begins[period].isoformat()
    spent = spent_since(_settled(office, since), since)
    return {
        "period": period,
        "since": since,
        "total": total(spent),
        "by_model": by(spent, "model", lambda item: item.line.model),
        "caps": allowances.today(office),
    }


ANSWERS = {
    "/api/reports/budget_analysis": budget_analysis,
    "/api/metrics/costs": metrics_costs,
    "/api/dashboard/usage": usage,
    "/api/queue/stats": queue.stats,
}


def admit(office: Office, authorization: Sequence[str]) -> None:
    """Let in who has the App's token.

    Raises:
        Refused: 404 the App has none, 401 not that one.
    """
    token = office.settings.api_token.get_secret_value()
    if not token:
        raise Refused(404, "Not found: OSTLER_API_TOKEN is not set.")
    given = authorization[0] if len(authorization) == 1 else ""
    if not hmac.compare_digest(given.encode("utf-8", "replace"), f"Bearer {token}".encode()):
        raise Refused(401, "The request has no token, or not the App's: send `Authorization: Bearer` and OSTLER_API_TOKEN.")


def _one(query: Sequence[tuple[str, str]], name: str) -> str:
    """The only parameter, or empty."""
    if [key for key, _ in query] not in ([], [name]):
        raise Refused(422, f"The only parameter here is {name}, once.")
    return query[0][1] if query else ""


def _days(office: Office, query: Sequence[tuple[str, str]]) -> tuple[int, str]:
    """How many days up to today, and the first of them."""
    text = _one(query, "days") or str(DAYS)
    if not (text.isascii() and text.isdecimal() and len(text) <= 3 and 1 <= int(text) <= MOST_DAYS):
        raise Refused(422, f"days is a number from 1 to {MOST_DAYS}.")
    return int(text), (_today(office) - timedelta(days=int(text) - 1)).isoformat()


def _today(office: Office) -> date:
    return datetime.fromtimestamp(office.clock(), UTC).date()


def _settled(office: Office, since: str) -> list[Settled]:
    found = office.runs.settled(datetime.fromisoformat(since).replace(tzinfo=UTC).timestamp(), MOST_REPORTS)
    if found is None:
        raise Refused(422, f"More than {MOST_REPORTS:,} workflow runs were settled in that time: ask for less of it.")
    return [Settled(datetime.fromtimestamp(at, UTC).date().isoformat(), repo, report) for at, repo, report in found]
