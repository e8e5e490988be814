"""What `tollgate serve` tells a user whose gateway has started."""

from __future__ import annotations

from gateway.cli.serve import _banner
from gateway.supervisor import Started


def test_a_new_user_sees_url_key_and_the_next_command() -> None:
    """The first start shows the base URL, the new key, and a command that can be pasted."""
    started = Started("http://127.0.0.1:4318", "127.0.0.1:4317", "http://127.0.0.1:8123", "tollgate", "tg_new")
    lines = _banner(started, "default").splitlines()
    assert any("Base URL" in line and "http://127.0.0.1:4318" in line for line in lines)
    assert any("tg_new" in line and "shown only now" in line for line in lines)
    assert lines[-1].strip().startswith("TOLLGATE_API_KEY=tg_new ")
    assert lines[-1].endswith(" send-sample")


def test_later_starts_show_no_key() -> None:
    """Where keys exist, the banner says how to make another, and shows none."""
    started = Started("", "127.0.0.1:4317", "http://127.0.0.1:8123", "tollgate", "")
    banner = _banner(started, "finance")
    assert "keys create finance" in banner
    assert "TOLLGATE_API_KEY=<your key>" in banner
    assert "OTLP/HTTP" not in banner
