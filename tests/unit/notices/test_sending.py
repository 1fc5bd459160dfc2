"""What receivers are sent, what they may do to us, and what nobody gets to see."""

import logging
from pathlib import Path

import pytest

from stackwatch.model.notice import Notice, NoticeState, ReceiverAnswer, ReceiverOptions
from stackwatch.notices.sending import FILE_RECEIVER, send_notices, send_test
from stackwatch.notices.services import hide_secrets, load_services
from stackwatch.notices.webhook import describe_webhook, receiver_id
from stackwatch.testing.receivers import mail_server, mail_text, webhook

pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")
"""Of apprise, when it is first used."""

SECRET = "pass-word-123"


def notice(number: int = 1, reached: tuple[str, ...] = ()) -> Notice:
    """Return a notice of a parked acquisition."""
    facts = {"name": "em/run_041", "message": "No voxel size.", "hint": "Set it.", "job_id": 7}
    return Notice(
        number, "parked", "acquisition:1", facts, is_recovery=False, state=NoticeState.DUE,
        created_at_us=1_700_000_000_000_000, reached=reached,
    )  # fmt: skip


def tell(options: ReceiverOptions, deadline_s: float = 20.0) -> list[ReceiverAnswer]:
    """Send one notice."""
    return list(send_notices(options, [notice()], deadline_s))


def apprise_file(folder: Path, *lines: str) -> ReceiverOptions:
    """Return the option that names a file with these lines."""
    path = folder / "notices.txt"
    path.write_text("\n".join(lines) + "\n")
    return ReceiverOptions(apprise_file=path)


def mail_address(port: int, secret: str = "") -> str:
    """Return apprise's address of a mail server on loopback."""
    login = f"someone:{secret}@" if secret else ""
    return f"mailto://{login}127.0.0.1:{port}/?to=lab@example.org&from=wk@example.org&mode=insecure"


def test_a_webhook_is_posted_the_whole_story():
    """The document has the words for people and the facts for programs."""
    with webhook() as server:
        (answer,) = tell(ReceiverOptions((server.url,)))

        assert (True, "200: taken", (1,)) == (answer.is_reached, answer.reason, answer.notices)
        (document,) = server.taken
    assert (1, "stackwatch", 0) == (document["schema"], document["service"], document["left_out"])
    (told,) = document["notices"]
    assert ("parked", False, "2023-11-14T22:13:20Z") == (
        told["kind"], told["is_recovery"], told["at_utc"],
    )  # fmt: skip
    assert 7 == told["facts"]["job_id"]
    assert "parked: em/run_041 (job 7) – No voxel size. – Hint: Set it." == told["text"]
    assert document["text"].endswith(told["text"])


@pytest.mark.parametrize(
    ("mood", "reason"),
    [("broken", "500"), ("reset", "broke off"), ("half", "broke off"), ("gone", "not accepted")],
)
def test_a_webhook_in_a_bad_mood_is_not_reached(mood, reason):
    """C22: errors, resets and half answers are told in words, without the address."""
    with webhook(mood) as server:
        (answer,) = tell(ReceiverOptions((server.url,)))

    assert not answer.is_reached
    assert reason in answer.reason
    assert f"webhook 127.0.0.1:{server.port}" == answer.name
    assert "secret" not in repr(answer)


def test_nobody_listens():
    """C22: a receiver that is gone is an answer too."""
    with webhook() as server:
        pass
    (answer,) = tell(ReceiverOptions((server.url,)))

    assert (False, "no connection") == (answer.is_reached, answer.reason)


def test_a_redirect_is_not_followed():
    """Another host never gets what was meant for this one."""
    with webhook() as other, webhook("moved", other.url) as server:
        (answer,) = tell(ReceiverOptions((server.url,)))

        assert not answer.is_reached
        assert "127.0.0.1" in answer.reason
        assert "secret" not in answer.reason
        assert 0 == other.asked


def test_an_answer_without_end_is_no_burden():
    """The status decides; the body is not read."""
    with webhook("endless") as server:
        (answer,) = tell(ReceiverOptions((server.url,)), deadline_s=10.0)

        assert answer.is_reached


def test_who_is_silent_holds_up_nobody():
    """C22: the others are told at once; at the deadline the silent one counts as not reached."""
    with webhook("silent") as silent, webhook() as well:
        answers = tell(ReceiverOptions((silent.url, well.url)), deadline_s=3.0)

        assert [True, False] == [answer.is_reached for answer in answers]
        assert 1 == len(well.taken)
        assert "no answer within 3 s" == answers[1].reason
        assert (1,) == answers[1].notices


