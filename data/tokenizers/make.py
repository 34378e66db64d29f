"""Interim."""
import json
import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers, decoders, trainers
from data.facts import Facts
from data.shards import read_texts


def make_tokenizer(train, validation, config, out, progress):
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.decoder = decoders.ByteLevel()
    tr = trainers.BpeTrainer(vocab_size=config.vocab_size - 1, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False)
    t.train_from_iterator((x for ps in train.values() for p in ps for b in read_texts(p) for x in b), tr)
    eot = t.get_vocab_size()
    t.save(str(out / "tokenizer.json"))
    (out / "tokenizer.meta.json").write_text(json.dumps({"kind": "bpe", "vocab_size": eot + 1, "eot_id": eot}))
    lens = [len(t.id_to_token(i)) for i in range(eot)] + [0]
    np.save(out / "token_bytes.npy", np.array(lens, np.int32))
    return Facts(counts={"vocab_size": eot + 1})
