"""Signing in and acting: only with the word, only from our own forms, only what is possible."""

import re
from pathlib import Path

import pytest

from stackwatch.errors import UsageError
from stackwatch.testing.pages import WORD, PageBench
from stackwatch.web.sessions import (
    COOKIE,
    LIFETIME_S,
    SESSIONS_MAX,
    TRIES_MAX,
    Sessions,
    read_word,
)


def form_word(page: str) -> str:
    """Return what the forms of a page carry."""
    found = re.search(r'name="form_word" value="([^"]+)"', page)
    assert found is not None, page
    return found[1]


def test_without_the_setting_nobody_acts(busy: PageBench):
    """Without `[web] actions = true` there is no form, no way to sign in, and no deed."""
    for path in ("/", "/jobs/1", "/history"):
        page = busy.page(path)
        assert "<button" not in page.replace('<button type="submit">Show</button>', "")
        assert "Sign in" not in page
    assert 404 == busy.client.get("/sign-in").status_code
    assert 403 == busy.sign_in().status_code
    for deed in ("retry", "redeliver", "accept", "forget"):
        assert 404 == busy.client.post(f"/actions/{deed}", data={"number": "1"}).status_code
    assert [] == busy.asked


def test_the_word_begins_a_session_that_scripts_cannot_read(acting: PageBench):
    """The right word leads back to where one was, with a cookie for this site alone."""
    answer = acting.sign_in()

    assert (303, "/history") == (answer.status_code, answer.headers["location"])
    cookie = answer.headers["set-cookie"].lower()
    assert cookie.startswith(COOKIE)
    for said in ("httponly", "samesite=strict", "path=/", "max-age=43200"):
        assert said in cookie
    assert WORD not in cookie


def test_a_wrong_word_is_refused_and_soon_none_is_taken(acting: PageBench):
    """Wrong words are counted; after some of them even the right one has to wait."""
    for _ in range(TRIES_MAX):
        assert 403 == acting.sign_in("wrong").status_code

    assert 429 == acting.sign_in().status_code
    assert not acting.client.cookies


def test_nothing_is_done_without_signing_in(acting: PageBench):
    """No cookie, an invented one, or a form without its word: nothing reaches the service."""
    data = {"number": "2", "form_word": "x"}
    assert 403 == acting.client.post("/actions/retry", data=data).status_code
    acting.client.cookies.set(COOKIE, "invented")
    assert 403 == acting.client.post("/actions/retry", data=data).status_code
    acting.client.cookies.clear()
    acting.sign_in()
    for word in ("", "x", "ö"):
        refused = acting.client.post("/actions/retry", data={"number": "2", "form_word": word})
        assert 403 == refused.status_code
    good = {"number": "2", "form_word": form_word(acting.page("/jobs/2"))}
    foreign = acting.client.post(
        "/actions/retry", data=good, headers={"origin": "http://evil.example"}
    )
    assert 403 == foreign.status_code
    assert 403 == acting.client.post("/actions/retry", json=good).status_code
    assert 405 == acting.client.get("/actions/retry", params=good).status_code
    assert [] == acting.asked


def test_a_job_is_retried(acting: PageBench):
    """Who has signed in retries a parked job, and is told once that it was done."""
    assert "Sign in to act" in acting.page("/jobs/2")
    acting.sign_in()
    data = {"number": "2", "form_word": form_word(acting.page("/jobs/2")), "next": "/jobs/2"}

    answer = acting.client.post("/actions/retry", data=data)

    assert (303, "/jobs/2") == (answer.status_code, answer.headers["location"])
    assert [{"command": "retry", "job": 2}] == acting.asked
    assert "queued again" in acting.page("/jobs/2")
    assert "queued again" not in acting.page("/jobs/2")


def test_a_delivery_is_retried(acting: PageBench):
    """A parked delivery is asked for again by its own number, from the page of its job."""
    acting.sign_in()
    page = acting.page("/jobs/1")
    data = {"number": "1", "form_word": form_word(page), "next": "/jobs/1"}

    answer = acting.client.post("/actions/redeliver", data=data)

    assert "Retry delivery" in page
    assert "/actions/retry" not in page, "its job has succeeded"
    assert (303, "/jobs/1") == (answer.status_code, answer.headers["location"])
    assert [{"command": "retry", "delivery": 1}] == acting.asked
    assert "The delivery is queued again." in acting.page("/jobs/1")


def test_an_acquisition_is_forgotten(acting: PageBench):
    """Forgetting names the acquisition by its path, as the command line does."""
    acting.sign_in()
    page = acting.page("/jobs/2")
    assert "/actions/forget" in page
    found = acting.document("/api/explain?what=2")["acquisition"]["acquisition_id"]
    acting.asked.clear()

    data = {"number": str(found), "form_word": form_word(page), "next": "//evil.example"}
    answer = acting.client.post("/actions/forget", data=data)

    assert "/" == answer.headers["location"]
    path = str(acting.world.root / "drop" / "em1" / "cortex_041")
    assert [{"command": "forget", "path": path}] == acting.asked


