"""Checksums: damaged on the way, or never finished."""
import socket
import time

from labkit.run import case, finding


def damage(way, percent, protocol=6, header=False, port=None):
    """Flips one bit of the payload (or of the IP header's TTL) in some packets of one direction, while wire.mode is 1."""
    def rule(frame, direction, wire):
        if wire.mode and direction == way and len(frame) > 150 and frame[12:14] == b"\x08\0" and frame[23] == protocol and wire.random.random() < percent / 100:
            wire.count["damaged"] += 1
            at = 22 if header else 14 + 20 + 40 + wire.random.randrange(40)
            return [frame[:at] + bytes([frame[at] ^ (1 << wire.random.randrange(1, 7))]) + frame[at + 1:]]
    return rule


@case("corrupt_between_out_tcp", way="out", mode="nat", port=8443)
@case("corrupt_between_in_routed", way="in", mode="route", port=443)
@case("corrupt_between_in_bridged", way="in", mode="bridge", port=80)
@case("corrupt_between_in_nat", way="in", mode="nat", port=443)
def corrupt_tcp(run, way, mode, port, percent=4, total=240000):
    """One bit flips in {percent} % of the TCP data packets ({way}) on a {mode} host, after the first point has seen them whole."""
    run.network(mode=mode, wires=("between",))
    w = run.wire("between", damage(way, percent))
    with run.capture():
        t = run.tcp(port)
        t.exchange()
        w.mode = 1
        t.bulk(t.c if way == "out" else t.s, total, rate=total / 3, chunk=5600).join(20)
        time.sleep(1)
        w.mode = 0
        t.finish()
    count = w.stop()["damaged"]
    assert count >= 4, count
    if way == "in" and mode == "nat":   # conntrack calls them INVALID, and the host's own stack drops them: virbr0 never sees them
        return dict(facts=f"{count} packets damaged behind the uplink's capture point; conntrack refuses them, so virbr0 lacks them and no capture holds a wrong checksum",
                    expect=[finding("one-sided-retransmission", where="between", direction="inbound")], also=["transit-loss", "bad-checksum"])
    return dict(facts=f"{count} packets damaged between the points, each retransmitted",
                expect=[finding("bad-checksum", where="between", cause="corrupted", packets=count)], also=["retransmission", "one-sided-retransmission"])


@case("corrupt_between_out_udp", way="out", port=5004)
@case("corrupt_between_in_udp_routed", way="in", port=5004, mode="route")
def corrupt_udp(run, way, port, mode="nat"):
    """One bit flips in 5 % of the datagrams of a UDP stream ({way}) between the points."""
    run.network(mode=mode, wires=("between",))
    w = run.wire("between", damage(way, 5, protocol=17))
    with run.capture():
        t = run.udp(port)
        t.exchange(100, 100, times=3, pause=0.05)
        w.mode = 1
        sent = t.flood(t.c if way == "out" else t.s, [300, 500], 100, 4)
        time.sleep(0.3)
        w.mode = 0
    count = w.stop()["damaged"]
    return dict(facts=f"{count} of {sent} datagrams damaged between the points",
                expect=[finding("bad-checksum", where="between", cause="corrupted", packets=count)])


def launder(way, percent, ipv6, udp):
    """Flips one bit of the payload and makes the checksum right again, as a device does that takes the sum over what it holds."""
    ethertype, protocol, l4 = (b"\x86\xdd", 20, 54) if ipv6 else (b"\x08\0", 23, 34)

    def rule(frame, direction, wire):
        if wire.mode and direction == way and len(frame) > 150 and frame[12:14] == ethertype and frame[protocol] == (17 if udp else 6) and wire.random.random() < percent / 100:
            wire.count["damaged"] += 1
            data = bytearray(frame)
            at, check = l4 + (8 if udp else 32) + 2 * wire.random.randrange(20), l4 + (6 if udp else 16)
            before = int.from_bytes(data[at:at + 2], "big")
            data[at] ^= 1 << wire.random.randrange(1, 7)
            total = (~int.from_bytes(data[check:check + 2], "big") & 0xFFFF) + (~before & 0xFFFF) + int.from_bytes(data[at:at + 2], "big")    # RFC 1624
            while total >> 16:
                total = (total & 0xFFFF) + (total >> 16)
            data[check:check + 2] = (~total & 0xFFFF).to_bytes(2, "big")
            return [bytes(data)]
    return rule


@case("corrupt_laundered", port=443)
@case("corrupt_laundered_udp", port=5004, udp=True)
@case("corrupt_laundered_udp_ipv6", port=5004, udp=True, ipv6=True)
def corrupt_laundered(run, port, udp=False, ipv6=False, percent=12):
    """One bit flips in {percent} % of what leaves, between the points, and the checksum is made right again (UDP: {udp}, IPv6: {ipv6})."""
    n = run.network(mode="route", ipv6=ipv6, wires=("between",))
    w = run.wire("between", launder("out", percent, ipv6, udp))
    if ipv6:
        run.tcp(80, ipv6=True).exchange()       # neighbour discovery may take seconds
    with run.capture():
        if udp:
            family, address = (socket.AF_INET6, n.server_address6) if ipv6 else (socket.AF_INET, n.server_address)
            far, near = n.server.socket(family, socket.SOCK_DGRAM), n.guest.socket(family, socket.SOCK_DGRAM)
            far.bind((address, port))
            near.connect((address, port))
            near.send(bytes(60))
            far.sendto(bytes(60), far.recvfrom(100)[1])
            w.mode = 1
            for _ in range(90):
                near.send(run.random.randbytes(run.random.choice([120, 160])))
                time.sleep(0.03)
            far.close(), near.close()
        else:
            t = run.tcp(port)
            t.exchange()
            w.mode = 1
            t.bulk(t.c, 24000, rate=9000, chunk=300).join(20)
        time.sleep(0.4)
        w.mode = 0
    count = w.stop()["damaged"]
    assert count >= 4, count
    return dict(facts=f"{count} packets damaged between the points, their checksums made right again",
                expect=[finding("bad-checksum", where="between", cause="corrupted", packets=count)])


