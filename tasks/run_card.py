"""Interim; another file takes its place."""


def collect_metrics(run, made):
    s = run.store.manifest(made.model).counts
    e = run.store.manifest(made.evaluation).counts
    return {
        "val_bpb": e["bits_per_byte"],
        "val_loss": e["loss"],
        **{k: s.get(k) for k in ("train_loss", "train_tokens_per_s", "parameters", "steps")},
    }


def publish_run_card(run, page, made):
    pass
