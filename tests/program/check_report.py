# SPDX-License-Identifier: Apache-2.0
# Reads a page of `cull report` with Python's own parsers and compares what it shows with its inputs.
# usage: check_report.py PAGE [--figures FIGURES.json KEEP] [--eval EVAL.json] [--inspect INSPECT.json PLANNED.json] [--plans A.json B.json] [--planned PLANNED.json]
import json
import math
import re
import sys
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

XHTML = "{http://www.w3.org/1999/xhtml}"
text = open(sys.argv[1], encoding="utf-8").read()
root = ET.fromstring(text)  # well-formed, every tag closed, every entity known
by_id = {e.get("id"): e for e in root.iter() if e.get("id")}
failures = []
checks = 0


def check(condition, what):
    global checks
    checks += 1
    if not condition:
        failures.append(what)


def close(a, b, what, relative=1e-12):
    check(math.isclose(a, b, rel_tol=relative, abs_tol=1e-300), f"{what}: {a} and not {b}")


class Tags(HTMLParser):
    """A second reader, of HTML: the same elements, in the same order, as the reader of XML saw."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.names = []

    def handle_starttag(self, tag, attrs):
        self.names.append(tag)
        for key, value in attrs:
            check(key not in ("src", "srcset", "onclick", "onload"), f"{tag} has {key}")
            check(key != "href" or value.startswith("#"), f"{tag} leads to {value}")


tags = Tags()
tags.feed(text)
check(tags.names == [e.tag.removeprefix(XHTML).lower() for e in root.iter()], "HTML and XML readers see different elements")
ids = [e.get("id") for e in root.iter() if e.get("id")]
check(len(ids) == len(set(ids)), "an id is there twice")
check(not re.search(r"https?://(?!www\.w3\.org/1999/xhtml\")|url\(|@import|fetch\(|XMLHttpRequest|import\(", text), "the page asks the network")
check(len(text.encode()) < 5_000_000, f"{len(text.encode())} bytes are too many")
check("prefers-color-scheme:dark" in text and "width=device-width" in text, "no dark colours, or not for phones")
data = json.loads(by_id["data"].text)


def rows(table):
    """Cells of a table's body: what sorting uses where it is there, else the text."""
    out = []
    for row in by_id[table].find(XHTML + "tbody"):
        out.append([cell.get("data-v") or "".join(cell.itertext()) for cell in row])
    return out


def cells_in(svg):
    return sum(p.get("d").count("M") for p in svg.iter(XHTML + "path") if (p.get("class") or "").startswith("fill-"))


def check_figures(file, keep):
    wanted = json.load(open(file))
    check([layer["layer"] for layer in data["layers"]] == [layer["layer"] for layer in wanted], "other layers")
    table = rows("layers")
    panels = [s for s in root.iter(XHTML + "svg") if s.get("data-chart") == "curve"]
    check(len(panels) == len(wanted), "not a panel per layer")
    for found, want, row, panel in zip(data["layers"], wanted, table, panels):
        name = f"layer {want['layer']}"
        scores = want["scores"]
        check(len(found["scores"]) == len(scores) and found["tokens"] == want["tokens"], f"{name}: tokens")
        for a, b in zip(found["scores"], scores):
            close(a, b, f"{name}: a score", 1e-9)  # the file's sums end at 2^-80
        best = sorted(range(len(scores)), key=lambda e: (-scores[e], e))[:keep]
        check([e for e, kept in enumerate(found["kept"]) if kept] == sorted(best), f"{name}: keep-set")
        dropped = sorted(set(range(len(scores))) - set(best))
        mass = sum(want["mass"][e] for e in dropped) / sum(want["mass"])
        traffic = sum(want["traffic"][e] for e in dropped) / sum(want["traffic"])
        close(found["mass_dropped"], mass, f"{name}: mass", 1e-9)
        close(found["traffic_dropped"], traffic, f"{name}: traffic", 1e-9)
        high, low = scores[best[-1]], max(scores[e] for e in dropped)
        close(found["cut"], (high + low) / 2, f"{name}: cut", 1e-9)
        for value, error, count, e in zip(scores, found["errors"], want["tokens"], range(len(scores))):
            if count:
                close(error, want["errors"][e], f"{name}: error of expert {e}", 1e-4)
        close_ones = sum(1 for s, e in zip(scores, found["errors"]) if e > 0 and abs(s - found["cut"]) <= 1.96 * e)
        check([int(row[0]), int(row[1]), int(row[2])] == [want["layer"], len(scores), keep], f"{name}: row of the table")
        close(float(row[3]), (high - low) / high, f"{name}: margin in the table", 1e-6)
        close(float(row[4]), mass, f"{name}: mass in the table", 1e-9)
        check(abs(int(row[6]) - close_ones) <= 1, f"{name}: {row[6]} close to the cut, not {close_ones}")
        check(int(row[7]) == sum(1 for n in want["tokens"] if n < 32), f"{name}: starving")
        bars = {p.get("class"): p.get("d").count("M") for p in panel.iter(XHTML + "path")}
        check(bars.get("fill-keep") == keep and bars.get("fill-drop") == len(scores) - keep, f"{name}: bars {bars}")
    for svg in root.iter(XHTML + "svg"):
        if svg.get("data-chart") == "heat":
            check(cells_in(svg) == sum(len(layer["scores"]) for layer in wanted), "cells of a heat map")


