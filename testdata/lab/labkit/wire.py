"""A wire made of a process: it carries frames between two veth ends and may spoil them on the way.

A rule is a function (frame, direction, wire) -> frames, where direction is "out" (away from the guest) or "in" and each
returned item is a frame, or (delay in seconds, frame). None means: carry as it is. The rule counts what it does in
wire.count["name"]; the counts come back when the wire is stopped, and are the truth of the case.
"""
import heapq
import multiprocessing
import random
import select
import signal
import socket
import time
from collections import Counter

ETH_P_ALL = 3
PACKET_OUTGOING = 4
_fork = multiprocessing.get_context("fork")


class Wire:
    def __init__(self, node, left, right, rule=None, seed=0):
        self.rule = rule
        self.random = random.Random(seed)
        self.count = Counter()
        self.started = time.monotonic()
        self._frozen = _fork.Value("i", 0)     # bit 1: out held back, bit 2: in held back
        self._mode = _fork.Value("i", 0)       # free for the rule: wire.mode
        self._parent, self._child = _fork.Pipe()
        ready = _fork.Event()
        self._process = _fork.Process(target=self._carry, args=(node, left, right, ready), daemon=True)
        self._process.start()
        ready.wait(5)

    def freeze(self, out=True, into=True):
        self._frozen.value = (1 if out else 0) | (2 if into else 0)

    def thaw(self):
        self._frozen.value = 0

    @property
    def mode(self):
        return self._mode.value

    @mode.setter
    def mode(self, value):
        self._mode.value = value

    def stop(self):
        if self._process:
            self._parent.send("stop")
            self.count = self._parent.recv() if self._parent.poll(5) else Counter()
            self._process.join(5)
            self._process.kill()
            self._process = None
        return self.count

    def _carry(self, node, left, right, ready):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        ends = {}
        for dev, direction in ((left, "out"), (right, "in")):
            s = node.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
            s.bind((dev, ETH_P_ALL))
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUFFORCE if hasattr(socket, "SO_RCVBUFFORCE") else 33, 8 << 20)
            s.setblocking(False)
            ends[direction] = s
        other = {"out": ends["in"], "in": ends["out"]}
        held, later, n = {"out": [], "in": []}, [], 0
        ready.set()
        while True:
            wait = max(0, min(0.01, later[0][0] - time.monotonic())) if later else 0.01
            for s in select.select([*ends.values(), self._child], [], [], wait)[0]:
                if s is self._child:
                    self._child.recv()
                    self._child.send(self.count)
                    return
                direction = "out" if s is ends["out"] else "in"
                for _ in range(64):
                    try:
                        frame, address = s.recvfrom(65600)
                    except BlockingIOError:
                        break
                    if address[2] == PACKET_OUTGOING:
                        continue
                    self.count["carried-" + direction] += 1
                    out = self.rule(frame, direction, self) if self.rule else None
                    for item in [frame] if out is None else out:
                        delay, data = item if isinstance(item, tuple) else (0, item)
                        if delay:
                            n += 1
                            heapq.heappush(later, (time.monotonic() + delay, n, direction, data))
                        else:
                            held[direction].append(data)
            now = time.monotonic()
            while later and later[0][0] <= now:
                _, _, direction, data = heapq.heappop(later)
                # A rule may turn a frame round: ("back", bytes) leaves by the end that it came from.
                held[direction].append(data)
            for direction, bit in (("out", 1), ("in", 2)):
                if held[direction] and not self._frozen.value & bit:
                    for data in held[direction]:
                        back = isinstance(data, tuple)
                        self._send(ends[direction] if back else other[direction], data[1] if back else data)
                    held[direction].clear()

    def _send(self, s, data):
        try:
            s.send(data)
        except OSError:
            self.count["refused"] += 1
