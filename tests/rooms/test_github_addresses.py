"""GitHub's addresses: github.com, its like at ghe.com, and Enterprise Servers."""

from __future__ import annotations

import pytest

from bot.github.oidc import issuer_of
from bot.github.plain import api_of, site_of


@pytest.mark.parametrize(
    ("site", "api", "issuer"),
    [
        ("https://github.com", "https://api.github.com", "https://token.actions.githubusercontent.com"),
        ("https://acme.ghe.com", "https://api.acme.ghe.com", "https://token.actions.acme.ghe.com"),
        ("https://git.acme.dev", "https://git.acme.dev/api/v3", "https://git.acme.dev/_services/token"),
        ("https://api.acme.dev:8443", "https://api.acme.dev:8443/api/v3", "https://api.acme.dev:8443/_services/token"),
    ],
)
def test_pages_api_and_issuer_belong_together(site: str, api: str, issuer: str) -> None:
    assert (api_of(site), site_of(api), issuer_of(site)) == (api, site, issuer)
