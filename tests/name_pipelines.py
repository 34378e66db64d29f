"""Pipelines that find names, made here: one by patterns, and one that has learnt a little."""

import random

SENTENCES = [
    "{} wrote a long letter to the mill.",
    "Yesterday {} came home late.",
    "We met {} at the station.",
    "The bread was baked by {} and sold.",
]
PEOPLE = ["Ann Lee", "Bob Miller", "Clara Stone", "David Young", "Ella Wood"]


def by_patterns(folder, people=("Ann", "Ann Lee", "Bob Miller"), others=(), version="1.0"):
    """A ruler that marks these as PERSON, and `others` as ORG; saved in the folder."""
    import spacy

    nlp = spacy.blank("en")
    nlp.meta.update(name="toy", version=version)
    ruler = nlp.add_pipe("entity_ruler")
    ruler.add_patterns([{"label": "PERSON", "pattern": one} for one in people])
    ruler.add_patterns([{"label": "ORG", "pattern": one} for one in others])
    nlp.to_disk(folder)
    return str(folder)


def with_recogniser(folder, listening=False, rounds=0):
    """A small `ner` behind a tagger and a lemmatizer that it does not need; saved in the folder.

    listening  whether it computes from a `tok2vec` shared with the tagger
    rounds     how often it sees the examples; 0: it knows nothing
    """
    import spacy
    from spacy.training import Example
    from spacy.util import fix_random_seed

    fix_random_seed(1)
    nlp = spacy.blank("en")
    small = {"@architectures": "spacy.HashEmbedCNN.v2", "pretrained_vectors": None, "width": 16, "depth": 1}
    small |= {"embed_size": 200, "window_size": 1, "maxout_pieces": 2, "subword_features": True}
    listener = {"@architectures": "spacy.Tok2VecListener.v1", "width": 16, "upstream": "*"}
    parser = {"@architectures": "spacy.TransitionBasedParser.v2", "state_type": "ner", "hidden_width": 16}
    parser |= {"extra_state_tokens": False, "maxout_pieces": 2, "use_upper": True}
    tagger = {"@architectures": "spacy.Tagger.v2"}
    nlp.add_pipe("tok2vec", config={"model": small})
    nlp.add_pipe("tagger", config={"model": tagger | {"tok2vec": listener}}).add_label("NN")
    nlp.add_pipe("sentencizer")
    recogniser = nlp.add_pipe("ner", config={"model": parser | {"tok2vec": listener if listening else small}})
    recogniser.add_label("PERSON")
    examples = []
    for sentence in SENTENCES:
        for name in PEOPLE:
            text, begin = sentence.format(name), sentence.index("{")
            document = nlp.make_doc(text)
            about = {"entities": [(begin, begin + len(name), "PERSON")], "tags": ["NN"] * len(document)}
            examples.append(Example.from_dict(document, about))
    optimizer = nlp.initialize(lambda: examples)
    optimizer.learn_rate = 0.01
    order = random.Random(1)
    with nlp.select_pipes(enable=["tok2vec", "ner"] if listening else ["ner"]):
        for _ in range(rounds):
            order.shuffle(examples)
            nlp.update(examples, sgd=optimizer)
    nlp.to_disk(folder)
    return str(folder)
