"""The command `generate`: text from a trained model, shown as it comes."""

import sys
from typing import Annotated

import typer

from flows.models import find_model, tokenizer_of
from flows.recipe import RecipeError
from tasks.prompts import prompt_ids, written
from tasks.runtime import open_store


def generate(
    model: Annotated[str | None, typer.Option(metavar="REF", help="Model artifact; the newest if left out.")] = None,
    prompt: Annotated[
        str, typer.Option(metavar="TEXT", help="What the text begins with; [MASK] or [MASK*5]: gaps.")
    ] = "",
    tokens: Annotated[int, typer.Option(metavar="N", help="Most tokens of a continuation.")] = 200,
    temperature: Annotated[float, typer.Option(metavar="T", help="0: always the likeliest; 1: as trained.")] = 0.8,
    top_k: Annotated[int, typer.Option(metavar="K", help="Draw from the K likeliest tokens only; 0: all.")] = 50,
    top_p: Annotated[float, typer.Option(metavar="P", help="Draw from the likeliest that reach P together.")] = 1.0,
    seed: Annotated[int, typer.Option(metavar="S", help="Seed of the draws.")] = 1,
    count: Annotated[int, typer.Option(metavar="N", help="Continuations, with seeds S, S+1, ...")] = 1,
) -> None:
    """Continue a prompt with a trained model; a masked one fills in its gaps, [MASK] for each token."""
    store = open_store()
    ref = find_model(store, model)
    if count < 1:
        raise RecipeError(f"--count is {count}, but it must be at least 1.")
    tokenizer_ref = tokenizer_of(store, ref)

    from data.tokenizers.load import load_tokenizer
    from gpt.config import SamplingConfig
    from gpt.generate import stream
    from gpt.weights import load_model

    try:
        SamplingConfig(tokens, temperature, top_k, top_p, seed)  # checks the ranges
    except ValueError as error:
        raise RecipeError(str(error)) from error
    tokenizer = load_tokenizer(store.path(tokenizer_ref))
    network = load_model(store.path(ref))
    (ids_of_prompt,) = prompt_ids(tokenizer, [prompt], network.config.masked)
    for number in range(count):
        if count > 1:
            print(f"--- {number + 1} of {count}, seed {seed + number}")
        sys.stdout.write(written(prompt, ""))
        ids = stream(network, ids_of_prompt, tokens, temperature, top_k, top_p, seed + number, tokenizer.eot_id)
        for piece in tokenizer.decode_stream(ids):
            sys.stdout.write(piece)
            sys.stdout.flush()
        sys.stdout.write("\n")
