# SPDX-License-Identifier: Apache-2.0
# The kit's compose file: read by a YAML parser, its script run by bash with a stand-in for vllm, and what would have been served given
# to vLLM's own argument parser.
# usage: serving_options.py docker-compose.yml [--vllm]     (needs pyyaml; with --vllm, vllm)
import json
import os
import re
import subprocess
import sys
import tempfile

import yaml

compose = yaml.safe_load(open(sys.argv[1]))
with_vllm = "--vllm" in sys.argv[2:]
service = compose["services"]["vllm"]
failures = []


def check(condition, what):
    if not condition:
        failures.append(what)


def interpolated(text, given):
    """As compose does it: ${NAME:-default} for unset or empty, ${NAME-default} for unset, $$ for $."""
    def value(match):
        name, colon, default = match.group(1), match.group(2), match.group(3)
        found = given.get(name)
        return default if found is None or (colon and found == "") else found

    text = re.sub(r"(?<!\$)\$\{(\w+)(:?)-([^}]*)\}", value, text)
    return text.replace("$$", "$")


def served(given):
    """The arguments that vllm gets with these variables set."""
    folder = tempfile.mkdtemp()
    with open(f"{folder}/vllm", "w") as stub:
        stub.write('#!/usr/bin/env python3\nimport json, sys\nprint(json.dumps(sys.argv[1:]))\n')
    os.chmod(f"{folder}/vllm", 0o755)
    environment = {key: interpolated(str(value), given) for key, value in service["environment"].items()}
    command = [interpolated(part, given) for part in service["command"]]
    done = subprocess.run([*service["entrypoint"], *command], capture_output=True, text=True, env={"PATH": f"{folder}:{os.environ['PATH']}"} | environment)
    check(done.returncode == 0, f"{given}: {done.stderr}")
    return json.loads(done.stdout)


def option(arguments, name):
    return arguments[arguments.index(name) + 1] if name in arguments else None


default = served({})
small = served({"DCP_SIZE": "1", "MTP": "1", "MAX_MODEL_LEN": "125000", "MODEL_DIR": "/models/x"})
plain = served({"MTP": "0", "INDEX_CACHE": "", "TOOL_PARSER": "", "REASONING_PARSER": "", "EXTRA_ARGS": "--enforce-eager --seed 3"})
check(default[:2] == ["serve", "/model"] and option(default, "--port") == "5001", f"served {default[:2]}")
check(option(default, "--tensor-parallel-size") == "4" and option(default, "--decode-context-parallel-size") == "4", "parallel sizes")
check(json.loads(option(default, "--speculative-config")) == {"method": "mtp", "num_speculative_tokens": 5}, "five drafts")
check(json.loads(option(default, "--hf-overrides"))["use_index_cache"] is True, "the index cache")
check(option(small, "--decode-context-parallel-size") == "1" and option(small, "--max-model-len") == "125000", "overrides")
check(json.loads(option(small, "--speculative-config"))["num_speculative_tokens"] == 1, "one draft")
check("--speculative-config" not in plain and "--hf-overrides" not in plain and "--reasoning-parser" not in plain, "what is switched off")
check(plain[-3:] == ["--enforce-eager", "--seed", "3"], "extra arguments")
check(interpolated(service["volumes"][0], {"MODEL_DIR": "/models/x"}) == "/models/x:/model:ro" and interpolated(service["ports"][0], {}) == "5001:5001", "volume and port")
gpu = service["deploy"]["resources"]["reservations"]["devices"][0]
check(gpu["driver"] == "nvidia" and gpu["capabilities"] == ["gpu"], "cards")
known = {"image", "container_name", "ipc", "restart", "ulimits", "ports", "volumes", "environment", "deploy", "healthcheck", "entrypoint", "command"}
check(set(service) <= known and set(compose) == {"services", "volumes"}, f"keys {set(service) - known}")

if with_vllm:
    os.environ["VLLM_TARGET_DEVICE"] = "cpu"
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    import vllm
    from vllm.entrypoints.common.cli_args import make_arg_parser
    from vllm.reasoning import ReasoningParserManager
    from vllm.tool_parsers import ToolParserManager
    from vllm.utils.argparse_utils import FlexibleArgumentParser
    parser = make_arg_parser(FlexibleArgumentParser())
    for arguments in (default, small, plain):
        parsed = parser.parse_args(arguments[1:])  # ends the program where an option or a value is unknown
        check(parsed.model_tag == "/model" and parsed.tensor_parallel_size == 4, "parsed")
    check(parser.parse_args(default[1:]).decode_context_parallel_size == 4, "decode context parallel")
    tools, thoughts = ToolParserManager.list_registered(), ReasoningParserManager.list_registered()
    check(option(default, "--tool-call-parser") in tools, f"no tool parser; there are {sorted(tools)}")
    check(option(default, "--reasoning-parser") in thoughts, f"no reasoning parser; there are {sorted(thoughts)}")
    print(f"vLLM {vllm.__version__} takes all options")
for failure in failures:
    print("FAILED:", failure, file=sys.stderr)
print(f"{sys.argv[1]}: {len(failures)} failed")
sys.exit(1 if failures else 0)
