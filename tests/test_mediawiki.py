"""The client of MediaWiki's API: what is waited out, what stops at once, and in which words."""

import pytest

from data.sources.wiki import mediawiki
from data.sources.wiki.mediawiki import MediaWiki, QueryError, WikiError
from data.web.pacing import Clock, Pacer
from tests.stand_in_mediawiki import Article, Wiki


@pytest.fixture(autouse=True)
def waits(monkeypatch):
    waits = []
    clock = Clock(lambda: sum(waits), lambda: 0.0, waits.append)
    monkeypatch.setattr(mediawiki, "PACER", Pacer(clock))
    return waits


@pytest.fixture
def wiki():
    with Wiki(Article(1, "Ink")) as wiki:
        yield wiki


@pytest.fixture
def client(wiki):
    client = MediaWiki("en", wiki.api, "Tests/1.0 (t@t.invalid)", 1000.0)
    yield client
    client.close()


NINE = "Thu, 01 Jan 1970 00:00:09 GMT"
LAG = {"error": {"code": "maxlag", "info": "Waiting for a database server: 7 seconds lagged.", "lag": 7}}


@pytest.mark.parametrize(
    ("failure", "least"),
    [
        ({"status": 429, "headers": {"Retry-After": "4"}}, 4),
        ({"status": 503, "headers": {"Retry-After": "6"}, "body": b"<html>"}, 6),
        ({"status": 503, "headers": {"Retry-After": NINE, "Date": NINE.replace("09", "00")}}, 9),
        ({"status": 500}, 0.5),
        ({"status": 502}, 0.5),
        ({"body": LAG, "headers": {"Retry-After": "5"}}, 5),
        ({"body": {"error": {"code": "internal_api_error_DBQueryError", "info": "oh"}}}, 0.5),
        ({"body": {"error": {"code": "ratelimited", "info": "slower"}}}, 0.5),
        ({"status": 0}, 0.5),
        ({"body": b"<!DOCTYPE html>"}, 0.5),
        ({"body": b'{"query": '}, 0.5),
        ({"body": b"[]"}, 0.5),
    ],
)  # fmt: skip
def test_what_can_pass_is_waited_out(wiki, client, waits, failure, least):
    wiki.fail(**failure)
    answer = client.query(titles="Ink", prop="info")
    assert "1" in answer.value["query"]["pages"]
    assert len(wiki.requests) == 2
    assert least <= sum(waits) < least + 1.5


def test_a_server_that_is_silent_is_asked_again(wiki, client, monkeypatch):
    monkeypatch.setattr(mediawiki, "TIMEOUT", 0.2)
    hasty = MediaWiki("en", wiki.api, "Tests/1.0 (t@t.invalid)", 1000.0)
    wiki.fail(seconds=0.5, body={})
    assert hasty.query(titles="Ink", prop="info").value["query"]
    for _ in range(mediawiki.TRIES):
        wiki.fail(seconds=0.3, body={})
    with pytest.raises(WikiError, match=r"no answer within 0\.2 s, 6 times in a row"):
        hasty.query(titles="Ink")
    hasty.close()


@pytest.mark.parametrize(
    ("failure", "tries", "said"),
    [
        (
            {"status": 429, "headers": {"Retry-After": "1"}},
            6,
            "429 Too Many Requests, 6 times in a row. Run again later",
        ),
        ({"status": 503}, 6, "the server answers 503, 6 times"),
        ({"body": LAG}, 6, r"busy \(maxlag: Waiting for a database server"),
        ({"body": b"<html>"}, 2, "no JSON, it begins with '<html>': is this the address of an api.php"),
        ({"body": b'["a"]'}, 2, "a list where an object should be"),
        ({"body": b"[" * 200_000}, 2, "JSON|nested"),
        ({"status": 503, "headers": {"Retry-After": "86400"}}, 1, "asks to wait 86400 s. Run again after that"),
        ({"status": 403, "body": b"no agent"}, 1, "answers 403.*check `user_agent`"),
        ({"status": 404}, 1, "answers 404. Correct `language` or `endpoint`"),
        ({"status": 301, "headers": {"Location": "https://elsewhere.invalid/"}}, 1, "answers 301. Correct"),
        ({"status": 0}, 6, "the connection failed .*6 times"),
    ],
)
def test_what_does_not_pass_is_an_error_that_says_so(wiki, client, failure, tries, said):
    for _ in range(tries):
        wiki.fail(**failure)
    with pytest.raises(WikiError, match=said):
        client.query(titles="Ink")
    assert len(wiki.requests) == tries
    assert client.query(titles="Ink").value["query"], "the next request finds a healthy server"


def test_a_query_that_is_refused_is_told_from_a_wiki_that_is_down(wiki, client):
    with pytest.raises(QueryError, match="toomanyvalues: Too many values") as refused:
        client.query(titles="|".join(map(str, range(51))))
    assert refused.value.code == "toomanyvalues"
    assert len(wiki.requests) == 1


def test_a_server_that_is_not_there_is_named():
    with Wiki() as gone:
        address = gone.api
    client = MediaWiki("en", address, "Tests/1.0 (t@t.invalid)", 1000.0)
    with pytest.raises(WikiError, match=rf"{address}: the connection failed \(.*refused.*\), 6 times"):
        client.query(titles="Ink")
    client.close()


def test_an_answer_has_an_end(wiki, client, monkeypatch):
    monkeypatch.setattr(mediawiki, "ANSWER_BYTES", 100_000)
    wiki.fail(body=b" " * 200_000)
    with pytest.raises(WikiError, match="more than 100000 bytes"):
        client.query(titles="Ink")


def test_continuations_are_followed_and_circles_noticed(wiki, client):
    for number in range(3):
        wiki.fail(body={"continue": {"gcmcontinue": str(number), "continue": "-||"}, "query": {"pages": {}}})
    assert len(list(client.answers(titles="Ink"))) == 4
    assert [params.get("gcmcontinue") for params in wiki.requests] == [None, "0", "1", "2"]
    for _ in range(2):
        wiki.fail(body={"continue": {"gcmcontinue": "0"}})
    with pytest.raises(WikiError, match="round in a circle"):
        list(client.answers(titles="Ink"))


def test_wikipedia_itself_is_where_the_language_says():
    for language, host in (("de", "de.wikipedia.org"), ("zh-min-nan", "zh-min-nan.wikipedia.org")):
        client = MediaWiki(language, None, "Tests/1.0 (t@t.invalid)", 1.0)
        assert client.url == f"https://{host}/w/api.php"
        client.close()


def test_requests_go_through_the_proxy_of_the_environment(wiki, monkeypatch):
    """The stand-in answers whatever it is asked for as a proxy, too: by its path."""
    monkeypatch.setenv("http_proxy", wiki.api.removesuffix("/w/api.php"))
    monkeypatch.setenv("no_proxy", "")
    client = MediaWiki("en", "http://wiki.invalid/w/api.php", "Tests/1.0 (t@t.invalid)", 1000.0)
    assert client.query(titles="Ink", prop="info").value["query"]
    client.close()