@case("corrupt_ip_header", port=8443)
def corrupt_header(run, port):
    """A bit of the IP header (its TTL) flips between the points in 5 % of the packets: the header checksum is wrong on the uplink."""
    run.network(wires=("between",))
    w = run.wire("between", damage("out", 5, header=True))
    with run.capture("-s 128", "-s 128"):
        t = run.tcp(port)
        t.exchange()
        w.mode = 1
        t.bulk(t.c, 240000, rate=80000, chunk=5600).join(20)
        time.sleep(1)
        w.mode = 0
        t.finish()
    count = w.stop()["damaged"]
    assert count >= 4
    return dict(facts=f"{count} IP headers damaged between the points; the router drops them",
                expect=[finding("bad-checksum", where="between", cause="corrupted", packets=count)], also=["retransmission", "one-sided-retransmission", "transit-loss"])


@case("corrupt_before", port=8443, invalid_drop=False)
@case("corrupt_before_dropped", port=443, invalid_drop=True)
@case("corrupt_before_bridged", port=443, mode="bridge")
def corrupt_before(run, port, invalid_drop=False, mode="nat"):
    """The guest's link damages 5 % of its segments before virbr0 sees them. conntrack calls them INVALID (dropped in FORWARD: {invalid_drop}); without that rule they leave untranslated."""
    n = run.network(wires=("inside",), mode=mode)
    w = run.wire("inside", damage("out", 5))
    if invalid_drop:
        rule = n.host.rule("forward", "ct state invalid", "drop", priority=0)
    with run.capture():
        t = run.tcp(port)
        t.exchange()
        w.mode = 1
        t.bulk(t.c, 240000, rate=80000, chunk=5600).join(20)
        time.sleep(1)
        w.mode = 0
        t.finish()
    count = w.stop()["damaged"]
    assert count >= 4
    return dict(facts=f"{count} segments damaged before virbr0" + (f", {rule.count} packets dropped as INVALID" if invalid_drop else ""),
                expect=[finding("bad-checksum", where="inside", cause="corrupted", packets=count)],
                also=["retransmission", "one-sided-retransmission", "transit-loss", "nat-bypass"])


@case("corrupt_outside_in", port=443)
def corrupt_outside(run, port):
    """The network beyond damages 5 % of what the server sends: wrong checksum on the uplink already; the host drops them."""
    run.network(wires=("outside",))
    w = run.wire("outside", damage("in", 5))
    with run.capture():
        t = run.tcp(port)
        t.exchange()
        w.mode = 1
        t.bulk(t.s, 240000, rate=80000, chunk=5600).join(20)
        time.sleep(1)
        w.mode = 0
        t.finish()
    count = w.stop()["damaged"]
    assert count >= 4
    return dict(facts=f"{count} segments damaged before the uplink, dropped by the host, retransmitted by the server",
                expect=[finding("bad-checksum", where="outside", cause="corrupted", packets=count)],
                also=["retransmission", "one-sided-retransmission", "transit-loss"])


@case("partial_leak_one_guest", port=443)
@case("partial_leak_udp", port=5353, protocol="udp")
def partial_leak(run, port, protocol="tcp"):
    """Two guests; the first has checksum offload and nobody finishes its {protocol} checksums on the way out; the second's are whole and pass."""
    n = run.network(guests=2, wires=("between",))
    for dev in ("up0", "virbr0", "vnet1", "vnet2"):
        n.host.offload(dev, tx=True)
    n.guests[1].offload("eth0", tx=False)
    run.wire("between")
    with run.capture():
        good = run.tcp(22, guest=n.guests[1])
        good.exchange(times=3)
        if protocol == "udp":
            t = run.udp(port)
            t.s.settimeout(0.05)
            arrived = sum(t.up(200) for _ in range(20) if good.exchange(100, 100, pause=0.1))
        else:
            c = n.guest.socket()
            c.setblocking(False)
            c.connect_ex((n.server_address, port))
            arrived = 0
            listener = run.tcp(port, guest=n.guests[1])
            for _ in range(30):
                good.exchange(100, 100)
                listener.exchange(100, 900)
                time.sleep(0.15)
            c.close()
        good.finish()
    assert arrived == 0
    return dict(facts=f"guest 1's {protocol} packets leave the uplink with partial checksums and the server drops them all; guest 2's pass",
                expect=[finding("bad-checksum", cause="partial-leaked")],
                also=["retransmission", "one-sided-retransmission", "connection-unanswered", "udp-stall", "transit-loss"])
