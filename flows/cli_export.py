"""The command `export`: a trained model as a folder that Hugging Face `transformers` loads."""

import shutil
import uuid
from pathlib import Path
from typing import Annotated, Literal

import typer

from data.errors import TextmillError
from flows.models import find_model, tokenizer_of
from flows.recipe import RecipeError
from tasks.runtime import open_store

USE = """
from transformers import AutoModelForCausalLM, AutoTokenizer
model, tokenizer = (kind.from_pretrained({folder!r}) for kind in (AutoModelForCausalLM, AutoTokenizer))
ids = tokenizer("<|endoftext|>It was a", return_tensors="pt")
print(tokenizer.decode(model.generate(**ids, max_new_tokens={tokens})[0]))
"""
EXAMPLE_TOKENS = 100


def export(
    names: Annotated[
        list[str], typer.Argument(metavar="[REF] FOLDER", help="Model artifact (the newest if left out), new folder.")
    ],
    dtype: Annotated[Literal["float32", "bfloat16", "float16"], typer.Option(help="Of the weights.")] = "float32",
) -> None:
    """Write a trained model and its tokenizer as a folder for Hugging Face transformers."""
    if len(names) > 2:
        raise RecipeError(f"{len(names)} names were given, but it takes at most two: textmill export REF FOLDER.")
    *reference, target = names
    folder = _empty_folder(target)
    store = open_store()
    ref = find_model(store, reference[0] if reference else None)
    tokenizer_ref = tokenizer_of(store, ref)

    from data.tokenizers import pretrained
    from data.tokenizers.load import load_tokenizer
    from gpt.files import publish_directory
    from gpt.huggingface import write_pretrained
    from gpt.weights import read_starting_weights

    tokenizer = load_tokenizer(store.path(tokenizer_ref))
    config, weights = read_starting_weights(store.path(ref))
    if config.vocab_size != tokenizer.vocab_size:
        raise TextmillError(
            f"{ref} knows {config.vocab_size} ids and its tokenizer {tokenizer_ref} {tokenizer.vocab_size}: "
            f"`textmill verify` tells which of the two is damaged."
        )
    context = config.context or 0  # never None in a trained model
    partial = folder.with_name(f".{folder.name}-{uuid.uuid4().hex[:8]}")
    try:
        partial.mkdir(parents=True)
        write_pretrained(partial, config, weights, tokenizer.eot_id, dtype)
        pretrained.write_pretrained(store.path(tokenizer_ref), partial, context)
        publish_directory(partial, folder)
    except OSError as error:
        raise TextmillError(f"Cannot write {folder}: {error.strerror}. Name a folder that can be written.") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    print(f"{ref} in {dtype}: {folder}\n\nIt loads with")
    print(USE.format(folder=str(folder), tokens=min(EXAMPLE_TOKENS, context // 2)), end="")


def _empty_folder(target: str) -> Path:
    """The absolute path of a folder that is absent or empty; raises RecipeError for any other."""
    try:
        folder = Path(target).expanduser().resolve()
    except RuntimeError as error:  # ~somebody who does not exist
        raise RecipeError(f"{target} cannot be found: {error} Name another folder.") from error
    if folder.is_dir():
        if any(folder.iterdir()):
            raise RecipeError(f"{folder} is not empty: name a new folder, or empty this one first.")
    elif folder.exists():
        raise RecipeError(f"{folder} is a file: name a new folder.")
    return folder