def test_a_refusal_is_shown_with_its_hint(acting: PageBench):
    """What the service refuses is told as it says it."""
    acting.refuse = UsageError("Job 2 is succeeded.", hint="Nothing to retry.")
    acting.sign_in()
    data = {"number": "2", "form_word": form_word(acting.page("/jobs/2"))}

    answer = acting.client.post("/actions/retry", data=data)

    assert 409 == answer.status_code
    assert "Job 2 is succeeded." in answer.text
    assert "Nothing to retry." in answer.text


@pytest.mark.parametrize("number", ["", "x", "-1", "9" * 30, "2; drop"])
def test_a_number_of_nothing_is_refused(acting: PageBench, number: str):
    """What is no number is never handed on."""
    acting.sign_in()
    data = {"number": number, "form_word": form_word(acting.page("/jobs/2"))}

    assert 404 == acting.client.post("/actions/retry", data=data).status_code
    assert [] == acting.asked


def test_signing_out_ends_the_session(acting: PageBench):
    """After signing out the old cookie is worth nothing."""
    acting.sign_in()
    cookie, word = acting.client.cookies[COOKIE], form_word(acting.page("/jobs/2"))
    assert 303 == acting.client.post("/sign-out", data={"form_word": word}).status_code

    acting.client.cookies.set(COOKIE, cookie)
    refused = acting.client.post("/actions/retry", data={"number": "2", "form_word": word})
    assert 403 == refused.status_code


def test_switching_actions_off_ends_every_session(acting: PageBench):
    """A reload without actions ends them at once, and another word wants to be typed in again."""
    acting.sign_in()
    word = form_word(acting.page("/jobs/2"))
    acting.set_options(has_actions=False)
    data = {"number": "2", "form_word": word}
    assert 404 == acting.client.post("/actions/retry", data=data).status_code

    acting.set_options(has_actions=True, token_file=acting.world.root / "other")
    assert 403 == acting.client.post("/actions/retry", data=data).status_code
    assert [] == acting.asked


def test_the_word_stands_on_no_page(acting: PageBench):
    """Neither the word nor the cookie is ever in an answer's text."""
    acting.sign_in()
    cookie = acting.client.cookies[COOKIE]
    for path in ("/", "/jobs/2", "/history", "/acquisitions", "/metrics", "/api/status",
                 "/api/jobs/2", "/healthz", "/sign-in"):  # fmt: skip
        text = acting.client.get(path).text
        assert WORD not in text
        assert cookie not in text
    assert WORD not in acting.sign_in("wrong").text


def test_a_file_without_a_good_word_lets_nobody_in(acting: PageBench, tmp_path: Path):
    """An empty file, a short word or no file at all: nobody signs in, not even with nothing."""
    token = tmp_path / "token"
    for content in ("", "\n", "short", None):
        if content is None:
            token.unlink()
        else:
            token.write_text(content, encoding="utf-8")
        answer = acting.sign_in((content or "").strip())
        assert answer.status_code in (403, 409)
        assert "set-cookie" not in answer.headers
        with pytest.raises(UsageError):
            read_word(token)


@pytest.mark.parametrize(
    "body", [b"word=" + b"x" * 9000, b"%", b"&" * 5000, b"=".join([b"a&"] * 90), b"\xff\xfe"]
)
def test_a_form_that_is_none_is_refused(acting: PageBench, body: bytes):
    """Too long, too many fields, no text: refused, no mistake."""
    kind = {"content-type": "application/x-www-form-urlencoded", "host": "localhost"}
    answer = acting.ask_raw("/sign-in", kind, "POST", body)

    assert 403 == answer.status


# ---------------------------------------------------------------- sessions


class Watch:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.at_s = 100.0

    def __call__(self) -> float:
        """Return the time."""
        return self.at_s


def test_a_session_ends_by_itself():
    """After its lifetime a session is not found any more."""
    watch = Watch()
    sessions = Sessions(watch)
    session = sessions.begin("the word", "the word")
    assert session is not None
    assert session is sessions.find(session.name)

    watch.at_s += LIFETIME_S + 1

    assert sessions.find(session.name) is None


def test_only_so_many_sessions_are_kept():
    """The oldest goes when there are too many: memory is bounded."""
    sessions = Sessions(Watch())
    made = [sessions.begin("the word", "the word") for _ in range(SESSIONS_MAX + 1)]
    first, last = made[0], made[-1]
    assert first is not None
    assert last is not None

    assert sessions.find(first.name) is None
    assert last is sessions.find(last.name)


def test_wrong_words_are_forgiven_after_a_while():
    """A minute after too many wrong words another one may be tried."""
    watch = Watch()
    sessions = Sessions(watch)
    for _ in range(TRIES_MAX):
        assert sessions.begin("wrong", "the word") is None
    assert not sessions.is_open()

    watch.at_s += 61

    assert sessions.is_open()


def test_after_a_wrong_word_one_still_gets_where_one_was(acting: PageBench):
    """The form that asks again leads to the same page as the first."""
    answer = acting.sign_in("not-the-word")

    assert 403 == answer.status_code
    assert 'name="next" value="/history"' in answer.text
