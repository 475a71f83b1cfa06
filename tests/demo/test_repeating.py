"""Models that say what they were told."""

from __future__ import annotations

from plano.demo.provider import DemoProvider
from tests.demo.wire import exchange


async def test_a_repeating_model_says_the_last_words_of_the_user_and_nothing_else(provider: DemoProvider) -> None:
    long = "word " * 1_000 + "\ncontext: {}"
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "One?"},
        {"role": "assistant", "content": "Two."},
        {"role": "user", "content": long},
    ]
    answer = await exchange(provider.url, {"model": "openai/demo-repeat", "messages": messages})
    assert answer.json["choices"][0]["message"]["content"] == long
