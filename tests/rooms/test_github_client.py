"""The client against a server that breaks off, lies low, says slower, redirects and pages."""

from __future__ import annotations

import base64
import itertools
import threading
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.core.errors import BugError, PolicyError, SetupError, TransientError
from bot.github.client import Client, Conflict, NotFound, Pace, UnknownOutcome, once, repeatable
from bot.github.limits import TOTAL_WAIT, TRIES, is_limit, limit_wait
from tests.rooms.small_github import REPOSITORY, Reply, Request, SmallGitHub, Watch, small_github

HERE = f"/repos/{REPOSITORY}/thing"


@pytest.fixture
def hub() -> Iterator[SmallGitHub]:
    with small_github() as hub:
        hub.on("GET", HERE, Reply(200, {"fine": True}))
        hub.on("POST", HERE, Reply(201, {"made": True}))
        yield hub


@pytest.fixture(scope="module")
def pem() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    form = serialization.PrivateFormat.TraditionalOpenSSL
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()


# --- reading ---


@pytest.mark.parametrize("kind", [500, 502, 503, 408, "drop-before", "drop-after"])
def test_a_read_is_tried_again(hub: SmallGitHub, kind: int | str) -> None:
    hub.trouble("GET", "thing", kind, times=3)
    with hub.client() as client:
        assert client.get("thing") == {"fine": True}
    assert hub.watch.slept == [1.0, 2.0, 4.0]  # half of 2, 4, 8: the chance is held at a half


def test_a_read_gives_up_in_the_end(hub: SmallGitHub) -> None:
    hub.trouble("GET", "thing", 502, times=99)
    with hub.client() as client, pytest.raises(TransientError, match="HTTP 502"):
        client.get("thing")
    assert len(hub.log) == TRIES
    assert sum(hub.watch.slept) <= TOTAL_WAIT


def test_an_answer_of_the_wrong_form_is_an_error(hub: SmallGitHub) -> None:
    hub.on("GET", HERE, Reply(200, b"<html>"))
    hub.on("POST", HERE, Reply(201, b"<html>"))
    with hub.client() as client:
        with pytest.raises(TransientError, match="not JSON"):
            client.get("thing")
        with pytest.raises(UnknownOutcome):
            client.post("thing", {})
        hub.on("GET", HERE, Reply(200, {"message": "hm"}))
        with pytest.raises(TransientError, match="not a list"):
            list(client.pages("thing"))


def test_every_page_is_read(hub: SmallGitHub) -> None:
    for number in range(7):
        hub.add_comment(f"{number}")
    with hub.client() as client:
        bodies = [item["body"] for item in client.pages("issues/1/comments")]
    assert bodies == [str(number) for number in range(7)]
    assert len(hub.asked("GET")) == 4


def test_a_page_elsewhere_is_not_asked_for(hub: SmallGitHub) -> None:
    with small_github() as other, hub.client() as client:
        hub.on("GET", HERE, Reply(200, [1], {"Link": f'<{other.url}/api/v3/x>; rel="next"'}))
        with pytest.raises(SetupError, match="another place"):
            list(client.pages("thing"))
        hub.on("GET", HERE, Reply(301, None, {"Location": f"{other.url}/api/v3/x"}))
        with pytest.raises(SetupError, match="another place"):
            client.get("thing")
        assert other.log == []


def test_a_redirect_within_the_api_is_followed_with_the_token(hub: SmallGitHub) -> None:
    hub.on("GET", HERE, Reply(301, None, {"Location": f"{hub.api}/repositories/1"}))
    hub.on("GET", "/repositories/1", Reply(200, {"moved": True}))
    with hub.client() as client:
        assert client.get("thing") == {"moved": True}
    assert [request.headers["authorization"] for request in hub.log] == ["token t0ken"] * 2


def test_redirects_in_circles_end(hub: SmallGitHub) -> None:
    hub.on("GET", HERE, Reply(301, None, {"Location": f"{hub.api}{HERE}"}))
    with hub.client() as client, pytest.raises(SetupError, match="circles"):
        client.get("thing")