def check_planned(file):
    """The page says of every layer what `cull plan --json` said."""
    planned = json.load(open(file))
    layers = json.load(open(planned["out"]))["layers"]
    check(len(data["layers"]) == len(planned["cuts"]), "other layers")
    for found, row, cut in zip(data["layers"], rows("layers"), planned["cuts"]):
        name = f"layer {cut['layer']}"
        check(found["layer"] == cut["layer"] and found["scores"] == cut["scores"], f"{name}: scores")
        check([e for e, kept in enumerate(found["kept"]) if kept] == layers[str(cut["layer"])], f"{name}: keep-set")
        check([row[0], row[1], row[2]] == [str(cut["layer"]), str(cut["experts"]), str(cut["keep"])], f"{name}: {row}")
        close(found["margin"], cut["margin"], f"{name}: margin")
        if cut["errors"] is None:  # the plan then judges no expert
            check(not any(found["errors"]) and row[6] == row[8] == "null", f"{name}: errors that nothing gives: {row}")
            continue
        check(any(found["errors"]) and int(row[7]) == len(cut["starving"]), f"{name}: errors, starving")
        for a, b in zip(found["errors"], cut["errors"]):
            close(a, b, f"{name}: an error", 1e-5)
        check(int(row[6]) == len(cut["unsettled"]), f"{name}: {row[6]} close to the cut, not {len(cut['unsettled'])}")
        check(row[8] == ("null" if cut["sequences_to_settle"] is None else str(int(cut["sequences_to_settle"]))), f"{name}: to settle: {row[8]}")


def check_eval(file):
    models = json.load(open(file))
    heads = ["".join(h.itertext()) for h in by_id["quality-table"].iter(XHTML + "th")][1:]
    check(heads == list(models), f"models {heads}")
    found = {}
    for row in rows("quality-table"):
        found[row[0]] = row[1:]
    for at, model in enumerate(models.values()):
        flat = {f"nats, {d}": v for d, v in model["nats"].items()}
        flat |= {k: v for k, v in model.items() if isinstance(v, float)}
        flat |= {f"acceptance_length, {k}": v for k, v in (model["acceptance_length"] or {}).items()}
        for figure in ("kl", "top1") if model["versus"] else ():
            versus = model["versus"]
            flat |= {figure: versus[figure]} | {f"{figure}, {d}": v[figure] for d, v in versus["by_domain"].items()}
            flat |= {f"{figure}_by_part, {p} </think>": v[figure] for p, v in versus["by_part"].items()}
            for first, v in versus["by_position"].items():
                flat[f"{figure}_by_position, {first} to {max(15, 2 * int(first) - 1)}"] = v[figure]
        check(len(flat) >= 9, f"{len(flat)} figures of model {at}")
        for key, value in flat.items():
            close(float(found[key][at]), value, f"{key} of model {at}")


def check_bytes(inspect, planned):
    ledger = json.load(open(inspect))["ledger"]
    plan = json.load(open(planned))
    found = rows("ledger-table")
    check([[r[0], int(r[1])] for r in found] == [[r["role"], r["bytes"]] for r in ledger["rows"]], "bytes by role")
    check(sum(int(r[1]) for r in found) == plan["bytes_before"], "bytes before")
    check(sum(int(r[2]) for r in found) == plan["bytes_after"], "bytes after")


def check_plans(first, second):
    a, b = (json.load(open(f))["layers"] for f in (first, second))
    for row, layer in zip(rows("plans-1"), a):
        x, y = set(a[layer]), set(b[layer])
        check(int(row[0]) == int(layer) and int(row[2]) == len(x - y) and int(row[3]) == len(y - x), f"plans, layer {layer}: {row}")
        close(float(row[1]), len(x & y) / len(x | y), f"plans, layer {layer}: Jaccard")


arguments = sys.argv[2:]
while arguments:
    what = arguments.pop(0)
    if what == "--figures":
        check_figures(arguments.pop(0), int(arguments.pop(0)))
    elif what == "--planned":
        check_planned(arguments.pop(0))
    elif what == "--eval":
        check_eval(arguments.pop(0))
    elif what == "--inspect":
        check_bytes(arguments.pop(0), arguments.pop(0))
    elif what == "--plans":
        check_plans(arguments.pop(0), arguments.pop(0))
for failure in failures[:10]:
    print("FAILED:", failure, file=sys.stderr)
print(f"{checks} checks of {sys.argv[1].rsplit('/', 1)[-1]}, {len(failures)} failed")
sys.exit(1 if failures else 0)
