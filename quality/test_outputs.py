"""Outputs: what a variant answers to prompts, for the report to show side by side; with --report or --prompts."""

import pytest

pytestmark = [pytest.mark.asked, pytest.mark.needs("generate")]

NEW_TOKENS = 48


def test_answers(variant, model_run, asked, show, judge):
    prompts = asked(NEW_TOKENS)

    rows = []
    with show(f"{variant.variant.id} answers {len(prompts)} prompts") as update:
        for done, ids in enumerate(prompts, 1):
            answer = variant.call("generate", batch=[ids], n=NEW_TOKENS, stop=model_run.checkpoint.ends)
            rows += answer["tokens"]
            update(done, len(prompts))

    workload = f"prompts@{len(prompts)}+tg{NEW_TOKENS}"
    judge("answers", workload, map(len, rows), details={"tokens": rows})
    assert all(rows)
