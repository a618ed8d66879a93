"""Settings from the environment and from `.github/ostler.yml`: what is wrong is named by file, line and reason."""

from __future__ import annotations

from decimal import Decimal
from textwrap import indent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.config import Budget, Models, RepoConfig, Settings, load_settings, micro, parse_config
from bot.core.budget import PriceTier
from bot.core.errors import BadInput, SetupError
from bot.core.reports import Commands
from bot.core.selection import ModelClass

FULL = b"""\
version: 1
approval: always
budget:
  money: 3.5
  call: 0.25
models:
  anthropic: {fast: a-1, balanced: a-2, advanced: a-3}
  prefer: openai
verify:
  tests: [tests, -q]
  types: npm run typecheck
  python: .venv/bin/python
  quick_seconds: 30
  full_seconds: 600
loop:
  max_turns: 12
paths:
  allow: ["src/*", "tests/*"]
  deny: [src/vendor/*]
prices:
  - {model: local-1, dated: 2025-01-01, input: 1, output: 2.5}
"""


class TestWhatIsSaid:
    def test_everything_may_be_left_out(self) -> None:
        assert parse_config(None) == parse_config(b"") == parse_config(b"# nothing\n") == parse_config(b"{}") == RepoConfig()

    def test_defaults_are_careful(self) -> None:
        config = RepoConfig()
        assert (config.approval, config.budget.money, config.budget.call) == ("high-risk", Decimal(2), None)
        assert (config.verify.quick_seconds, config.verify.full_seconds, config.loop.max_turns) == (60, 180, 40)

    def test_every_setting_is_read(self) -> None:
        config = parse_config(FULL)
        assert (config.approval, config.budget) == ("always", Budget(money=Decimal("3.5"), call=Decimal("0.25")))
        assert config.models.anthropic.fast == "a-1"
        assert config.models.openai == Models().openai
        assert config.paths.allow == ("src/*", "tests/*")
        assert config.loop.max_turns == 12
        assert (config.verify.tests, config.verify.said) == (("tests", "-q"), Commands(types="npm run typecheck"))
        said = parse_config(b"verify: {tests: make check, toolchain: make, report: out/*.xml}").verify.said
        assert said == Commands(tests="make check", toolchain="make", report="out/*.xml")
        tier = config.prices[0].rates().tiers[0]
        assert (tier.input, tier.output, tier.cache_read, tier.cache_write_long) == (1_000_000, 2_500_000, 1_000_000, 2_000_000)

    def test_a_price_has_tiers_and_says_what_a_long_write_costs(self) -> None:
        config = parse_config(
            b"prices:\n  - {model: m, dated: 2025-01-01, input: 1, output: 5, cache_write: 1.25, tiers: [\n"
            b"      {above: 1000, input: 2, output: 7.5, cache_read: 0.1, cache_write: 2.5, cache_write_long: 5},\n"
            b"      {above: 2000, input: 0.0000001, output: 10000}]}\n"
        )
        assert config.prices[0].rates().tiers == (
            PriceTier(0, 1_000_000, 5_000_000, 1_000_000, 1_250_000, 2_000_000),
            PriceTier(1_000, 2_000_000, 7_500_000, 100_000, 2_500_000, 5_000_000),
            PriceTier(2_000, 1, 10_000_000_000, 1, 1, 1),
        )

    def test_a_long_write_costs_what_its_vendor_takes(self) -> None:
        said = "".join(f"  - {{model: {model}, dated: 2025-01-01, input: 2, output: 1}}\n" for model in ("gpt-9", "local"))
        prices = parse_config(f"prices:\n{said}".encode()).prices
        assert [price.rates().tiers[0].cache_write_long for price in prices] == [5_000_000, 4_000_000]

    def test_a_free_model_is_said_to_be(self) -> None:
        config = parse_config(b"prices: [{model: m, dated: 2025-01-01, input: 0, output: 0, free: true}]")
        assert config.prices[0].rates().tiers == (PriceTier(0, 0, 0, 0, 0, 0),)

    def test_a_byte_order_mark_and_windows_lines_are_fine(self) -> None:
        assert parse_config(b"\xef\xbb\xbf" + FULL.replace(b"\n", b"\r\n")) == parse_config(FULL)

    def test_the_preferred_vendors_models_come_first_and_only_with_a_key(self) -> None:
        models = parse_config(FULL).models
        assert [model.vendor for model in models.available(("anthropic", "openai"))] == ["openai"] * 3 + ["anthropic"] * 3
        only = models.available(("anthropic",))
        assert [(model.vendor, model.model_class) for model in only] == [
            ("anthropic", kind) for kind in (ModelClass.FAST, ModelClass.BALANCED, ModelClass.ADVANCED)
        ]
        assert models.available(()) == ()


