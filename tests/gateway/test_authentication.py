"""Authentication: a request's key names its destination, however a client spells the header."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.authentication import Authenticator, UnauthenticatedError
from state import hash_key

KEY, OTHER = "tg_first", "tg_second"
NO_KEY = "The request has no API key: send it as 'Authorization: Bearer <key>' or 'x-api-key: <key>'."
WRONG_KEY = (
    "The API key is not valid here: it is mistyped, expired or revoked. "
    "Ask the operator for another one (tollgate keys create)."
)


@pytest.fixture
def authenticator() -> Authenticator:
    """One that knows a key of `default` from the settings and one of `team` made at run time."""
    authenticator = Authenticator({hash_key(KEY): "default"})
    authenticator.update({hash_key(OTHER): "team"})
    return authenticator


def refused(authenticator: Authenticator, authorization: str | None, x_api_key: str | None = None) -> str:
    """What the sender of these headers is told."""
    with pytest.raises(UnauthenticatedError) as caught:
        authenticator.authenticate(authorization, x_api_key)
    return str(caught.value)


@pytest.mark.parametrize(
    ("authorization", "x_api_key"),
    [
        (f"Bearer {KEY}", None),
        (f"bearer {KEY}", None),
        (f"BEARER  {KEY} ", None),
        (KEY, None),
        (None, KEY),
        (None, f" {KEY} "),
        ("Bearer of another proxy", KEY),
    ],
)
def test_a_key_is_found_however_it_is_sent(
    authenticator: Authenticator, authorization: str | None, x_api_key: str | None
) -> None:
    """Bearer in any case, the bare key and x-api-key all work; x-api-key is the more exact, so it decides."""
    assert authenticator.authenticate(authorization, x_api_key) == "default"


@pytest.mark.parametrize(("authorization", "x_api_key"), [(None, None), ("", None), (None, ""), ("Bearer ", None)])
def test_a_request_without_a_key_is_told_how_to_send_one(
    authenticator: Authenticator, authorization: str | None, x_api_key: str | None
) -> None:
    """A missing or empty key is answered with the two ways to send it."""
    assert refused(authenticator, authorization, x_api_key) == NO_KEY


def test_the_word_bearer_alone_is_no_key(authenticator: Authenticator) -> None:
    """An empty key variable in a client's settings is answered as the missing key it is."""
    assert refused(authenticator, "Bearer") == NO_KEY


@pytest.mark.parametrize("authorization", ["Bearer tg_fir", f"Bearer {KEY}x", f"Basic {KEY}", f"Bearer {KEY.upper()}"])
def test_an_unknown_key_is_told_whom_to_ask(authenticator: Authenticator, authorization: str) -> None:
    """A key that is not known exactly is refused, and the answer repeats nothing of it."""
    assert refused(authenticator, authorization) == WRONG_KEY


@given(st.none() | st.text(st.characters()), st.none() | st.text(st.characters()))
def test_whatever_the_headers_hold_is_answered(authorization: str | None, x_api_key: str | None) -> None:
    """No header, with surrogates or without, makes more than a refusal."""
    authenticator = Authenticator({hash_key(KEY): "default"})
    assert refused(authenticator, authorization, x_api_key) in {NO_KEY, WRONG_KEY}


def test_an_update_replaces_the_keys_made_at_run_time(authenticator: Authenticator) -> None:
    """A revoked key stops at the next update, and the settings' keys stay."""
    assert authenticator.authenticate(None, OTHER) == "team"
    authenticator.update({hash_key("tg_third"): "team"})
    assert authenticator.authenticate(None, "tg_third") == "team"
    assert authenticator.authenticate(None, KEY) == "default"
    assert refused(authenticator, None, OTHER) == WRONG_KEY


def test_the_settings_decide_whose_a_key_is(authenticator: Authenticator) -> None:
    """A key that stands in the settings belongs to the destination named there, whatever the database says."""
    authenticator.update({hash_key(KEY): "team"})
    assert authenticator.authenticate(None, KEY) == "default"


def test_it_knows_whether_there_is_any_key() -> None:
    """It is empty until there is a key, from either place, and again once the last is gone."""
    assert not Authenticator({hash_key(KEY): "default"}).is_empty
    authenticator = Authenticator({})
    assert authenticator.is_empty
    authenticator.update({hash_key(OTHER): "team"})
    assert not authenticator.is_empty
    authenticator.update({})
    assert authenticator.is_empty


def test_later_changes_to_the_given_map_change_nothing() -> None:
    """The settings' keys are those of the start."""
    configured = {hash_key(KEY): "default"}
    authenticator = Authenticator(configured)
    configured.clear()
    authenticator.update({})
    assert authenticator.authenticate(None, KEY) == "default"
