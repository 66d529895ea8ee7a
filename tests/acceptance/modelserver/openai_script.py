"""What a user does with OpenAI's client. Run under its own Python: the base URL. The model says its prompt again."""

import asyncio
import sys

import openai

base, = sys.argv[1:]
client = openai.OpenAI(base_url=base, api_key="none", max_retries=0)

assert [model.id for model in client.models.list()] == ["m"]
assert client.models.retrieve("m").id == "m"

done = client.completions.create(model="m", prompt="one two three", max_tokens=2, logprobs=1)
assert done.choices[0].text == "one two" and done.choices[0].finish_reason == "length", done
assert done.usage.prompt_tokens == 3 and done.usage.completion_tokens == 2, done
assert done.choices[0].logprobs.top_logprobs[0] == {"one": -0.5, "x": -1.5}, done
done = client.completions.create(model="m", prompt=["a b", "c d"], n=2, echo=True, stop=["d"])
assert [choice.text for choice in done.choices] == ["a ba b", "a ba b", "c dc ", "c dc "], done
assert len(list(client.completions.create(model="m", prompt="a b c", stream=True))) == 4

messages = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "to be or not to be"}]
done = client.chat.completions.create(model="m", messages=messages, logprobs=True, top_logprobs=2, temperature=0)
assert done.choices[0].message.content == "to be or not to be" and done.choices[0].finish_reason == "stop", done
assert done.choices[0].logprobs.content[0].top_logprobs[1].token == "x", done
chunks = list(client.chat.completions.create(
    model="m", messages=messages, stream=True, stream_options={"include_usage": True}))
assert chunks[0].choices[0].delta.role == "assistant", chunks[0]
assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1]) == "to be or not to be"
assert chunks[-2].choices[0].finish_reason == "stop" and chunks[-1].usage.total_tokens == 12, chunks[-2:]
several = list(client.chat.completions.create(model="m", messages=messages, stream=True, n=3))
texts = ["", "", ""]
for chunk in several:
    texts[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
assert texts == ["to be or not to be"] * 3, texts

vectors = client.embeddings.create(model="m", input=["abc", "abcdef"])
assert [one.embedding for one in vectors.data] == [[3.0, 0.5], [6.0, 0.5]] and vectors.usage.total_tokens == 7
assert client.embeddings.create(model="m", input="abc", encoding_format="float").data[0].embedding == [3.0, 0.5]

for call, error in (
    (lambda: client.completions.create(model="none", prompt="x"), openai.NotFoundError),
    (lambda: client.completions.create(model="m", prompt="refuse it", stream=True), openai.BadRequestError),
    (lambda: client.chat.completions.create(model="m", messages=[]), openai.BadRequestError),
    (lambda: client.completions.create(model="m", prompt="x", temperature=7), openai.BadRequestError),
    (lambda: client.completions.create(model="m", prompt="raise"), openai.InternalServerError),
):
    try:
        call()
        raise AssertionError(f"no {error}")
    except error as problem:
        assert problem.body["message"], problem.body
try:
    list(client.completions.create(model="m", prompt="well then raise", stream=True))
    raise AssertionError("the stream did not break")
except openai.APIError as problem:
    assert "broke" in problem.message, problem


async def leaves():
    """A client that has enough closes the stream, and the model stops."""
    async with openai.AsyncOpenAI(base_url=base, api_key="none") as eager:
        stream = await eager.completions.create(model="m", prompt="forever", stream=True)
        async for _ in stream:
            break
        await stream.close()


asyncio.run(leaves())
print("all done")
