# SPDX-License-Identifier: Apache-2.0
# prepare.py with a tokenizer made here: a token per byte, specials as GLM has them, a chat template of a few lines. What it writes is
# compared with ids put together by hand. With transformers installed prepare.py goes through it, else through tokenizers and jinja2.
# usage: prepare_test.py PREPARE.py CULL MODEL
import json
import os
import subprocess
import sys
import tempfile

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

prepare, cull, model = sys.argv[1:4]
checks = 0
SPECIAL = ["[gMASK]", "<sop>", "<|user|>", "<|assistant|>", "<|observation|>", "<think>", "</think>", "<|endoftext|>"]
TEMPLATE = """{% generation %}[gMASK]<sop>{%- if reasoning_effort %}{{ 'effort:' + reasoning_effort }}{% endif %}{%- if tools %}{{ tools | tojson }}{% endif %}
{%- for m in messages %}
{%- if m.role == 'user' %}<|user|>{{ m.content }}
{%- elif m.role == 'tool' %}<|observation|>{{ m.content }}
{%- elif m.role == 'assistant' %}<|assistant|>{% if m.reasoning_content %}<think>{{ m.reasoning_content }}</think>{% endif %}{{ m.content }}
{%- for c in m.tool_calls or [] %}{{ c.function.name + ':' + c.function.arguments | tojson }}{% endfor %}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}<|assistant|><think>{% endif %}{% if messages | length > 9 %}{{ raise_exception('too long') }}{% endif %}{% endgeneration %}"""


def make_tokenizer(folder):
    """Bytes 0-255, then the specials: the vocabulary of the shipped model."""
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    printable = list(range(ord("!"), ord("~") + 1)) + list(range(0xA1, 0xAD)) + list(range(0xAE, 0x100))
    letters, fresh = {}, 0
    for byte in range(256):  # GPT-2's table of bytes
        if byte in printable:
            letters[byte] = chr(byte)
        else:
            letters[byte] = chr(256 + fresh)
            fresh += 1
    assert set(letters.values()) == set(alphabet)
    vocabulary = {letters[byte]: byte for byte in range(256)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in SPECIAL])
    os.mkdir(folder)
    tokenizer.save(f"{folder}/tokenizer.json")
    with open(f"{folder}/tokenizer_config.json", "w") as file:
        json.dump({"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|endoftext|>", "additional_special_tokens": SPECIAL[:-1]}, file)
    with open(f"{folder}/chat_template.jinja", "w") as file:
        file.write(TEMPLATE)
    return {name: tokenizer.token_to_id(name) for name in SPECIAL}


def check(condition, what):
    global checks
    checks += 1
    if not condition:
        sys.exit(f"FAILED: {what}")


work = tempfile.mkdtemp()
special = make_tokenizer(f"{work}/tokenizer")


def ids(*parts):
    """Text as bytes, specials by name."""
    out = []
    for part in parts:
        out += [special[part]] if part in special else list(part.encode())
    return out


def write(name, rows):
    path = f"{work}/{name}"
    with open(path, "w") as file:
        for row in rows:
            file.write(json.dumps(row) + "\n")
    return path


def run(*arguments, status=0):
    out = f"{work}/out.jsonl"
    done = subprocess.run([sys.executable, prepare, "--out", out, *arguments], capture_output=True, text=True,
                          env=os.environ | {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"})
    check(done.returncode == status, f"{arguments}: status {done.returncode}: {done.stderr[-500:]}")
    return done.stderr if status else [json.loads(line) for line in open(out)]


START, END = ["[gMASK]", "<sop>"], "<|endoftext|>"
token = ["--tokenizer", f"{work}/tokenizer"]

# Every kind of row in one run.
text = write("text.jsonl", [{"text": "héllo"}, {"text": "x", "domain": "prose"}])
chat = write("chat.jsonl", [{"conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "ho"}]},
                            {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]},
                                          {"role": "assistant", "content": "", "tool_calls": [{"id": "1", "type": "function",
                                           "function": {"name": "f", "arguments": "{\"x\": 1}"}}]},
                                          {"role": "tool", "content": "7", "tool_call_id": "1"}, {"role": "assistant", "content": "seven"}]}])
