"""`python -m jobs VERB …`: the verbs a person or `ray job submit` runs."""

import typer

from jobs import (
    embed,
    evaluate,
    fetch,
    init,
    models,
    plan,
    pretrain,
    promote,
    report,
    schema,
    shard,
    sweep,
    verify,
)

app = typer.Typer(
    name="python -m jobs",
    help=(
        "Self-supervised pretraining on Ray.\n\n"
        "init a recipe, shard your images, plan a recipe, pretrain an encoder, "
        "sweep its settings, look at its report, "
        "evaluate it, embed a corpus with it, list what is registered, promote one, fetch it, "
        "verify where it comes from. "
        "Each verb explains itself: python -m jobs VERB --help"
    ),
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for verb in (
    init,
    shard,
    plan,
    pretrain,
    sweep,
    report,
    evaluate,
    embed,
    models,
    promote,
    fetch,
    verify,
    schema,
):
    verb.add_to(app)

if __name__ == "__main__":
    app()
