"""The captures themselves: edges, filters, formats, clocks, tcpdump's own losses. The network is healthy unless the name says otherwise."""
import json
import os
import signal
import struct
import subprocess
import threading
import time

from labkit.run import CASES, case
from labkit.traffic import Echo


def busy(run, n, seconds, pause=0.03):
    t, u = [run.tcp(443), run.tcp(8443)], run.udp(5004)
    e = Echo(n.guest, n.server_address, 99)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for x in t:
            assert x.exchange(200, 900)
        assert u.exchange()
        e.send()
        time.sleep(pause)
    e.collect()
    for x in t:
        x.finish()


@case("ok_edges_b_late", b=(1.2, None))
@case("ok_edges_a_late", a=(1.0, None))
@case("ok_edges_a_early_end", a=(0, 1.5))
@case("ok_edges_b_inside_a", b=(0.8, 2.9), a=(0, None))
@case("ok_edges_overlap", a=(0, 3.0), b=(1.0, None))
@case("ok_edges_no_overlap", a=(0, 1.7), b=(2.0, None))
def edges(run, a=(0, None), b=(0, None)):
    """The two captures start and stop at different moments, in full traffic (A from/to {a}, B from/to {b} s): nothing was lost."""
    n = run.network()
    work = threading.Thread(target=busy, args=(run, n, 3.2), daemon=True)
    plan = sorted([(a[0], "start", "a"), (b[0], "start", "b")] + [(x[1] if x[1] else 5.2, "stop", p) for p, x in (("a", a), ("b", b))])
    open(f"{run.folder}/conntrack.log", "w").close()
    began, running = time.monotonic() - 0.2, {}
    started = False
    for when, what, point in plan:
        time.sleep(max(0, began + 0.2 + when - time.monotonic()))
        if what == "start":
            running[point] = run.tcpdump(point)
        else:
            run.end_tcpdump(running[point])
        if not started:
            work.start()
            started = True
    work.join(10)
    return dict(facts=f"A from/to {a}, B from/to {b} seconds of 3.2 s traffic (None: to the end); a capture that ends at once also lacks its last block")


@case("ok_filter_b_port443", b_filter="arp or tcp port 443")
@case("ok_filter_b_no_icmp", b_filter="not icmp")
@case("ok_filter_a_host", a_filter="host 198.51.100.7")
@case("ok_filter_a_tcp_b_udp", a_filter="tcp", b_filter="tcp port 8443")
@case("ok_filter_b_inbound_only", b_filter="inbound")
def filters(run, a_filter="", b_filter=""):
    """The captures were taken with different filters (A: '{a_filter}', B: '{b_filter}'): what one of them lacks was not lost."""
    n = run.network(more_servers=("198.51.100.8",))
    with run.capture(a_filter=f"'{a_filter}'", b_filter=f"'{b_filter}'"):
        other = run.tcp(443, address="198.51.100.8")
        other.exchange(times=10, pause=0.02)
        busy(run, n, 1.5)
        other.finish()
    return dict(facts=f"filters: A '{a_filter}', B '{b_filter}'")


@case("ok_capture_drops_b", point="b")
@case("ok_capture_drops_a", point="a")
@case("ok_capture_drops_b_tcp", point="b", protocol="tcp")
def own_drops(run, point, protocol="udp"):
    """tcpdump at one point ({point}) has a tiny buffer and is halted for a moment in a burst: the kernel drops packets of that capture, the network none."""
    run.network()
    small = "-B 128 -s 96"
    with run.capture(small if point == "a" else "-s 96", small if point == "b" else "-s 96", drops_expected=True) as dumps:
        t, u = run.tcp(443), run.udp(5004)
        t.exchange(times=20, pause=0.02), u.exchange(times=5, pause=0.02)
        time.sleep(1.2)
        victim = dumps[0 if point == "a" else 1]
        victim.send_signal(signal.SIGSTOP)
        if protocol == "udp":   # beside it a conversation: what one end answers, the other must have said
            t.talk(0.02)
            u.flood(u.c, [300, 500], 1500, 1.5)
        else:
            t.bulk(t.s, 2500000, rate=1800000, chunk=14480).join(6)
        victim.send_signal(signal.SIGCONT)
        time.sleep(0.7)
    dropped = run.capture_report[point]
    assert dropped, "tcpdump dropped nothing"
    return dict(facts=f"tcpdump at {point} reported {dropped} packets dropped by kernel; none was lost on the network")


@case("ok_snap96", a="-s 96", b="-s 96")
@case("ok_snap_differs", a="", b="-s 80")
@case("ok_snap68_gso", a="-s 68", b="-s 68", gso=True)
def snap(run, a, b, gso=False):
    """Captured with a short snap length (A '{a}', B '{b}')."""
    n = run.network(gso=gso)
    with run.capture(a, b):
        t = run.tcp(8080)
        assert t.up(60000) and t.down(60000)
        t.finish()
        busy(run, n, 1)
    return dict(facts="healthy")