got = run(*token, "--text", text, "--chat", chat)
check([s["ids"] for s in got] == [ids("héllo"), ids("x"), ids(*START, "<|user|>", "hi", "<|assistant|>", "ho", END),
                                  ids(*START, "<|user|>", "a", "<|assistant|>", 'f:{"x": 1}', "<|observation|>", "7", "<|assistant|>", "seven", END)],
      f"texts and chats: {got}")
check([s["domain"] for s in got] == ["text", "prose", "chat", "chat"] and len({s["id"] for s in got}) == 4, "domains and ids")

# The four sets of the reference card, as their files are.
evol = write("evol.jsonl", [{"instruction": "add", "output": "a+b"}])
magicoder = write("magicoder.jsonl", [{"instruction": "sub", "response": "a-b"}])
tool = {"name": "get", "description": "d", "parameters": {"q": {"type": "str", "description": "e"}, "n": {"type": "int, optional", "description": "c"}}}
xlam = write("xlam.jsonl", [{"id": 0, "query": "find", "answers": json.dumps([{"name": "get", "arguments": {"q": "z"}}]), "tools": json.dumps([tool])}])
swe = write("swe.jsonl", [{"messages": json.dumps([{"role": "system", "content": "s"}, {"role": "user", "content": "fix"}, {"role": "assistant", "content": "ok"}])}])
got = run(*token, "--set", "evol-codealpaca", evol, "--set", "magicoder", magicoder, "--set", "xlam", xlam, "--set", "swe-smith", swe, "--reasoning-effort", "high")
schema = [{"type": "function", "function": {"name": "get", "description": "d", "parameters": {
    "type": "object", "properties": {"q": {"description": "e", "type": "string"}, "n": {"description": "c", "type": "integer"}}, "required": ["q"]}}}]
effort = [*START, "effort:high"]
check([s["ids"] for s in got[:2]] == [ids(*effort, "<|user|>", "add", "<|assistant|>", "a+b", END), ids(*effort, "<|user|>", "sub", "<|assistant|>", "a-b", END)],
      f"instructions: {got[:2]}")
plain = bytes(i for i in got[2]["ids"] if i < 256).decode()
check(plain.startswith("effort:high[{") and json.loads(plain[11:plain.rindex("]") + 1]) == schema and plain.endswith('find' + 'get:{"q": "z"}'), f"xlam: {plain}")
check(got[3]["ids"] == ids(*effort, "<|user|>", "fix", "<|assistant|>", "ok", END), "swe-smith")
check([s["domain"] for s in got] == ["code", "code", "tool", "agent"], "domains of the sets")

# A server's answers: those that ended by themselves, and those that did not.
ask = {"messages": [{"role": "user", "content": "2+2"}]}


def answered(name, finish, message, **more):
    return {"custom_id": name, "request": ask | more, "response": {"body": {"choices": [{"finish_reason": finish, "message": message}]}}}