def test_an_unchanged_answer_costs_no_body(hub: SmallGitHub) -> None:
    def cached(request: Request) -> Reply:
        known = request.headers.get("if-none-match") == '"one"'
        return Reply(304, None, {"ETag": '"one"'}) if known else Reply(200, {"n": 1}, {"ETag": '"one"'})

    hub.on("GET", HERE, cached)
    with hub.client() as client:
        assert [client.get("thing") for _ in range(3)] == [{"n": 1}] * 3
    assert [request.headers.get("if-none-match") for request in hub.log] == [None, '"one"', '"one"']


def test_what_changed_is_never_hidden_by_the_cache(hub: SmallGitHub) -> None:
    seen = iter(range(9))
    hub.on("GET", HERE, lambda _: Reply(200, {"n": next(seen)}, {"Cache-Control": "private, max-age=60"}))
    with hub.client() as client:
        assert [client.get("thing")["n"] for _ in range(3)] == [0, 1, 2]


# --- downloads ---


def test_a_download_leaves_the_token_behind(hub: SmallGitHub) -> None:
    with small_github() as store, hub.client() as client:
        store.on("GET", "/blob", Reply(200, b"x" * 1000, {"Content-Type": "application/zip"}))
        hub.on("GET", HERE, Reply(302, None, {"Location": f"{store.url}/blob?sig=s"}))
        store.trouble("GET", "blob", 503)
        assert client.raw("thing", 1000) == b"x" * 1000
        with pytest.raises(PolicyError, match="larger than 999"):
            client.raw("thing", 999)
        assert {"authorization", "cookie"}.isdisjoint({name for request in store.log for name in request.headers})


def test_a_compressed_download_is_counted_unpacked(hub: SmallGitHub) -> None:
    packed = zlib.compressobj(wbits=31)
    bomb = packed.compress(bytes(20_000_000)) + packed.flush()
    with small_github() as store, hub.client() as client:
        store.on("GET", "/blob", Reply(200, bomb, {"Content-Encoding": "gzip"}))
        hub.on("GET", HERE, Reply(302, None, {"Location": f"{store.url}/blob"}))
        with pytest.raises(PolicyError, match="larger"):
            client.raw("thing", 1_000_000)


@pytest.mark.parametrize("target", ["http://192.0.2.1/x", "file:///etc/passwd", "ftp://127.0.0.1/x", "//192.0.2.1/x"])
def test_a_download_goes_nowhere_else(hub: SmallGitHub, target: str) -> None:
    hub.on("GET", HERE, Reply(302, None, {"Location": target}))
    with hub.client() as client, pytest.raises(SetupError, match="no https address"):
        client.raw("thing", 1000)


# --- changing ---


def test_a_change_that_certainly_was_not_made_is_sent_again(hub: SmallGitHub) -> None:
    hub.trouble("POST", "thing", 429, retry_after="7")
    hub.trouble("POST", "thing", 403, retry_after="9")
    hub.trouble("POST", "thing", 403, body={"message": "You have exceeded a secondary rate limit"})
    with hub.client() as client:
        assert client.post("thing", {"a": 1}) == {"made": True}
    assert hub.watch.slept == [7.0, 9.0, 240.0]


@pytest.mark.parametrize("kind", [500, 502, 504, "drop-before", "drop-after"])
def test_a_change_of_unknown_fate_is_not_sent_again(hub: SmallGitHub, kind: int | str) -> None:
    hub.trouble("POST", "thing", kind, times=9)
    with hub.client() as client, pytest.raises(UnknownOutcome):
        client.post("thing", {})
    assert len(hub.log) == 1


def test_a_server_that_is_not_there_is_not_unknown() -> None:
    with small_github() as hub:
        client = hub.client()
    with client, pytest.raises(TransientError, match="can't be reached") as caught:
        client.post("thing", {})
    assert not isinstance(caught.value, UnknownOutcome)
    assert len(hub.watch.slept) == TRIES - 1


