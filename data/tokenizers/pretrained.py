"""A tokenizer as the files that Hugging Face `transformers` loads beside a model: `AutoTokenizer.from_pretrained`."""

import json
import shutil
from pathlib import Path

from data.tokenizers.config import TokenizerError
from data.tokenizers.vocabulary import END_OF_TEXT, HF_FILE, read_vocabulary

CONFIG_FILE = "tokenizer_config.json"


def write_pretrained(tokenizer: Path, out: Path, context: int) -> None:
    """Write tokenizer.json and tokenizer_config.json of the tokenizer in a folder into the folder `out`.

    `context` is the longest text in tokens that the model reads. The ids are ours; but as everywhere in transformers,
    the characters `<|endoftext|>` in a text become the special id, unless it is called with split_special_tokens=True.
    Raises TokenizerError when the folder holds no tokenizer.
    """
    vocabulary = read_vocabulary(tokenizer)
    if not (tokenizer / HF_FILE).exists():
        raise TokenizerError(f"{tokenizer} holds no {HF_FILE}: delete its artifact and run again, it will be rebuilt.")
    shutil.copyfile(tokenizer / HF_FILE, out / HF_FILE)
    special = {
        "content": END_OF_TEXT,
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "special": True,
    }
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",  # which takes tokenizer.json as it is
        "added_tokens_decoder": {str(vocabulary.eot_id): special},
        "bos_token": END_OF_TEXT,
        "eos_token": END_OF_TEXT,
        "pad_token": END_OF_TEXT,
        "unk_token": None,
        "add_bos_token": False,
        "add_prefix_space": False,
        "clean_up_tokenization_spaces": False,
        "split_special_tokens": False,
        "model_max_length": context,
    }
    text = json.dumps(config, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    (out / CONFIG_FILE).write_text(text, encoding="utf-8")
