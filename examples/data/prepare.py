#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Turns texts, chats, tool calls and a server's traces into the sequences that `cull calibrate` and `cull eval` read.

  prepare.py --tokenizer MODEL --chat chats.jsonl --out chats.sequences.jsonl
  prepare.py --tokenizer MODEL --set xlam xlam_function_calling_60k.json --set swe-smith trajectories.jsonl --limit 4096 --out code.sequences.jsonl
  prepare.py --tokenizer MODEL --traces answers.jsonl --terminating-only --out traces.sequences.jsonl
  prepare.py --tokenizer MODEL --prompts questions.jsonl --out prompts.jsonl
  prepare.py --requests-for questions.jsonl --served-name MODEL --out requests.jsonl
  prepare.py --tokenizer MODEL --requests requests.jsonl --traces answers.jsonl --terminating-only --out traces.sequences.jsonl

Needs transformers, or tokenizers and jinja2. Reads local files only: JSON lines, a JSON list, or (where pyarrow is installed) parquet. Formats are in docs/calibration.md.
"""
import argparse
import datetime
import functools
import json
import os
import random
import sys


class BadRow(Exception):
    """A row that is not what its format says."""


# ---- Rows: what one line of each kind means, as messages and tools of a chat, or as plain text.

def as_json(value):
    """Datasets store nested lists as JSON text now and then."""
    return json.loads(value) if isinstance(value, str) else value


def need(row, *keys):
    for key in keys:
        if isinstance(row, dict) and row.get(key) not in (None, ""):
            return row[key]
    raise BadRow(f"has none of {', '.join(keys)}")


def turn(role, content, **more):
    return {"role": role, "content": content} | more


def of_text(row):
    return {"text": need(row, "text", "content")}


def normal_call(call):
    """Any spelling of a tool call as the chat templates take it: arguments are an object."""
    call = call.get("function", call)
    arguments = call.get("arguments", call.get("parameters", {}))
    return {"type": "function", "function": {"name": need(call, "name"), "arguments": as_json(arguments) if arguments != "" else {}}}


def normal_message(message):
    role = need(message, "role", "from")
    role = {"human": "user", "gpt": "assistant", "function": "tool", "observation": "tool"}.get(role, role)
    content = message.get("content", message.get("value"))
    if isinstance(content, list):  # parts; only text can be tokenised here
        content = "".join(part.get("text", "") for part in content if isinstance(part, dict))
    out = turn(role, content or "")
    reasoning = message.get("reasoning_content") or message.get("reasoning")
    if reasoning:
        out["reasoning_content"] = reasoning
    if message.get("tool_calls"):
        out["tool_calls"] = [normal_call(call) for call in as_json(message["tool_calls"])]
    for key in ("name", "tool_call_id"):
        if message.get(key):
            out[key] = message[key]
    return out


def of_chat(row):
    messages = as_json(need(row, "messages", "conversations"))
    out = {"messages": [normal_message(m) for m in messages]}
    if row.get("tools"):
        out["tools"] = [normal_tool(t) for t in as_json(row["tools"])]
    return out


def normal_tool(tool):
    """OpenAI's schema; xLAM's flat list of parameters becomes one."""
    if "function" in tool:
        return tool
    parameters = tool.get("parameters") or {}
    if "properties" not in parameters:
        known = {"str": "string", "int": "integer", "float": "number", "bool": "boolean", "list": "array", "dict": "object"}
        properties, required = {}, []
        for name, field in parameters.items():
            kind = str(field.get("type", "string"))
            properties[name] = {k: v for k, v in field.items() if k != "type"} | {"type": known.get(kind.split(",")[0].split("[")[0].strip().lower(), "string")}
            if "optional" not in kind and "default" not in field:
                required.append(name)
        parameters = {"type": "object", "properties": properties, "required": required}
    return {"type": "function", "function": {"name": need(tool, "name"), "description": tool.get("description", ""), "parameters": parameters}}


def of_instruction(row):
    """evol-codealpaca-v1: instruction, output. Magicoder-Evol-Instruct-110K: instruction, response."""
    return {"messages": [turn("user", need(row, "instruction")), turn("assistant", need(row, "output", "response"))]}


def of_xlam(row):
    """xlam-function-calling-60k: query, tools and answers, the latter two as JSON text."""
    calls = [normal_call(call) for call in as_json(need(row, "answers"))]
    return {"messages": [turn("user", need(row, "query")), turn("assistant", "", tool_calls=calls)],
            "tools": [normal_tool(t) for t in as_json(need(row, "tools"))]}


def of_swe_smith(row):
    """SWE-smith-trajectories: messages, in newer files as JSON text."""
    return of_chat({"messages": need(row, "messages"), "tools": row.get("tools")})


SETS = {  # by name: how a row is read, and the domain of its sequences
    "evol-codealpaca": (of_instruction, "code"),
    "magicoder": (of_instruction, "code"),
    "xlam": (of_xlam, "tool"),
    "swe-smith": (of_swe_smith, "agent"),
}


def of_trace(row, requests=None):
    """What an OpenAI-compatible server answered, beside what it was asked: {"request": {...}, "response": {...}}, or a line of a batch's output
    ("body" inside "response"), whose request is found by its custom_id."""
    request = row.get("request") or (requests or {}).get(row.get("custom_id"), row)
    response = row.get("response", {})
    response = response.get("body", response) or {}
    choice = need(response, "choices")[0]
    out = of_chat({"messages": need(request.get("body", request), "messages"), "tools": request.get("body", request).get("tools")})
    if "message" in choice:
        out["messages"].append(normal_message({"role": "assistant"} | choice["message"]))
    out["finish_reason"] = choice.get("finish_reason")
    out["id"] = row.get("custom_id", row.get("id"))
    template = request.get("body", request).get("chat_template_kwargs")
    if template:
        out["template"] = template
    return out


def is_terminating(row):
    """Ended by itself, with something behind its thinking: prompt, thought, answer, end."""
    last = row["messages"][-1]
    content = last.get("content") or ""
    if "</think>" in content:
        content = content.split("</think>", 1)[1]
    elif "<think>" in content:
        return False
    return row.get("finish_reason") in ("stop", "tool_calls") and bool(content.strip() or last.get("tool_calls"))


# ---- Files

def rows_of(path):
    if path.endswith(".parquet"):
        try:
            import pyarrow.parquet
        except ImportError:
            sys.exit(f"prepare: {path}: reading parquet needs pyarrow (pip install pyarrow)")
        yield from enumerate(pyarrow.parquet.read_table(path).to_pylist(), 1)
        return
    with open(path, encoding="utf-8") as file:
        if path.endswith(".json"):
            yield from enumerate(json.load(file), 1)
            return
        for number, line in enumerate(file, 1):
            if line.strip():
                yield number, json.loads(line)


# ---- Tokens

class FileTokenizer:
    """What prepare asks of a tokenizer, from the model's tokenizer.json, tokenizer_config.json and chat template, by tokenizers and jinja2 alone."""

    def __init__(self, folder):
        import tokenizers
        self.backend = tokenizers.Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
        self.backend.no_truncation()
        self.backend.no_padding()
        config = self.json_of(folder, "tokenizer_config.json")
        self.named = {key: value["content"] if isinstance(value, dict) else value for key, value in config.items()
                      if key.endswith("_token") and isinstance(value, (str, dict))}
        self.eos_token_id = self.backend.token_to_id(self.named["eos_token"]) if "eos_token" in self.named else None
        self.templates = self.templates_of(folder, config)

    @staticmethod
    def json_of(folder, name):
        path = os.path.join(folder, name)
        if not os.path.exists(path):
            return {}
        with open(path, encoding="utf-8") as file:
            return json.load(file)

    def templates_of(self, folder, config):
        path = os.path.join(folder, "chat_template.jinja")
        if os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                return {"default": file.read()}
        template = self.json_of(folder, "chat_template.json").get("chat_template", config.get("chat_template"))
        if isinstance(template, list):
            return {each["name"]: each["template"] for each in template}
        return {"default": template} if template else {}

    def __call__(self, text, add_special_tokens):
        return {"input_ids": self.backend.encode(text, add_special_tokens=add_special_tokens).ids}

    def apply_chat_template(self, messages, tools, tokenize, add_generation_prompt, **variables):
        text = self.templates.get("tool_use" if tools and "tool_use" in self.templates else "default")
        if text is None:
            sys.exit("prepare: the tokenizer has no chat template; give --text, or a directory with chat_template.jinja")
        return jinja().from_string(text).render(messages=messages, tools=tools, documents=None,
                                                add_generation_prompt=add_generation_prompt, **(self.named | variables))


