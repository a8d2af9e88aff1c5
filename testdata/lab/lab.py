#!/usr/bin/env python3
"""The fault lab: makes labelled pairs of captures, virbr0.pcap (inside) and uplink.pcap (outside), with a real kernel.

  lab.py --list                               the cases
  lab.py CASE OUTDIR [--param KEY=VALUE ...]  one case, in OUTDIR/CASE
  lab.py all OUTDIR [--match TEXT]            every case (or those whose name holds TEXT)
  lab.py --table OUTDIR                       what OUTDIR holds, as a Markdown table

Needs root (network namespaces); see README.md.
"""
import argparse
import ast
import json
import os
import sys
import time

import cases                                    # noqa: F401  (registers them all)
from labkit.run import CASES, Skip, run_case


def value(text):
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def table(outdir):
    """The truth of each case in OUTDIR, a row for each."""
    print("| case | expected | tolerated besides | truth of this run |\n| --- | --- | --- | --- |")
    for name in sorted(os.listdir(outdir)):
        path = os.path.join(outdir, name, "expect.json")
        if not name.startswith(".") and os.path.exists(path):
            with open(path) as f:
                t = json.load(f)
            wanted = "; ".join(" ".join([f"**{e['id']}**", *(f"{k}={v}" for k, v in e.items() if k != "id")]) for e in t["expect"]) or "nothing"
            print(f"| {name} | {wanted} | {', '.join(t['also'])} | {t['facts']} |")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("case", nargs="?")
    p.add_argument("outdir", nargs="?")
    p.add_argument("--list", action="store_true", help="list the cases and their parameters")
    p.add_argument("--table", metavar="OUTDIR", help="print a Markdown table of the cases that OUTDIR holds")
    p.add_argument("--param", action="append", default=[], metavar="KEY=VALUE")
    p.add_argument("--match", default="", help="with all: only the cases whose name holds this text")
    p.add_argument("--missing", action="store_true", help="with all: only the cases that OUTDIR does not hold yet")
    p.add_argument("--seed", type=int, help="another seed than the case's own")
    o = p.parse_args()
    if o.list:
        for name, (function, params) in CASES.items():
            print(f"{name:34} {' '.join(f'{k}={v}' for k, v in params.items())}")
        return 0
    if o.table:
        table(o.table)
        return 0
    if not (o.case and o.outdir):
        p.error("CASE and OUTDIR are needed (or --list)")
    names = [n for n in CASES if o.match in n] if o.case == "all" else o.case.split(",")
    unknown = [n for n in names if n not in CASES]
    if unknown:
        p.error(f"no such case: {', '.join(unknown)}")
    if os.geteuid():
        p.error("network namespaces need root")
    if o.missing:
        names = [n for n in names if not os.path.exists(os.path.join(o.outdir, n))]
    failed = 0
    for name in names:
        start = time.monotonic()
        try:
            truth = run_case(name, o.outdir, dict((k, value(v)) for k, _, v in (x.partition("=") for x in o.param)), o.seed)
            sizes = [os.path.getsize(os.path.join(o.outdir, name, truth[k])) // 1024 for k in "ab"]
            print(f"{name:34} {time.monotonic() - start:5.1f} s  {sizes[0]:5}/{sizes[1]:<5} KiB  {truth['facts']}", flush=True)
        except Skip as e:
            print(f"{name:34} skipped: {e}", flush=True)
        except Exception as e:                  # one case that cannot be built must not stop the others
            failed += 1
            print(f"{name:34} FAILED: {type(e).__name__}: {e}", file=sys.stderr, flush=True)
            if o.case != "all":
                raise
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