@case("ok_duplicate_capture_a", point="a")
@case("ok_duplicate_capture_b", point="b")
def duplicate_capture(run, point):
    """Every packet is in one file ({point}) twice, because it was captured on two interfaces or twice on one: an artefact of the capture."""
    n = run.network()
    node, dev = (n.host, "vnet1") if point == "a" else (n.b_node, "uplink")
    second = node.popen(f"tcpdump -Z root -n -i {dev} -w {run.folder}/second.pcap", stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    second.stderr.readline()
    with run.capture():
        busy(run, n, 1.5)
    second.send_signal(signal.SIGINT)
    second.wait(5)
    name = f"{run.folder}/{run.a if point == 'a' else run.b}"
    os.rename(name, f"{run.folder}/first.pcap")
    subprocess.run(["mergecap", "-F", "pcap", "-w", name, f"{run.folder}/first.pcap", f"{run.folder}/second.pcap"], check=True)
    os.remove(f"{run.folder}/first.pcap"), os.remove(f"{run.folder}/second.pcap")
    return dict(facts=f"{point} is the merge of two captures of the same link")


@case("ok_any_sll2", point="b")
@case("ok_any_sll2_a", point="a")
def any_device(run, point):
    """One point ({point}) was captured with -i any (cooked, SLL2), limited to the one interface."""
    n = run.network()
    dev = "virbr0" if point == "a" else "uplink"
    index = json.loads(n.host(f"ip -j link show {dev}"))[0]["ifindex"]
    with run.capture(**{f"{point}_dev": "any", f"{point}_filter": f"'ifindex {index}'"}):
        busy(run, n, 1.5)
    return dict(facts=f"{point} is SLL2, ifindex {index} only; healthy")


# -- the same pairs in other clothes ------------------------------------------------------------------------------------

def records(path):
    """(header fields, packet records) of a little-endian classic capture file."""
    data = open(path, "rb").read()
    magic, *head = struct.unpack("<IHHiIII", data[:24])
    assert magic == 0xA1B2C3D4
    at, out = 24, []
    while at + 16 <= len(data):
        s, f, caplen, length = struct.unpack("<IIII", data[at:at + 16])
        out.append((s, f, length, data[at + 16:at + 16 + caplen]))
        at += 16 + caplen
    return head, out


def swapped(path):
    head, rows = records(path)
    with open(path, "wb") as f:
        f.write(struct.pack(">IHHiIII", 0xA1B2C3D4, *head))
        for s, frac, length, data in rows:
            f.write(struct.pack(">IIII", s, frac, len(data), length) + data)


def nanoseconds(path):
    head, rows = records(path)
    with open(path, "wb") as f:
        f.write(struct.pack("<IHHiIII", 0xA1B23C4D, *head))
        for s, frac, length, data in rows:
            f.write(struct.pack("<IIII", s, frac * 1000 + 123, len(data), length) + data)


def truncated(path):
    """The last record loses its second half, as when the disk is full or the file is copied while it grows."""
    _, rows = records(path)
    with open(path, "r+b") as f:
        f.truncate(os.path.getsize(path) - max(1, len(rows[-1][3]) // 2))


def pcapng(path):
    subprocess.run(["editcap", "-F", "pcapng", path, path + ".tmp"], check=True)
    os.rename(path + ".tmp", path)


def shift(path, seconds):
    subprocess.run(["editcap", "-F", "pcap", "-t", str(seconds), path, path + ".tmp"], check=True)
    os.rename(path + ".tmp", path)


def ring(path):
    """A folder of files, as tcpdump -C leaves them."""
    folder = path.removesuffix(".pcap")
    os.mkdir(folder)
    subprocess.run(["editcap", "-F", "pcap", "-c", "40", path, f"{folder}/ring.pcap"], check=True)
    os.remove(path)
    return os.path.basename(folder)


def gzipped(path):
    subprocess.run(["gzip", "-n", path], check=True)
    return os.path.basename(path) + ".gz"


def same(path):
    """As it is: only the arguments differ (the case is run with --conntrack)."""


VARIANTS = {
    "with_log": (same, same),
    "pcapng": (pcapng, pcapng), "nano": (nanoseconds, nanoseconds), "nano_one": (None, nanoseconds), "swapped": (swapped, None), "truncated": (truncated, truncated),
    "ahead37": (None, lambda p: shift(p, 37)), "behind3600": (None, lambda p: shift(p, -3600)), "half_second": (lambda p: shift(p, -0.5), None),
    "ring": (ring, ring), "gzip": (gzipped, gzipped), "pcapng_mixed": (pcapng, nanoseconds),
}
WORN = [("rst_host_5flows", "pcapng swapped nano_one ahead37 behind3600 half_second truncated ring pcapng_mixed with_log gzip"),
        ("loss_tcp_out", "pcapng swapped ahead37 behind3600 ring nano"),
        ("quic_expiry", "ahead37 swapped pcapng_mixed with_log"),
        ("pmtu_not_relayed_1400", "behind3600 nano pcapng"),
        ("ok_mix_three_guests", "pcapng swapped nano ahead37 behind3600 half_second truncated ring"),
        ("sync_flush_invalid_dropped", "with_log"),
        ("ok_idle", "ahead37 behind3600 with_log")]


def worn(base, how):
    @case(f"{base}__{how}", base=base, how=how)
    def variant(run, base, how):
        """The case {base}, made anew and then turned into: {how}."""
        function, params = CASES[base]
        truth = function(run, **params)
        for point, turn in zip("ab", VARIANTS[how]):
            if turn:
                name = turn(f"{run.folder}/{getattr(run, point)}")
                if name:
                    setattr(run, point, name)
        if how == "with_log":
            run.args = ["--conntrack", "{}/conntrack.log"]
        return {**truth, "facts": f"{truth['facts']}; files: {how}"}


for _base, _hows in WORN:
    for _how in _hows.split():
        worn(_base, _how)