@pytest.mark.parametrize(
    ("status", "error", "words"),
    [
        (401, SetupError, "refuses the token"),
        (403, SetupError, "issues=write"),
        (404, NotFound, "nothing at"),
        (410, NotFound, "nothing at"),
        (409, Conflict, "is here"),
        (422, Conflict, "is here name already_exists"),
        (400, Conflict, "is here"),
    ],
)
def test_a_refusal_says_what_to_mend(hub: SmallGitHub, status: int, error: type[Exception], words: str) -> None:
    body: dict[str, Any] = {"message": "is here", "errors": [{"field": "name", "code": "already_exists"}]}
    hub.on("POST", HERE, Reply(status, body, {"X-Accepted-GitHub-Permissions": "issues=write"}))
    with hub.client() as client, pytest.raises(error, match=words) as caught:
        client.post("thing", {})
    if isinstance(caught.value, Conflict):
        assert (caught.value.status, caught.value.body) == (status, body)
    assert len(hub.log) == 1
    assert "t0ken" not in str(caught.value)


def test_a_long_limit_is_not_waited_for(hub: SmallGitHub) -> None:
    reset = str(int(hub.watch.time) + 3000)
    hub.trouble("GET", "thing", 403, x_ratelimit_remaining="0", x_ratelimit_reset=reset)
    with hub.client() as client, pytest.raises(TransientError, match="rate limit") as caught:
        client.get("thing")
    assert caught.value.retry_after == 3001
    assert hub.watch.slept == []


def test_changes_of_all_threads_keep_their_distance(hub: SmallGitHub) -> None:
    times: list[float] = []

    def noted(_: Request) -> Reply:
        times.append(hub.watch.time)
        return Reply(201, {})

    hub.on("POST", HERE, noted)
    with hub.client(pause=1.0) as client:
        threads = [threading.Thread(target=lambda: [client.post("thing", {}) for _ in range(45)]) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(times) == 90
    assert all(later - earlier >= 1 for earlier, later in itertools.pairwise(times))
    assert all(later - earlier >= 60 for earlier, later in zip(times, times[80:], strict=False))


def test_an_hour_takes_five_hundred_changes() -> None:
    watch = Watch()
    pace = Pace(1.0, watch.clock)
    start = watch.time
    for _ in range(500):
        with pace:
            pass
    assert 499 <= watch.time - start <= 520
    with pytest.raises(TransientError, match="hour"), pace:
        pass
    watch.time = start + 3600
    with pace:  # and the turn was given back
        pass


def test_threads_read_no_faster_than_the_rate(hub: SmallGitHub) -> None:
    times: list[float] = []

    def noted(_: Request) -> Reply:
        times.append(hub.watch.time)
        return Reply(200, {})

    hub.on("GET", HERE, noted)
    with Client.token("t", hub.api, REPOSITORY, reads=30, clock=hub.watch.clock) as client:
        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(lambda _: client.get("thing"), range(50))) == [{}] * 50
        began = hub.watch.time
        client.post("thing", {})
    assert times[49] - times[0] >= 39
    assert hub.watch.time == began


@pytest.mark.parametrize(("pause", "reads"), [(0.0, 1), (1.0, 0)])
def test_a_stand_in_is_read_without_a_limit(hub: SmallGitHub, pause: float, reads: int) -> None:
    hub.on("GET", HERE, Reply(200, {}))
    began = hub.watch.time
    with Client.token("t", hub.api, REPOSITORY, pause=pause, reads=reads, clock=hub.watch.clock) as client:
        for _ in range(120):
            client.get("thing")
    assert hub.watch.time == began


class TestWhatGitHubSaysIsLeft:
    """A minute holds 100 reads, and an answer says how many of the hour are left."""

    def pace(self, watch: Watch, left: int, reset: float, **more: str) -> Pace:
        pace = Pace(1.0, watch.clock)
        said = {"x-ratelimit-remaining": str(left), "x-ratelimit-reset": str(int(watch.time + reset))}
        pace.heard(said | {f"x-ratelimit-{name}": value for name, value in more.items()})
        return pace

    def at_once(self, pace: Pace, watch: Watch) -> int:
        began = watch.time
        for number in range(200):
            pace.read()
            if watch.time > began:
                return number
        raise AssertionError("no limit at all")

    @pytest.mark.parametrize(("left", "got"), [(4_000, 100), (100, 100), (40, 40), (1, 1)])
    def test_it_lowers_the_bucket_and_never_raises_it(self, left: int, got: int) -> None:
        watch = Watch()
        assert self.at_once(self.pace(watch, left, 1_800), watch) == got

    def test_nothing_is_read_before_the_reset_where_nothing_is_left(self) -> None:
        watch = Watch()
        pace, began = self.pace(watch, 0, 120), watch.time
        pace.read()
        assert 119 <= watch.time - began <= 122
        assert self.at_once(pace, watch) > 90

    def test_a_reset_that_is_too_far_away_ends_the_request(self) -> None:
        watch = Watch()
        pace, began = self.pace(watch, 0, 1_800), watch.time
        with pytest.raises(TransientError, match="its limit allows") as refused:
            pace.read()
        assert refused.value.retry_after == pytest.approx(1_801, abs=1)
        assert watch.time == began

    def test_other_limits_and_old_answers_say_nothing(self) -> None:
        watch = Watch()
        assert self.at_once(self.pace(watch, 0, 1_800, resource="graphql"), watch) == 100
        assert self.at_once(self.pace(watch, 0, -5), watch) == 100


