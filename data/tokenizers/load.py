"""Interim."""
import codecs, json
from pathlib import Path
from tokenizers import Tokenizer as HF


class Tokenizer:
    def __init__(self, d):
        self.hf = HF.from_file(str(Path(d) / "tokenizer.json"))
        self.meta = json.loads((Path(d) / "tokenizer.meta.json").read_text())
        self.eot_id = self.meta["eot_id"]
        self.vocab_size = self.meta["vocab_size"]

    def encode_ordinary(self, text):
        return self.hf.encode(text).ids

    def decode(self, ids):
        return self.hf.decode(list(ids), skip_special_tokens=False)

    def decode_stream(self, ids):
        got, said = [], ""
        for i in ids:
            got.append(i)
            text = self.decode(got)
            if not text.endswith("\ufffd"):
                yield text[len(said):]
                said = text


def load_tokenizer(d):
    return Tokenizer(d)