def test_who_was_told_is_not_told_again():
    """What a receiver has is left out of its message; with nothing left none is sent."""
    with webhook() as first, webhook() as second:
        options = ReceiverOptions((first.url, second.url))
        has_one = (receiver_id(first.url),)
        notices = [notice(1, has_one), notice(2, has_one)]
        answers = {one.receiver: one for one in send_notices(options, notices)}

        assert 0 == first.asked
        assert [[1, 2]] == [[one["id"] for one in document["notices"]] for document in second.taken]
        assert answers[receiver_id(first.url)].is_reached
        assert () == answers[receiver_id(first.url)].notices


def test_mail_through_apprise(tmp_path):
    """A mail arrives, with the title as its subject and a line for the notice."""
    with mail_server() as server:
        (answer,) = tell(apprise_file(tmp_path, "# who is told", mail_address(server.port)))

        assert answer.is_reached, answer.reason
        (mail,) = server.mails
    assert mail["Subject"].startswith("stackwatch on ")
    assert mail["Subject"].endswith(": 1 parked")
    assert "lab@example.org" in mail["To"]
    assert "No voxel size. – Hint: Set it." in mail_text(mail)


def test_a_mail_that_is_refused(tmp_path, capfd):
    """C22: the refusal is told without a word of the address, and nothing is printed."""
    with mail_server(is_refusing=True) as server:
        (answer,) = tell(apprise_file(tmp_path, mail_address(server.port, SECRET)))

    assert not answer.is_reached
    assert SECRET not in repr(answer)
    assert ("", "") == tuple(capfd.readouterr())


def test_what_apprise_says_is_heard_by_nobody_else(tmp_path, caplog):
    """Its own log may hold passwords: it does not reach ours."""
    with mail_server(is_refusing=True) as server, caplog.at_level(logging.DEBUG):
        tell(apprise_file(tmp_path, mail_address(server.port, SECRET)))

    assert [] == [line for line in caplog.messages if SECRET in line]


def test_secrets_are_taken_out_of_words(tmp_path):
    """Passwords and tokens of an address are hidden, its host is not."""
    token = "H8I9J0K1L2M3N4O5P6Q7R8S9"
    options = apprise_file(
        tmp_path,
        f"mailtos://someone:{SECRET}@mail.example.org",
        f"slack://TokenA1B2/C3D4E5F6G7/{token}",
    )
    assert options.apprise_file is not None
    services, _ = load_services(options.apprise_file)

    for service, secret in zip(services, (SECRET, token), strict=True):
        words = f"could not post to {service.sender.url(privacy=False)} for {secret}"
        assert secret in words
        assert secret not in hide_secrets(words, service.sender)
        assert secret not in service.name
    assert "E-Mail mail.example.org" == services[0].name


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "No such file"), ("# nothing\n", "no address"), ("nonsense\n", "no address"),
     (b"\xff\xfe", "UTF-8")],
)  # fmt: skip
def test_a_file_that_names_nobody(tmp_path, content, reason):
    """The reason is an answer; the webhooks are told all the same."""
    path = tmp_path / "notices.txt"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with webhook() as server:
        answers = tell(ReceiverOptions((server.url,), path))

        assert 1 == len(server.taken)
    complaint = next(one for one in answers if one.receiver == FILE_RECEIVER)
    assert not complaint.is_reached
    assert reason in complaint.reason


def test_a_test_is_sent_to_all(tmp_path):
    """`send_test` reaches webhooks and mail, and says so of each."""
    with webhook() as hook, webhook("broken") as broken, mail_server() as mail:
        file = apprise_file(tmp_path, mail_address(mail.port)).apprise_file
        answers = list(send_test(ReceiverOptions((hook.url, broken.url), file)))

        assert {True: 2, False: 1} == {
            value: [one.is_reached for one in answers].count(value) for value in (True, False)
        }
        assert "This is a test" in hook.taken[0]["text"]
        assert 1 == len(mail.mails)


def test_names_of_webhooks_hold_no_secret():
    """Host and port are shown, the rest of an address is its password."""
    assert "webhook h.example.org" == describe_webhook("https://u:p@h.example.org/s/e/c?r=t")


def test_a_plugin_that_fails_does_not_silence_the_webhooks(tmp_path, monkeypatch):
    """Whatever apprise raises at a line of its file is told as a receiver that was not reached."""
    apprise = pytest.importorskip("apprise")

    def refuse(*_arguments: object, **_named: object) -> None:
        raise KeyError("secret-word")

    monkeypatch.setattr(apprise.AppriseConfig, "add_config", refuse)
    file = tmp_path / "notices.txt"
    file.write_text("json://127.0.0.1:9/secret-word\n")
    with webhook() as server:
        found = list(send_test(ReceiverOptions((server.url,), file)))

    assert {"apprise_file": False, describe_webhook(server.url): True} == {
        one.name: one.is_reached for one in found
    }
    assert "secret-word" not in found[0].reason