answers = [answered("good", "stop", {"content": "4", "reasoning_content": "two and two"}),
           answered("cut", "length", {"content": "", "reasoning_content": "well"}),
           answered("no answer", "stop", {"content": "", "reasoning_content": "hm"}),
           answered("inline", "stop", {"content": "<think>a</think>b"}),
           answered("open", "stop", {"content": "<think>on and on"}),
           answered("call", "tool_calls", {"content": None, "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}),
           answered("other", "stop", {"content": "4", "reasoning": "t"}, chat_template_kwargs={"reasoning_effort": "max"})]
traces = write("traces.jsonl", answers)
got = run(*token, "--traces", traces, "--terminating-only")
check([s["id"] for s in got] == ["good", "inline", "call", "other"], f"terminating: {[s['id'] for s in got]}")
check(got[0]["ids"] == ids(*START, "<|user|>", "2+2", "<|assistant|>", "<think>", "two and two", "</think>", "4", END), "a trace")
check(got[1]["ids"] == ids(*START, "<|user|>", "2+2", "<|assistant|>", "<think>", "a", "</think>", "b", END), "a trace with its thought inline")
check(got[3]["ids"][:len(START) + 10] == ids(*START, "effort:max"), "a request's own template variables")
everything = run(*token, "--traces", traces)
check(len(everything) == 7 and everything[1]["ids"][-1] != special[END], "without the filter, and no end where there was none")

# Prompts out, answers of a batch in.
questions = write("questions.jsonl", [{"id": "q1", "messages": [{"role": "user", "content": "2+2"}, {"role": "assistant", "content": "4"}]}])
got = run(*token, "--prompts", questions)
check(got == [{"id": "q1", "ids": ids(*START, "<|user|>", "2+2", "<|assistant|>", "<think>"), "answer": ids("4")}], f"prompts: {got}")
batch = run("--requests-for", questions, "--served-name", "m", "--reasoning-effort", "high", "--max-tokens", "99")
check(batch[0]["custom_id"] == "q1" and batch[0]["url"] == "/v1/chat/completions" and batch[0]["body"]["messages"] == ask["messages"]
      and batch[0]["body"]["chat_template_kwargs"] == {"reasoning_effort": "high"} and batch[0]["body"]["max_tokens"] == 99, f"a batch: {batch}")
requests = write("requests.jsonl", batch)
reply = write("reply.jsonl", [{"custom_id": "q1", "response": {"status_code": 200, "body": {"choices": [{"finish_reason": "stop", "message": {"content": "4", "reasoning": "r"}}]}}}])
got = run(*token, "--traces", reply, "--requests", requests, "--terminating-only")
check(got[0]["ids"] == ids(*START, "effort:high", "<|user|>", "2+2", "<|assistant|>", "<think>", "r", "</think>", "4", END), "a batch's answers")

# Lengths.
long = write("long.jsonl", [{"text": "abcdefghij"}, {"text": "kl"}, {"text": "mno"}, {"text": "p", "domain": "other"}])
check([bytes(s["ids"]).decode() for s in run(*token, "--text", long, "--max-tokens", "4")] == ["abcd", "efgh", "ij", "kl", "mno", "p"], "parts")
check([bytes(s["ids"]).decode() for s in run(*token, "--text", long, "--max-tokens", "4", "--cut", "head")] == ["abcd", "kl", "mno", "p"], "heads")
check([bytes(s["ids"]).decode() for s in run(*token, "--text", long, "--max-tokens", "4", "--cut", "drop")] == ["kl", "mno", "p"], "dropped")
packed = run(*token, "--text", long, "--max-tokens", "5", "--pack", "--cut", "drop")
check([bytes(s["ids"]).decode() for s in packed] == ["klmno", "p"], f"packed, domains apart: {packed}")
many = write("many.jsonl", [{"text": f"{i:03}"} for i in range(50)])
drawn = run(*token, "--text", many, "--limit", "7")
check(len(drawn) == 7 and drawn == run(*token, "--text", many, "--limit", "7") and drawn != run(*token, "--text", many, "--limit", "7", "--seed", "1"), "a draw is repeatable")

# What is wrong is named.
check("row 1" in run(*token, "--set", "xlam", evol, status=1) and "no set" in run(*token, "--set", "nothing", evol, status=1), "errors")

check("is no directory" in run("--tokenizer", f"{work}/nothing", "--text", text, status=1), "no tokenizer")
long_chat = write("long_chat.jsonl", [{"messages": [{"role": "user", "content": "a"}] * 10}])
check("too long" in run(*token, "--chat", long_chat, status=1), "what a template refuses")

# cull reads it.
run(*token, "--chat", chat, "--traces", traces, "--terminating-only")
done = subprocess.run([cull, "calibrate", model, "--data", f"{work}/out.jsonl", "--emphasize", f"{special['</think>']}:16:6", "--out", f"{work}/obs"], capture_output=True, text=True)
check(done.returncode == 0 and "calibrated on 6 sequences" in done.stdout, f"calibrate: {done.stdout}{done.stderr}")
print(f"{checks} checks passed")
