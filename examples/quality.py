# SPDX-License-Identifier: Apache-2.0
"""The quality of the shipped model after pruning, as a page: called by quality.sh."""
import argparse
import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys
import tempfile

DATA = pathlib.Path("tests/data/tiny-glm")
CRITERIA = ["reap", "frequency", "ean_mean", "ean_sum", "weighted_ean_sum", "weighted_frequency", "max_norm", "easy_ep", "leave_one_out"]
CALIBRATIONS = {
    "code": ["--data", DATA / "calibration/code.jsonl"],
    "term": ["--data", DATA / "calibration/code.jsonl", "--data", DATA / "calibration/traces.jsonl", "--emphasize", "262:16:6"],
}
KEEPS = [56, 48, 42, 32]
DOMAINS = ["code", "math", "prose", "text", "tool"]
TORCH_KEEP = 42  # the number of experts that oracle/quality.json is about


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--cull", default="build/run/examples/cull")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("docs/quality.md"))
    parser.add_argument("--json", type=pathlib.Path, help="also write all figures here")
    parser.add_argument("--figures", type=pathlib.Path, help="make the page from such figures, without measuring")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="evaluations at once; no figure depends on it")
    return parser.parse_args()


def cull(program, *words):
    done = subprocess.run([program, *map(str, words), "--json"], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{done.stderr}failed: {program} {' '.join(map(str, words))}")
    return json.loads(done.stdout)


def prune(program, model, work):
    """Every variant as a directory, by name: CRITERION-CALIBRATION-KEEP, random-KEEP."""
    for name, data in CALIBRATIONS.items():
        cull(program, "calibrate", model, *data, "--leave-one-out", "--out", work / f"{name}.obs")
    out = {}
    for keep in KEEPS:
        variants = {f"random-{keep}": ["--criterion", "random", "--seed", 1]}
        for calibration in CALIBRATIONS:
            for criterion in CRITERIA:
                variants[f"{criterion}-{calibration}-{keep}"] = [work / f"{calibration}.obs", "--criterion", criterion]
        for name, words in variants.items():
            cull(program, "plan", model, *words, "--keep", keep, "--out", work / f"{name}.json")
            cull(program, "apply", model, work / f"{name}.json", "--out", work / name)
            out[name] = work / name
    return out


def measure(program, work, jobs):
    """Figures of the whole model and of every variant, by name. A process evaluates its share on one thread, beside the whole model."""
    model = DATA / "model"
    columns = [f"{name}={path}" for name, path in prune(program, model, work).items()]
    questions = ["--data", DATA / "eval/heldout.jsonl", "--prompts", DATA / "eval/prompts.jsonl"]

    def share(number):
        return cull(program, "eval", f"full={model}", *columns[number::jobs], *questions, "--threads", 1)

    figures = {}
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        for some in pool.map(share, range(jobs)):
            if figures and some["full"] != figures["full"]:
                sys.exit("the whole model was evaluated twice, and the figures differ")
            figures |= some
    return figures


def check_against_torch(figures):
    """Largest differences from what torch measured on the same keep-sets; raises where they are no longer rounding."""
    torch = json.loads((DATA / "oracle/quality.json").read_text())
    worst = {"nats": 0.0, "mtp_agreement": 0.0, "prompts": 0.0}
    compared = 0
    for name, wanted in torch.items():
        ours = figures.get(name if name == "full" else f"{name}-{TORCH_KEEP}")
        if ours is None or name == "random":  # torch's random keep-sets are others
            continue
        compared += 1
        for domain in DOMAINS:
            worst["nats"] = max(worst["nats"], abs(ours["nats"][domain] - wanted[domain]))
        worst["mtp_agreement"] = max(worst["mtp_agreement"], abs(ours["mtp_agreement"] - wanted["mtp_agreement"]))
        for rate in ("terminated", "answer_correct"):
            if rate in wanted:
                worst["prompts"] = max(worst["prompts"], abs(ours[rate] - wanted[rate]))
    if compared != 11 or worst["nats"] > 1e-5 or worst["mtp_agreement"] > 1e-4 or worst["prompts"] > 0.0101:
        raise SystemExit(f"not what torch measured: {compared} variants, {worst}")
    return compared, worst


def percent(figure, name):
    if figure[name] is None:
        return "-"
    low, high = figure["intervals"][name]
    return f"{100 * figure[name]:.0f} [{100 * low:.0f}, {100 * high:.0f}]"


def number(value, interval, digits):
    return f"{value:.{digits}f} [{interval[0]:.{digits}f}, {interval[1]:.{digits}f}]"


def row(name, figure):
    cells = [number(figure["nats"][d], figure["intervals"]["nats"][d], 3) for d in DOMAINS]
    versus = figure["versus"]
    cells.append("0" if versus is None else number(versus["kl"], versus["intervals"]["kl"], 3))
    cells.append("100" if versus is None else percent(versus, "top1"))
    cells += [percent(figure, n) for n in ("terminated", "answer_correct", "looped", "mtp_agreement")]
    cells.append(number(figure["new_tokens"], figure["intervals"]["new_tokens"], 0))
    drafts = figure["acceptance_length"]
    cells.append("-" if drafts is None else number(drafts["5"], figure["intervals"]["acceptance_length"]["5"], 2))
    return f"| {name} | " + " | ".join(cells) + " |"


def table(rows):
    head = [f"nats, {d}" for d in DOMAINS] + ["KL", "same token, %", "terminated, %", "correct, %", "loops, %", "MTP agrees, %", "new tokens", "tokens per run, 5 drafts"]
    return "\n".join(["| variant | " + " | ".join(head) + " |", "|---" * (len(head) + 1) + "|", *rows])


def apart(a, b):
    """Whether two intervals do not touch, and which value is larger: 1, -1, or 0 where they do."""
    if a[0] > b[1]:
        return 1
    return -1 if a[1] < b[0] else 0


QUESTIONS = [  # name, where the value is, whether more is better
    *[(f"nats, {d}", lambda f, d=d: (f["nats"][d], f["intervals"]["nats"][d]), False) for d in DOMAINS],
    ("KL to the whole model", lambda f: (f["versus"]["kl"], f["versus"]["intervals"]["kl"]), False),
    ("terminated", lambda f: (f["terminated"], f["intervals"]["terminated"]), True),
    ("answers correct", lambda f: (f["answer_correct"], f["intervals"]["answer_correct"]), True),
]


def verdicts(figures, pairs):
    """Per question how often the first of a pair is better, worse, and better or worse beyond both intervals."""
    lines = ["| figure | better | clearly | worse | clearly |", "|---|---|---|---|---|"]
    for name, get, more in QUESTIONS:
        better = worse = surely_better = surely_worse = 0
        for first, second in pairs:
            (a, range_a), (b, range_b) = get(figures[first]), get(figures[second])
            sign = (a > b) - (a < b)
            sure = apart(range_a, range_b)
            if not more:
                sign, sure = -sign, -sure
            better += sign > 0
            worse += sign < 0
            surely_better += sure > 0
            surely_worse += sure < 0
        lines.append(f"| {name} | {better} of {len(pairs)} | {surely_better} | {worse} of {len(pairs)} | {surely_worse} |")
    return "\n".join(lines)


def claim(figures):
    lines = ["| experts kept | terminated, code | terminated, term | correct, code | correct, term | nats on code, code | nats on code, term |", "|---" * 7 + "|"]
    for keep in KEEPS:
        code, term = figures[f"reap-code-{keep}"], figures[f"reap-term-{keep}"]
        cells = [percent(f, n) for n in ("terminated", "answer_correct") for f in (code, term)]
        cells += [number(f["nats"]["code"], f["intervals"]["nats"]["code"], 3) for f in (code, term)]
        lines.append(f"| {keep} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def page(figures, compared, worst):
    others = [c for c in CRITERIA if c != "reap"]
    reap_pairs = [(f"reap-{s}-{k}", f"{c}-{s}-{k}") for c in others for s in CALIBRATIONS for k in KEEPS]
    term_pairs = [(f"{c}-term-{k}", f"{c}-code-{k}") for c in CRITERIA for k in KEEPS]
    sections = []
    for keep in KEEPS:
        rows = [row("whole model", figures["full"])]
        for calibration in CALIBRATIONS:
            rows += [row(f"{c}, {calibration}", figures[f"{c}-{calibration}-{keep}"]) for c in CRITERIA]
        rows.append(row("random", figures[f"random-{keep}"]))
        sections.append(f"### {keep} of 64 experts\n\n{table(rows)}")
    return f"""# What pruning costs: the shipped model, measured

Made by `./examples/quality.sh`; do not edit. The model is `tests/data/tiny-glm` (64 experts a layer, top-8); held-out texts of five
domains and 100 prompts that it was not calibrated on. *code* calibrates on code and tool use; *term* adds the model's own terminating
traces and counts the tokens around `</think>` six times. In brackets: 95 % intervals, of shares of prompts by Wilson's score, of all
else by 2,000 bootstrap draws over sequences. They say how sure the figures are for texts like these; they say nothing about
other models, and a model of this size tells criteria apart less well, or otherwise, than one of 750 billion parameters may.

Where torch has measured the same keep-sets ({compared} variants, `oracle/quality.json`), the largest differences are
{worst['nats']:.1e} nats, {100 * worst['mtp_agreement']:.3f} % of MTP agreement and {100 * worst['prompts']:.0f} % of prompts.

## Does calibrating on terminating traces keep termination, and what does it cost on code?

The claim of the reference model's card, with REAP:

{claim(figures)}

The same question over all {len(CRITERIA)} criteria and {len(KEEPS)} numbers of experts: is *term* better than *code*? "Clearly" where
the intervals do not touch.

{verdicts(figures, term_pairs)}

## Is REAP better than other criteria?

Over {len(others)} others, both calibrations and all numbers of experts:

{verdicts(figures, reap_pairs)}

One by one, on prompts answered correctly and KL to the whole model (better / worse of {len(CALIBRATIONS) * len(KEEPS)}; clearly in brackets):

{one_by_one(figures, others)}

## All figures

`nats`: per token of held-out text. `KL`: nats from the whole model's predictions. `same token`: likeliest next token is the whole
model's. `loops`: one run of 8 tokens occurs 4 times. `tokens per run`: with the MTP layer drafting five tokens.

""" + "\n\n".join(sections) + "\n"


def one_by_one(figures, others):
    lines = ["| REAP against | correct | KL |", "|---|---|---|"]
    by_name = {name: (get, more) for name, get, more in QUESTIONS}
    for other in others:
        cells = []
        for question in ("answers correct", "KL to the whole model"):
            get, more = by_name[question]
            counts = [0, 0, 0, 0]
            for calibration in CALIBRATIONS:
                for keep in KEEPS:
                    (a, range_a), (b, range_b) = (get(figures[f"{c}-{calibration}-{keep}"]) for c in ("reap", other))
                    sign, sure = (a > b) - (a < b), apart(range_a, range_b)
                    if not more:
                        sign, sure = -sign, -sure
                    counts = [n + hit for n, hit in zip(counts, (sign > 0, sure > 0, sign < 0, sure < 0))]
            cells.append(f"{counts[0]} ({counts[1]}) / {counts[2]} ({counts[3]})")
        lines.append(f"| {other} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main():
    wanted = arguments()
    if wanted.figures:
        figures = json.loads(wanted.figures.read_text())
    else:
        with tempfile.TemporaryDirectory() as work:
            figures = measure(wanted.cull, pathlib.Path(work), max(1, wanted.jobs))
    compared, worst = check_against_torch(figures)
    if wanted.json:
        wanted.json.write_text(json.dumps(figures, indent=1) + "\n")
    wanted.out.parent.mkdir(parents=True, exist_ok=True)
    wanted.out.write_text(page(figures, compared, worst))
    print(f"{len(figures)} variants; wrote {wanted.out}")


if __name__ == "__main__":
    main()