def test_the_client_tells_its_pace_what_github_says(hub: SmallGitHub) -> None:
    reset = {"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(int(hub.watch.time + 90))}
    hub.on("GET", HERE, Reply(200, {}, reset))
    began = hub.watch.time
    with hub.client(pause=1.0) as client:
        client.get("thing")
        client.get("thing")
    assert hub.watch.time - began >= 89


# --- once ---


@pytest.mark.parametrize("kind", [502, "drop-before", "drop-after"])
@pytest.mark.parametrize("stale", [0, 2])
def test_once_makes_one(hub: SmallGitHub, kind: int | str, stale: int) -> None:
    made: list[int] = []
    looks = 0

    def find() -> int | None:
        nonlocal looks
        looks += 1
        return made[0] if made and looks > stale + 1 else None

    def make() -> int:
        if kind != "drop-before" and not made:
            made.append(1)
            raise UnknownOutcome("no answer")
        if kind == "drop-before" and not made and looks < 3:
            raise UnknownOutcome("no answer")
        made.append(2)
        return 2

    once(find, make, clock=hub.watch.clock)
    assert len(made) == 1


def test_once_passes_on_a_refusal_that_is_none_of_ours() -> None:
    watch = Watch()
    tries: list[int] = []

    def make() -> int:
        tries.append(1)
        raise Conflict("Validation Failed", 422, None)

    with pytest.raises(Conflict):
        once(lambda: None, make, clock=watch.clock)
    assert len(tries) == 1


def test_once_gives_up() -> None:
    def make() -> int:
        raise UnknownOutcome("no answer")

    with pytest.raises(UnknownOutcome):
        once(lambda: None, make, clock=Watch().clock)
    with pytest.raises(UnknownOutcome):
        repeatable(make, clock=Watch().clock)


# --- signing in ---


def test_an_installation_asks_for_one_repository_and_its_permissions(hub: SmallGitHub, pem: str) -> None:
    token = {"token": "ghs_1", "expires_at": "2099-01-01T00:00:00Z"}
    hub.on("POST", "/app/installations/5/access_tokens", Reply(201, token))
    hub.trouble("POST", "access_tokens", 502)
    wanted = {"checks": "write"}
    with Client.installation("12", pem, 5, hub.api, REPOSITORY, pause=0, permissions=wanted, clock=hub.watch.clock) as client:
        assert client.post("thing", {}) == {"made": True}  # sent again: it was the token's request that failed
        client.get("thing")
    asked = hub.asked("POST", "access_tokens")
    assert asked[-1].body == {"repositories": ["stable"], "permissions": wanted}
    assert len(asked) == 2
    assert asked[-1].headers["authorization"].startswith("Bearer ey")
    assert {request.headers["authorization"] for request in hub.asked("GET")} == {"token ghs_1"}


@pytest.mark.parametrize(("status", "error"), [(401, SetupError), (404, SetupError), (403, SetupError), (201, TransientError)])
def test_an_installation_that_gets_no_token(hub: SmallGitHub, pem: str, status: int, error: type[Exception]) -> None:
    hub.on("POST", "/app/installations/5/access_tokens", Reply(status, {"message": "no"}))
    with Client.installation("12", pem, 5, hub.api, REPOSITORY, pause=0, clock=hub.watch.clock) as client, pytest.raises(error):
        client.get("thing")
    assert not hub.asked("GET")


def test_the_app_itself(hub: SmallGitHub, pem: str) -> None:
    hub.on("GET", "/app", Reply(200, {"slug": "ostler"}))
    with Client.app("12", pem, hub.api) as client:
        assert client.get("/app") == {"slug": "ostler"}
        with pytest.raises(BugError, match="relative"):
            client.get("thing")
    assert hub.log[0].headers["authorization"].startswith("Bearer ey")


def test_the_environment_is_not_trusted(hub: SmallGitHub, monkeypatch: pytest.MonkeyPatch) -> None:
    with small_github() as trap:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, trap.url)
        monkeypatch.setenv("NO_PROXY", "")
        monkeypatch.setenv("no_proxy", "")
        with hub.client() as client:
            client.get("thing")
        assert trap.log == []
    assert len(hub.log) == 1