@functools.cache
def jinja():
    """As chat templates expect it."""
    import jinja2.ext
    import jinja2.sandbox

    class Generation(jinja2.ext.Extension):
        """{% generation %}: marks what the model writes; nothing changes by it here."""
        tags = {"generation"}

        def parse(self, parser):
            line = next(parser.stream).lineno
            body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
            return jinja2.nodes.Scope(body, lineno=line)

    def fail(message):
        raise jinja2.TemplateError(message)

    def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    out = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, "jinja2.ext.loopcontrols"])
    out.filters["tojson"] = tojson
    out.globals |= {"raise_exception": fail, "strftime_now": lambda how: datetime.datetime.now().strftime(how)}
    return out


def tokenizer_of(folder):
    """transformers knows every tokenizer; most are told by their files."""
    if not os.path.isdir(folder):
        sys.exit(f"prepare: {folder}: is no directory; --tokenizer takes the model's, with tokenizer.json in it")
    try:
        from transformers import AutoTokenizer
        return AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except ImportError:
        pass
    if not os.path.exists(os.path.join(folder, "tokenizer.json")):
        sys.exit(f"prepare: {folder}: has no tokenizer.json; install transformers for other kinds of tokenizer (pip install transformers)")
    try:
        import jinja2  # noqa: F401
        return FileTokenizer(folder)
    except ImportError as missing:
        sys.exit(f"prepare: needs {missing.name} (pip install tokenizers jinja2, or pip install transformers)")


