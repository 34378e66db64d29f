"""Interim."""
import numpy as np
from data.facts import Facts
from data.shards import read_texts
from data.tokenizers.load import load_tokenizer


def encode_slot(corpus, tokenizer, out, threads, progress):
    t = load_tokenizer(tokenizer)
    c = {}
    for side in ("train", "validation"):
        ids, docs, nb = [], [], 0
        p = corpus / f"{side}.parquet"
        for b in read_texts(p) if p.exists() else ():
            for x in b:
                docs.append(len(ids)); ids.append(t.eot_id); ids += t.encode_ordinary(x); nb += len(x.encode())
        docs.append(len(ids))
        np.save(out / f"{side}.npy", np.array(ids, np.uint16)); np.save(out / f"{side}.documents.npy", np.array(docs, np.int64))
        c |= {f"{side}_tokens": len(ids), f"{side}_bytes": nb}
    return Facts(counts=c)
