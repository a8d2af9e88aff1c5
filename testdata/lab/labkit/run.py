"""The registry of cases, and one run: the network, the captures, and what was true."""
import inspect
import json
import os
import random
import re
import shutil
import signal
import subprocess
import time
import zlib
from contextlib import contextmanager

from . import traffic
from .net import Net
from .wire import Wire

CASES = {}


def case(name, **params):
    """Registers a function as a case; may be stacked, one name for each set of parameters."""
    def register(function):
        if name in CASES:
            raise ValueError(f"two cases are named {name}")
        CASES[name] = (function, params)
        return function
    return register


def finding(id, **fields):
    """One expected finding, in the words of the JSON report."""
    return {"id": id, **fields}


class Skip(Exception):
    """The machine cannot build this case."""


class Run:
    def __init__(self, name, folder, seed):
        self.name, self.folder = name, folder
        self.seed = seed if seed is not None else zlib.crc32(name.encode())
        self.random = random.Random(self.seed)
        self.net, self.closers, self.wires, self.capture_report = None, [], [], {}
        self.args, self.a, self.b = [], "virbr0.pcap", "uplink.pcap"

    # -- building ---------------------------------------------------------------------------------------------------
    def network(self, **options):
        return Net(self, **options)

    def wire(self, place, rule=None):
        """Starts the wire of a place named in network(wires=...)."""
        w = Wire(*self.net.wire_ends(place), rule, seed=self.seed)
        self.wires.append(w)
        return w

    def tcp(self, *args, **kw):
        return self._keep(traffic.Tcp(self, *args, **kw))

    def udp(self, *args, **kw):
        return self._keep(traffic.Udp(self, *args, **kw))

    def quic(self, *args, **kw):
        return self._keep(traffic.Quic(self, *args, **kw))

    def _keep(self, thing):
        self.closers.append(thing.release)
        return thing

    # -- capturing --------------------------------------------------------------------------------------------------
    def tcpdump(self, point, path=None, dev=None, options="", filter=""):
        """Starts a capture and waits until it runs. point: a or b."""
        node = self.net.host if point == "a" else self.net.b_node
        dev = dev or ("virbr0" if point == "a" else self.net.b_dev)
        path = f"{self.folder}/{path or (self.a if point == 'a' else self.b)}"
        p = node.popen(f"tcpdump -Z root -n -i {dev} -w {path} {options} {filter}", stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        p.point, p.told = point, ""
        while "listening on" not in p.told:
            line = p.stderr.readline()
            if not line:
                raise RuntimeError("tcpdump: " + p.told)
            p.told += line
        return p

    def end_tcpdump(self, p):
        p.send_signal(signal.SIGINT)
        p.told += p.stderr.read()
        p.wait(10)
        drops = re.search(r"(\d+) packets? dropped by kernel", p.told)
        self.capture_report[p.point] = int(drops[1]) if drops else None

    @contextmanager
    def capture(self, a="", b="", a_filter="", b_filter="", a_dev=None, b_dev=None, a_file=None, b_file=None, drops_expected=False):
        """Captures at both points, with conntrack's events beside them, while the body runs."""
        log = open(f"{self.folder}/conntrack.log", "w")
        events = self.net.host.popen("conntrack -E -o timestamp", stdout=log, stderr=subprocess.DEVNULL)
        dumps = []
        try:
            time.sleep(0.1)
            dumps.append(self.tcpdump("a", a_file, a_dev, a, a_filter))
            dumps.append(self.tcpdump("b", b_file, b_dev, b, b_filter))
            time.sleep(0.1)
            yield dumps
        finally:
            time.sleep(1.4)     # tcpdump is handed its packets in blocks, once a second
            for p in dumps:
                if p.poll() is None:
                    self.end_tcpdump(p)
            events.send_signal(signal.SIGINT)
            events.wait(5)
            log.close()
        if not drops_expected and any(self.capture_report.values()):
            raise RuntimeError(f"tcpdump dropped packets: {self.capture_report}")

    def stop_wires(self):
        for w in self.wires:
            w.stop()

    def close(self):
        for close in reversed(self.closers):
            try:
                close()
            except OSError:
                pass
        self.stop_wires()
        if self.net:
            self.net.close()


def run_case(name, outdir, overrides=None, seed=None):
    """Builds one case in OUTDIR/NAME; the folder appears only when it is whole. Returns its truth."""
    function, params = CASES[name]
    params = {**params, **(overrides or {})}
    work = os.path.join(os.path.abspath(outdir), f".making-{name}-{os.getpid()}")
    shutil.rmtree(work, ignore_errors=True)
    os.makedirs(work)
    run = Run(name, work, seed)
    try:
        try:
            truth = function(run, **params)
        finally:
            run.close()
        known = {k: v.default for k, v in inspect.signature(function).parameters.items() if v.default is not inspect.Parameter.empty}
        about = truth.pop("about", None)
        about = about or inspect.cleandoc(function.__doc__).replace("\n", " ").format(**{**known, **params})
        expect = {"case": name, "a": run.a, "b": run.b, "about": about, "facts": truth.pop("facts"),
                  "expect": truth.pop("expect", []), "also": truth.pop("also", [])}
        if run.args:
            expect["args"] = run.args
        if truth:
            raise ValueError(f"unknown fields of truth: {list(truth)}")
        with open(f"{work}/expect.json", "w") as f:
            json.dump(expect, f, indent=1)
        final = os.path.join(outdir, name)
        shutil.rmtree(final, ignore_errors=True)
        os.rename(work, final)
        return expect
    finally:
        shutil.rmtree(work, ignore_errors=True)
