"""Prompts with gaps: their ids, the text they become, and that only models that fill gaps take them."""

import pytest

from data.errors import TextmillError
from data.tokenizers.load import load_tokenizer
from flows.recipe import Recipe
from tasks.prompts import prompt_ids, written
from tests.tokenizer_examples import small_bpe


def test_gaps_become_ids_above_the_vocabulary(tmp_path):
    small_bpe(tmp_path)
    tokenizer = load_tokenizer(tmp_path)
    the, cat = (list(map(int, tokenizer.encode_ordinary(text))) for text in ("The ", " cat"))
    gap, mark = tokenizer.vocab_size, tokenizer.eot_id
    prompts = ["The [MASK*3] cat", "[MASK][MASK]", "The ", ""]
    assert prompt_ids(tokenizer, prompts, masked=True) == [
        [mark, *the, *[gap] * 3, *cat],
        [mark, gap, gap],
        [mark, *the],
        [mark],
    ]
    assert prompt_ids(tokenizer, prompts[2:]) == [[mark, *the], [mark]]
    with pytest.raises(TextmillError, match=r"holds \[MASK\*3\], but a causal model .* model.objective=masked"):
        prompt_ids(tokenizer, prompts)


def test_a_filled_prompt_is_the_whole_text():
    assert written("The [MASK]", "The cat") == "The cat" and written("The ", "cat") == "The cat"


def test_a_recipe_refuses_gaps_for_a_causal_model():
    with pytest.raises(ValueError, match=r"holds \[MASK\], but a causal model"):
        Recipe(sampling={"prompts": ["The [MASK]"]})
    Recipe(sampling={"prompts": ["The [MASK]"]}, model={"objective": "masked"})