@pytest.mark.parametrize("url", ["http://example.org/api/v3", "ftp://127.0.0.1", "https://", "https://a@b", ""])
def test_an_address_that_would_show_the_token(url: str) -> None:
    with pytest.raises(SetupError, match="https"):
        Client.token("t", url, REPOSITORY)


@pytest.mark.parametrize("name", ["octo", "octo/", "/x", "octo/stable/x", "../x", "o/..", "o/a?b", "o/a b"])
def test_a_name_that_is_no_repository(name: str) -> None:
    with pytest.raises(SetupError, match="no repository"):
        Client.token("t", "https://api.github.com", name)


@pytest.mark.parametrize("token", ["", " ", "a b", "a\nb", "é"])
def test_a_token_that_is_none(token: str) -> None:
    with pytest.raises(SetupError, match="token"):
        Client.token(token, "https://api.github.com", REPOSITORY)


def test_a_key_that_is_none() -> None:
    nonsense = base64.b64encode(b"nonsense").decode()
    for key in ("", "nonsense", f"-----BEGIN RSA PRIVATE KEY-----\n{nonsense}\n-----END RSA PRIVATE KEY-----\n"):
        with pytest.raises(SetupError, match="private key") as caught:
            Client.app("1", key, "https://api.github.com")
        assert nonsense not in str(caught.value)


# --- GraphQL ---


def test_graphql_lies_beside_the_api(hub: SmallGitHub) -> None:
    hub.on("POST", "/api/graphql", Reply(200, {"data": {"viewer": 1}}))
    hub.trouble("POST", "graphql", 502, times=2)
    with hub.client() as client:
        assert client.graphql("query { viewer }", n=1) == {"viewer": 1}
        with pytest.raises(BugError):
            client.graphql("mutation { x }")
    assert hub.log[-1].body == {"query": "query { viewer }", "variables": {"n": 1}}
    with Client.token("t", "https://api.github.com", REPOSITORY) as client:
        assert client.graphql_url == "https://api.github.com/graphql"


@pytest.mark.parametrize(
    ("kind", "error"),
    [("NOT_FOUND", NotFound), ("FORBIDDEN", SetupError), ("RATE_LIMITED", TransientError), ("undefinedField", Conflict)],
)
def test_graphql_says_no_with_status_200(hub: SmallGitHub, kind: str, error: type[Exception]) -> None:
    hub.on("POST", "/api/graphql", Reply(200, {"data": None, "errors": [{"type": kind, "message": "no"}]}))
    with hub.client() as client, pytest.raises(error, match="no"):
        client.graphql("query { viewer }")


# --- limits ---


def test_a_forbidden_is_no_limit() -> None:
    assert not is_limit(403, {"x-ratelimit-remaining": "12"}, "Resource not accessible by integration")
    assert not is_limit(404, {"retry-after": "1"}, "")
    assert is_limit(429, {}, "")
    assert is_limit(403, {"x-ratelimit-remaining": "0"}, "")
    assert is_limit(403, {}, "You have triggered an abuse detection mechanism")


def test_a_date_is_a_time_to_wait() -> None:
    assert limit_wait({"retry-after": formatdate(1060, usegmt=True)}, 1, 1000.0) == 60
    assert limit_wait({"retry-after": formatdate(10, usegmt=True)}, 1, 1000.0) == 0


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(["retry-after", "x-ratelimit-remaining", "x-ratelimit-reset"]), st.text(max_size=20)))
def test_no_header_breaks_the_wait(headers: dict[str, str]) -> None:
    assert limit_wait(headers, 1, 1000.0) >= 0