class Encoder:
    def __init__(self, tokenizer, template):
        self.tokenizer = tokenizer
        self.template = template

    def text(self, text):
        return self.tokenizer(text, add_special_tokens=True)["input_ids"]

    def chat(self, row, prompt_only=False):
        options = dict(self.template) | row.get("template", {})
        rendered = self.tokenizer.apply_chat_template(row["messages"], tools=row.get("tools") or None, tokenize=False,
                                                      add_generation_prompt=prompt_only, **options)
        return self.tokenizer(rendered, add_special_tokens=False)["input_ids"]

    def end(self, ids):
        """A finished chat ends with the token that ends a turn; templates leave it to the engine where the model writes it."""
        eos = self.tokenizer.eos_token_id
        return ids if eos is None or ids[-1:] == [eos] else ids + [eos]

    def ids(self, row, finished=False):
        if "text" in row:
            return self.text(row["text"])
        ids = self.chat(row)
        return self.end(ids) if finished else ids


def pack(sequences, length, cut):
    """Sequences of at most `length` tokens. Whole ones share a packed sequence of one domain, first fit; `cut` says what becomes of longer ones:
    parts (consecutive pieces), head, or drop. Packed texts see each other in attention, so packing is off unless asked for."""
    out, open_bins = [], {}
    for s in sequences:
        ids = s["ids"]
        if len(ids) > length:
            if cut == "drop":
                continue
            pieces = [ids[:length]] if cut == "head" else [ids[i:i + length] for i in range(0, len(ids), length)]
            for i, piece in enumerate(pieces):
                out.append(s | {"id": f"{s['id']}.{i}" if len(pieces) > 1 else s["id"], "ids": piece})
            continue
        for other in open_bins.setdefault(s["domain"], []):
            if len(other["ids"]) + len(ids) <= length:
                other["ids"] = other["ids"] + ids
                other["id"] += "+" + s["id"]
                break
        else:
            bin_ = dict(s)
            open_bins[s["domain"]].append(bin_)
            out.append(bin_)
            del open_bins[s["domain"]][:-32]  # first fit over the newest few
    return out


