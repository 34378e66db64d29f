"""A whole run with secrets: nothing that it leaves behind, on disk, in the database or on the terminal, holds one."""

import base64
import hashlib
import os
from urllib.parse import quote

import pytest
from prefect.blocks.system import Secret
from prefect.settings import PREFECT_API_AUTH_STRING, temporary_settings

from data.errors import TextmillError
from flows.pipeline import pipeline
from flows.recipe import Recipe
from tasks.runtime import Runtime
from tests.discord_toys import GENERAL, TOKEN, fast_clock, serve, two_channels
from tests.prefect_servers import send_what_waits
from tests.stand_in_web import Page, answer, stand_in_web

SECRETS = {
    "DISCORD_BOT_TOKEN": TOKEN,
    "TEXTMILL_PSEUDONYM_KEY": "marked-pseudonym-8c1f5e0d",
    "HF_TOKEN": "hf_markedHubToken77d1",
    "AWS_ACCESS_KEY_ID": "MARKEDKEYID93AA",
    "AWS_SECRET_ACCESS_KEY": "marked/aws+secret/5b2e==",
    "WANDB_API_KEY": "markedwandb40c9",
}
IN_A_BLOCK = "Bearer marked-pages-3d7e21"
LOGIN = "marked-user:marked-password-6f60"


def spellings(secret):
    """A secret as it may be written down: as it is, quoted, in base64 with and without its first word."""
    bare = secret.removeprefix("Bearer ")
    encoded = [base64.b64encode(one.encode()) for one in (secret, bare, f"Bot {secret}")]
    return {secret.encode(), bare.encode(), quote(secret, safe="").encode(), *encoded}


def holding(folder, texts):
    """The files below a folder that hold one of the texts, with what they hold."""
    found = {}
    for path in folder.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            if held := [text for text in texts if text in content]:
                found[str(path)] = held
    return found


@pytest.fixture
def recipe(monkeypatch):
    """A recipe of two sources that need secrets, with servers that want them; yields it and the servers."""
    fast = fast_clock(monkeypatch)
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    with serve(monkeypatch, fast, two_channels()) as discord, stand_in_web() as web:
        web.pages["/text.txt"] = Page(b"\n\n".join(b"Page %d tells of many words." % (n * n) for n in range(300)))
        values = {
            "name": "marked-recipe",
            "sources": {
                "chat": {"kind": "discord-api", "channels": [GENERAL], "i_have_permission": True},
                "pages": {
                    "kind": "url",
                    "urls": [f"{web.url}/text.txt"],
                    "authorization_secret": "MARKED_PAGES_KEY",
                },
            },
            "split": {"passage_bytes": 200, "max_whole_bytes": 400, "min_passages": 2},
            "tokenizer": {"kind": "bpe", "vocab_size": 300},
            "model": {"preset": "modern", "layers": 1, "width": 16, "heads": 1, "context": 16},
            "training": {"steps": 4, "batch_size": 2},
            "sampling": {"prompts": ["Page "], "tokens": 4},
            "evaluation": {"resamples": 10},
        }
        yield Recipe.model_validate(values), discord, web


@pytest.mark.parametrize("until", ["tokens", pytest.param(None, marks=pytest.mark.long)])
def test_no_secret_is_left_anywhere(until, recipe, flow_server, starting_server, tmp_path, capfd, caplog):
    recipe, discord, web = recipe
    store, home = tmp_path / "store", starting_server.home
    runtime = Runtime(store=str(store), device="cpu", threads=1)
    with temporary_settings({PREFECT_API_AUTH_STRING: LOGIN}):
        Secret(value=IN_A_BLOCK).save("marked-pages-key", overwrite=True)
        pipeline(recipe=recipe, until=until, runtime=runtime)
        assert discord.asked_for_messages() and {one.headers["authorization"] for one in web.asked} == {IN_A_BLOCK}

        discord.token = "another"  # and now refusals, whose words go into the log
        with pytest.raises(TextmillError, match="does not accept the token"):
            pipeline(recipe=recipe, runtime=runtime)
        discord.token = TOKEN
        web.script["/text.txt"] = [answer(403, IN_A_BLOCK.encode())] * 4
        with pytest.raises(TextmillError, match="403"):
            pipeline(recipe=recipe, runtime=runtime)
        send_what_waits()

    said = capfd.readouterr()
    (tmp_path / "said").write_text(said.out + said.err + caplog.text)
    (tmp_path / "server.log").write_bytes(home.with_suffix(".log").read_bytes())
    marks = set().union(*(spellings(one) for one in (*SECRETS.values(), IN_A_BLOCK, LOGIN)))
    marks |= {hashlib.sha256(SECRETS["TEXTMILL_PSEUDONYM_KEY"].encode()).hexdigest().encode()}  # could be guessed at
    for folder in (tmp_path, home):
        assert not holding(folder, marks)
    assert holding(home, [b"marked-recipe"]), "the database is really looked through"
    assert holding(home, [b"does not accept the token"]), "and so are the logs of the run that failed"
    assert holding(store, [b"marked-recipe"])
    assert until or holding(store, [b"MARKED_PAGES_KEY"]), "the report shows names of secrets"
    assert os.environ["HF_TOKEN"] == SECRETS["HF_TOKEN"]