def priced(lines: str) -> bytes:
    """A configuration with one price of `lines`, which begin on line 4."""
    return f"prices:\n  - model: m\n    dated: 2025-01-01\n{indent(lines, '    ')}".encode()


def tiered(*above: object) -> bytes:
    """A configuration with one price and a tier for each of `above`, the first on line 7."""
    tiers = "".join(f"  - {{above: {each}, input: 1, output: 1}}\n" for each in above)
    return priced(f"input: 1\noutput: 1\ntiers:\n{tiers}")


WRONG_PRICES = {
    "a price below zero": (priced("input: -2\noutput: 1\n"), 4, "prices.0.input"),
    "no price for input": (priced("input: 0\noutput: 1\n"), 4, "prices.0.input"),
    "no price for output": (priced("input: 1\noutput: 0.0\n"), 5, "prices.0.output"),
    "no price for writes": (priced("input: 1\noutput: 1\ncache_write_long: 0\n"), 6, "prices.0.cache_write_long"),
    "a price that is no number": (priced("input: .nan\noutput: 1\n"), 4, "prices.0.input"),
    "an endless price": (priced("input: 1\noutput: .inf\n"), 5, "prices.0.output"),
    "a huge price": (priced("input: 10000.01\noutput: 1\n"), 4, "prices.0.input"),
    "a price that is a word": (priced("input: 1\noutput: 1\ncache_read: cheap\n"), 6, "prices.0.cache_read"),
    "a free model with a price": (priced("free: true\ninput: 0\noutput: 1\n"), 6, "prices.0.output"),
    "a free model that is not always": (
        priced("free: true\ninput: 0\noutput: 0\ntiers:\n  - {above: 9, input: 0, output: 1}\n"), 8, "prices.0.tiers.0.output"
    ),
    "a tier without a price": (
        priced("input: 1\noutput: 1\ntiers:\n  - {above: 9, input: 1, output: 0}\n"), 7, "prices.0.tiers.0.output"
    ),
    "tiers that descend": (tiered(9, 10, 3), 9, "prices.0.tiers.2.above"),
    "a tier given twice": (tiered(9, 9), 8, "prices.0.tiers.1.above"),
    "a tier from nothing": (tiered(0), 7, "prices.0.tiers.0.above"),
    "a tier from a word": (tiered("true"), 7, "prices.0.tiers.0.above"),
    "prices of a day to come": (
        b"prices:\n  - model: m\n    input: 1\n    output: 1\n    dated: 2999-01-01\n", 5, "prices.0.dated"
    ),
    "a model priced twice": (
        priced("input: 1\noutput: 1\n") + b"  - dated: 2025-01-01\n    model: m\n    input: 1\n    output: 1\n",
        7,
        "prices.1.model",
    ),
    "a price in the second place": (
        priced("input: 1\noutput: 1\n") + b"  - {model: n, dated: 2025-01-01, input: 1, output: x}\n", 6, "prices.1.output"
    ),
}  # fmt: skip
WRONG = {
    "bad YAML": (b"version: 1\nbudget: {money: 2\nloop: 1\n", 3, ""),
    "a tab": (b"version: 1\n\tapproval: never\n", 2, ""),
    "two documents": (b"version: 1\n---\nversion: 1\n", 2, ""),
    "an unknown tag": (b"version: 1\npaths: !!python/object/apply:os.system ['true']\n", 2, ""),
    "a control character": (b"version: 1\napproval: always\n# \x00\n", 3, ""),
    "not UTF-8": (b"version: 1\n# caf\xe9\n", 2, "UTF-8"),
    "UTF-16": ("version: 1\n".encode("utf-16"), 1, "UTF-8"),
    "an unknown key": (b"version: 1\nbudgets: {}\n", 2, "budgets"),
    "an unknown key within": (b"version: 1\nverify:\n  python: x\n  fast_seconds: 3\n", 4, "verify.fast_seconds"),
    "an unknown key deep within": (b"models:\n  openai: {fast: a, balanced: b, advanced: c, huge: d}\n", 2, "models.openai.huge"),
    "a key missing": (b"version: 1\nmodels:\n  openai: {fast: a}\n", 3, "models.openai.balanced"),
    "a word for a number": (b"loop:\n  max_turns: many\n", 2, "loop.max_turns"),
    "a list for settings": (b"version: 1\nbudget:\n  - money\n", 2, "budget"),
    "settings for a word": (b"approval: {when: always}\n", 1, "approval"),
    "a wrong word": (b"\n\napproval: sometimes\n", 3, "approval"),
    "another version": (b"# \nversion: 2\n", 2, "version"),
    "no command and no list": (b"verify:\n  tests: {a: b}\n", 2, "verify.tests: a command, or a list"),
    "no such toolchain": (b"verify:\n  toolchain: cobol\n", 2, "verify.toolchain: Input should be '', 'python', 'node'"),
    "a command of two lines": (b"verify:\n  lint: |\n    a\n    b\n", 2, "verify.lint: one line of shell"),
    "a check of a name that is taken": (b"verify:\n  commands:\n    strict: {lint: make}\n", 3, "strict.lint: small letters"),
    "a check of two profiles": (
        b"verify:\n  commands:\n    normal: {e2e: make}\n    strict:\n      e2e: make\n", 5, "strict.e2e: it is in the profile"
    ),
    "a check without a command": (b"verify: {commands: {normal: {e2e: ''}}}\n", 1, "normal.e2e: one line of shell"),
    "a pattern that is none": (b"verify:\n  errors:\n    - {class: type, pattern: 'a('}\n", 3, "0.pattern: it is no regular"),
    "a pattern that takes for ever": (b"verify: {errors: [{pattern: '(a+)+', class: type}]}\n", 1, "it repeats a group"),
    "a class of the gate": (b"verify: {errors: [{pattern: a, class: unmet}]}\n", 1, "verify.errors.0.class: unmet is found by"),
    "a number out of range": (b"verify:\n  quick_seconds: 0\n", 2, "verify.quick_seconds"),
    "a list at the top": (b"- version: 1\n", 1, "the file"),
    "a word at the top": (b"hello", 1, "the file"),
    "no money": (b"budget:\n  money: .nan\n", 2, "budget.money"),
    "endless money": (b"budget:\n  money: .inf\n", 2, "budget.money"),
    "negative money": (b"budget:\n  money: -1\n", 2, "budget.money"),
    "nothing": (b"budget:\n  call: 0\n", 2, "budget.call"),
    "huge money": (b"budget:\n  money: 1e9\n", 2, "budget.money"),
    "a day that is none": (b"version: 1\nprices:\n  - {model: m, dated: 2025-99-99, input: 1, output: 1}\n", 3, ""),
    "a number too long to read": (b"loop:\n  max_turns: " + b"9" * 5_000 + b"\n", 2, ""),
    "a key given twice": (b"budget: {money: 1}\nversion: 1\nbudget: {money: 9}\n", 3, "budget"),
    "a key that is no word": (b"version: 1\n7: x\n", 2, ""),
    "a key that is a list": (b"version: 1\n? [a]\n: x\n", 2, ""),
    "a loop": (b"version: 1\npaths: &p\n  allow: *p\n", 3, ""),
    **WRONG_PRICES,
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_named_by_file_line_and_reason(name: str) -> None:
    raw, line, key = WRONG[name]
    with pytest.raises(SetupError) as caught:
        parse_config(raw, "there/ostler.yml")
    said = str(caught.value)
    assert said.startswith(f"there/ostler.yml, line {line}: "), said
    assert key in said
    assert said.endswith(".")
    assert "\n" not in said
    assert len(said) < 300


@pytest.mark.parametrize(
    "raw",
    [
        b"[" * 5_000,
        b"a: &a [x, x, x]\n" + b"".join(b"%c: &%c [%s]\n" % (c, c, b", ".join([b"*%c" % (c - 1)] * 9)) for c in b"bcdefgh"),
        b"? " * 3_000,
    ],
    ids=["deep", "laughs", "keys"],
)  # fmt: skip
def test_files_made_to_break_the_reader_are_refused(raw: bytes) -> None:
    with pytest.raises(SetupError, match=r"ostler\.yml, line \d+: "):
        parse_config(raw)


scraps = st.text(st.sampled_from("version:budget loop-[]{}&*!|>'\"%@`#,?\n\t 019.e~<="), max_size=40)


@given(st.binary(max_size=40) | scraps.map(str.encode))
def test_no_file_brings_the_reader_down(raw: bytes) -> None:
    try:
        said = repr(parse_config(raw))
    except SetupError as error:
        said = str(error)
    assert said.startswith(("RepoConfig(", ".github/ostler.yml, line "))


class TestMoney:
    @pytest.mark.parametrize(("amount", "exact"), [("2", 2_000_000), (0.1, 100_000), (Decimal("0.000001"), 1), (10_000, 10**10)])
    def test_dollars_become_whole_micro_dollars(self, amount: str | float | Decimal, exact: int) -> None:
        assert micro(amount, "--max-cost") == exact

    @pytest.mark.parametrize(
        "amount", [0, -1, "nan", "sNaN", "inf", "-inf", "x", "", "10000.01", "1e99999", "1e-7", float("nan")]
    )
    def test_what_is_no_amount_is_refused(self, amount: str | float) -> None:
        with pytest.raises(BadInput, match=r"^--max-cost: "):
            micro(amount, "--max-cost")


class TestEnvironment:
    def test_nothing_set_is_fine(self) -> None:
        settings = load_settings()
        assert (settings.vendors, settings.note, settings.streaming) == ((), "", True)
        assert (settings.key("anthropic"), settings.anthropic_base_url) == ("", None)

    def test_keys_go_by_our_name_and_the_vendors_and_ours_wins(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ANTHROPIC_API_KEY", "theirs")
        assert load_settings().key("anthropic") == "theirs"
        monkeypatch.setenv("OSTLER_ANTHROPIC_API_KEY", " ours \n")
        monkeypatch.setenv("OPENAI_API_KEY", "o")
        settings = load_settings()
        assert (settings.key("anthropic"), settings.key("openai")) == ("ours", "o")
        assert settings.vendors == ("anthropic", "openai")

    def test_an_empty_variable_is_one_that_is_not_set(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A workflow passes secrets that do not exist as empty strings."""
        monkeypatch.setenv("OSTLER_ANTHROPIC_API_KEY", "")
        monkeypatch.setenv("ANTHROPIC_API_KEY", "theirs")
        monkeypatch.setenv("OPENAI_API_KEY", "")
        for name in ("STREAMING", "STATE_DIR", "OPENAI_BASE_URL"):
            monkeypatch.setenv(f"OSTLER_{name}", "")
        settings = load_settings()
        assert settings.vendors == ("anthropic",)
        assert (settings.streaming, settings.state_dir, settings.note) == (True, None, "")

    def test_a_key_shows_in_nothing_that_is_printed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ANTHROPIC_API_KEY", "very-secret")
        settings = load_settings()
        assert "very-secret" not in f"{settings} {settings!r} {settings.model_dump()} {settings.model_dump_json()}"

    @pytest.mark.parametrize(
        ("name", "value"), [("STREAMING", "banana"), ("ANTHROPIC_BASE_URL", "nonsense"), ("OPENAI_BASE_URL", "http://[::1")]
    )
    def test_a_wrong_variable_is_named(self, monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
        monkeypatch.setenv(f"OSTLER_{name}", value)
        with pytest.raises(SetupError, match=f"OSTLER_{name}: "):
            load_settings()

    @pytest.mark.parametrize(
        "url",
        [
            "http://127.0.0.1:8123", "http://localhost/v1", "http://LOCALHOST:1", "https://[::1]:8", "http://127.0.0.2", "http://127.1:80",
            "http://0.0.0.0:80", "http://[::ffff:127.0.0.1]/", "http://localhost.:80", "http://x.localhost/", "http://2130706433/",
        ],
    )  # fmt: skip
    def test_answers_from_this_machine_are_said_to_be(self, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
        monkeypatch.setenv("OSTLER_OPENAI_BASE_URL", url)
        note = load_settings().note
        assert "not from a vendor" in note
        assert url in note

    @pytest.mark.parametrize(
        "url",
        ["https://api.openai.com/v1", "https://gateway.example.org/localhost", "http://10.0.0.1", "http://localhost.example.org"],
    )
    def test_answers_from_elsewhere_are_not(self, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
        monkeypatch.setenv("OSTLER_ANTHROPIC_BASE_URL", url)
        assert load_settings().note == ""

    def test_settings_can_be_made_by_name(self) -> None:
        assert Settings(streaming=False).streaming is False