def shorten(sequences, length, cut):
    """The same without packing."""
    out = []
    for s in sequences:
        if len(s["ids"]) <= length:
            out.append(s)
        elif cut != "drop":
            pieces = [s["ids"][:length]] if cut == "head" else [s["ids"][i:i + length] for i in range(0, len(s["ids"]), length)]
            out += [s | {"id": f"{s['id']}.{i}" if len(pieces) > 1 else s["id"], "ids": piece} for i, piece in enumerate(pieces)]
    return out


# ---- The program

def parse(arguments):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--tokenizer", help="directory with tokenizer.json and the chat template (the model's)")
    p.add_argument("--text", action="append", default=[], metavar="FILE", help='rows {"text": ...}')
    p.add_argument("--chat", action="append", default=[], metavar="FILE", help='rows {"messages": [...], "tools": [...]?}, OpenAI or ShareGPT style')
    p.add_argument("--set", action="append", default=[], nargs=2, metavar=("NAME", "FILE"), help="a known set: " + ", ".join(SETS))
    p.add_argument("--traces", action="append", default=[], metavar="FILE", help='rows {"request": ..., "response": ...} of a server')
    p.add_argument("--requests", action="append", default=[], metavar="FILE", help="a batch's input, for --traces that have no requests in them")
    p.add_argument("--requests-for", metavar="FILE", help="write a batch for a server instead: rows as --prompts")
    p.add_argument("--served-name", default="model", help="model named in --requests-for")
    p.add_argument("--temperature", type=float, default=0.6, help="in --requests-for")
    p.add_argument("--top-p", type=float, default=0.95, help="in --requests-for")
    p.add_argument("--prompts", metavar="FILE", help="write prompts instead: rows as --chat, the assistant's last turn left out")
    p.add_argument("--terminating-only", action="store_true", help="of --traces, those that came to their end by themselves")
    p.add_argument("--domain", help="domain of all sequences (default: by kind, or a row's own)")
    p.add_argument("--limit", type=int, help="rows of each file, drawn at random with --seed")
    p.add_argument("--seed", type=int, default=42)
    p.add_argument("--reasoning-effort", help="for templates that take it, such as high or max")
    p.add_argument("--template", action="append", default=[], metavar="KEY=VALUE", help="any other variable of the chat template (VALUE is JSON, or text)")
    p.add_argument("--max-tokens", type=int, default=16384, help="longest sequence")
    p.add_argument("--cut", choices=["parts", "head", "drop"], default="parts", help="what becomes of longer ones")
    p.add_argument("--pack", action="store_true", help="join short sequences of one domain up to --max-tokens")
    p.add_argument("--out", required=True)
    options = p.parse_args(arguments)
    if not options.tokenizer and not options.requests_for:
        p.error("--tokenizer is needed for everything but --requests-for")
    return options


def template_of(options):
    out = {}
    if options.reasoning_effort:
        out["reasoning_effort"] = options.reasoning_effort
    for item in options.template:
        key, _, value = item.partition("=")
        try:
            out[key] = json.loads(value)
        except ValueError:
            out[key] = value
    return out


def sources_of(options):
    """(file, how its rows are read, domain, whether its chats are finished)"""
    for path in options.text:
        yield path, of_text, "text", False
    for path in options.chat:
        yield path, of_chat, "chat", True
    for name, path in options.set:
        if name not in SETS:
            sys.exit(f"prepare: no set '{name}'; there are {', '.join(SETS)}")
        yield (path, *SETS[name], True)
    for path in options.traces:
        yield path, of_trace, "traces", True


def chosen_rows(path, options):
    rows = list(rows_of(path))
    if options.limit is not None and options.limit < len(rows):
        rows = sorted(random.Random(options.seed).sample(rows, options.limit), key=lambda row: row[0])
    return rows


def sequences_of(options, encoder, counts):
    requests = {row.get("custom_id"): row for path in options.requests for _, row in rows_of(path)}
    for path, read, domain, finished in sources_of(options):
        name = path.replace("\\", "/").rsplit("/", 1)[-1].split(".", 1)[0]
        for number, raw in chosen_rows(path, options):
            counts["read"] += 1
            try:
                row = of_trace(raw, requests) if read is of_trace else read(raw)
            except (BadRow, ValueError, KeyError, TypeError, IndexError, AttributeError) as problem:
                sys.exit(f"prepare: {path}: row {number}: {problem}")
            if read is of_trace and options.terminating_only and not is_terminating(row):
                counts["not terminating"] += 1
                continue
            ended = finished and row.get("finish_reason") in (None, "stop", "tool_calls")
            ids = encoder.ids(row, ended)
            if not ids:
                counts["empty"] += 1
                continue
            own = raw.get("domain") if isinstance(raw, dict) else None
            yield {"id": str(row.get("id") or f"{name}-{number}"), "domain": options.domain or own or domain, "ids": ids}


def write_requests(options):
    """A batch as OpenAI defines it: what `vllm run-batch -i` and others read."""
    count = 0
    with open(options.out, "w", encoding="utf-8") as out:
        for number, raw in chosen_rows(options.requests_for, options):
            row = of_chat(raw)
            if row["messages"][-1]["role"] == "assistant":
                row["messages"].pop()
            body = {"model": options.served_name, "temperature": options.temperature, "top_p": options.top_p, "max_tokens": options.max_tokens} | row
            if template_of(options):
                body["chat_template_kwargs"] = template_of(options)
            line = {"custom_id": str(raw.get("id", number)), "method": "POST", "url": "/v1/chat/completions", "body": body}
            out.write(json.dumps(line) + "\n")
            count += 1
    print(f"wrote {count} requests to {options.out}")


def write_prompts(options, encoder):
    count = 0
    with open(options.out, "w", encoding="utf-8") as out:
        for number, raw in chosen_rows(options.prompts, options):
            row = of_chat(raw)
            answer = None
            if row["messages"][-1]["role"] == "assistant":
                answer = row["messages"].pop()["content"]
            line = {"id": str(raw.get("id", number)), "ids": encoder.chat(row, prompt_only=True)}
            if answer:
                line["answer"] = encoder.tokenizer(answer, add_special_tokens=False)["input_ids"]
            out.write(json.dumps(line) + "\n")
            count += 1
    print(f"wrote {count} prompts to {options.out}")


def main(arguments=None):
    options = parse(arguments)
    if options.requests_for:
        return write_requests(options)
    encoder = Encoder(tokenizer_of(options.tokenizer), template_of(options))
    if options.prompts:
        return write_prompts(options, encoder)
    counts = {"read": 0, "not terminating": 0, "empty": 0}
    sequences = list(sequences_of(options, encoder, counts))
    sequences = (pack if options.pack else shorten)(sequences, options.max_tokens, options.cut)
    with open(options.out, "w", encoding="utf-8") as out:
        for s in sequences:
            out.write(json.dumps(s) + "\n")
    left = ", ".join(f"{n} {what}" for what, n in counts.items() if n and what != "read")
    print(f"read {counts['read']} rows{', left out ' + left if left else ''}; wrote {len(sequences)} sequences, "
          f"{sum(len(s['ids']) for s in sequences)} tokens to {options.out}")


if __name__ == "__main__":
    main()
