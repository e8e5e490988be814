"""API keys as operators handle them: the first one, those made and revoked at run time, and none in a log."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gateway.sample import sample_delivery
from tests.end_to_end.harness import Gateway, until

if TYPE_CHECKING:
    from collections.abc import Callable

AWAY = 'exporters: {clickhouse: {embedded: null, endpoint: "http://127.0.0.1:%d"}}\n'
ANY_KEY = re.compile(r"tg_[0-9A-Za-z]{43}")


def test_a_key_made_while_it_runs_works_until_it_is_revoked(gateway: Gateway) -> None:
    """`keys create` gives a key that works within 2 s, and is refused within 2 s of `keys revoke`."""
    made = gateway.run("keys", "create", "default", "--label", "openrouter")
    assert made.returncode == 0, made.stderr
    key = made.stdout.splitlines()[0]
    assert ANY_KEY.fullmatch(key)
    until(lambda: gateway.post(b"{}", key=key).status == 200, seconds=2)
    listed = gateway.run("keys", "list").stdout
    (line,) = [line for line in listed.splitlines() if "openrouter" in line]
    assert key not in listed
    assert gateway.run("keys", "revoke", line.split()[0]).returncode == 0
    until(lambda: gateway.post(b"{}", key=key).status == 401, seconds=2)
    assert gateway.post(b"{}").status == 200


def test_the_first_start_makes_a_key_and_shows_it_once(
    make_gateway: Callable[..., Gateway], free_port: Callable[[], int]
) -> None:
    """Without a key in the settings, the first start prints one that works, also after a restart that prints none."""
    gateway = make_gateway(key="", config=AWAY % free_port()).start()
    until(lambda: "send-sample" in gateway.output)
    (key,) = set(ANY_KEY.findall(gateway.output))
    assert gateway.url in gateway.output
    assert gateway.post(b"{}", key=key).status == 200
    assert gateway.stop() == 0
    shown = gateway.output
    gateway.start()
    until(lambda: "send-sample" in gateway.output.removeprefix(shown))
    assert not ANY_KEY.search(gateway.output.removeprefix(shown))
    assert gateway.post(b"{}", key=key).status == 200
    assert not ANY_KEY.search(gateway.log)


def test_no_key_and_no_prompt_is_in_the_log(make_gateway: Callable[..., Gateway], free_port: Callable[[], int]) -> None:
    """At level debug, with keys right and wrong, deliveries good and broken, the log holds no key and no content."""
    gateway = make_gateway(config=f"{AWAY % free_port()}service: {{telemetry: {{logs: {{level: debug}}}}}}").start()
    document = sample_delivery("gen-1795304415-EEEEEEEEEEEEEEEEEEEE", 1795304415000000000)
    gateway.deliver(document)
    assert gateway.post(str(document).encode()).status == 400
    assert gateway.post(b"{}", key="tg_a_key_that_nobody_made").status == 401
    until(lambda: gateway.metric("exporter_failures_total") > 0)
    assert gateway.stop() == 0
    for secret in (gateway.key, "tg_a_key_that_nobody_made", "Invoice 88213", "find_po"):
        assert secret not in gateway.log
        assert secret not in gateway.output


def test_a_key_of_a_destination_that_is_gone_is_refused(
    make_gateway: Callable[..., Gateway], free_port: Callable[[], int]
) -> None:
    """A key made for a destination that the settings no longer have is refused like an unknown one."""
    away = AWAY % free_port()
    gateway = make_gateway(config=f"{away}destinations: {{finance: {{}}}}\n")
    key = gateway.run("keys", "create", "finance").stdout.splitlines()[0]
    gateway.start()
    assert gateway.post(b"{}", key=key).status == 200
    assert gateway.stop() == 0
    (gateway.directory / "settings.yaml").write_text(away)
    gateway.start()
    assert gateway.post(b"{}", key=key).status == 401
