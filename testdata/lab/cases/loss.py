"""Loss: where, how much, and in what shape."""
import socket
import time

from labkit.run import case, finding


def side(direction, port, protocol="tcp"):
    return (f"iifname virbr0 {protocol} dport {port}" if direction == "outbound" else f"oifname virbr0 {protocol} sport {port}")


@case("loss_tcp_out", direction="outbound", port=8443, percent=3, total=900000, snap=96)
@case("loss_tcp_in", direction="inbound", port=443, percent=2, total=900000, snap=96)
@case("loss_tcp_in_full", direction="inbound", port=80, percent=4, total=250000, mss=536, inside="10.77.0")
@case("loss_tcp_out_gso", direction="outbound", port=443, percent=5, total=1500000, gso=True, snap=96)
@case("loss_tcp_in_gro", direction="inbound", port=443, percent=5, total=1500000, gso=True, uplink_gro=True, snap=96)
@case("loss_tcp_out_2flows", direction="outbound", port=2049, percent=3, total=500000, flows=2, guests=2, snap=96)
@case("loss_tcp_inbound_service", direction="outbound", port=8080, percent=3, total=600000, inbound=True, snap=128)
def tcp_loss_between(run, direction, port, percent, total, flows=1, mss=None, snap=0, inbound=False, gso=False, **net):
    """The host drops {percent} % of a transfer's packets ({direction}, port {port}) between the two points."""
    n = run.network(gso=gso, **net)
    if inbound:
        n.forward_port(port)
    options = f"-s {snap}" if snap else ""
    with run.capture(options, options):
        live = [run.tcp(port, guest=n.guests[i % len(n.guests)], mss=mss, inbound=inbound) for i in range(flows)]
        for t in live:
            t.exchange(120, 120)
        match = f"iifname virbr0 tcp sport {port}" if inbound else side(direction, port)
        rule = n.host.rule("forward", f"{match} meta length > 200 numgen random mod 1000 < {percent * 10}", "drop")
        ends = [(t.guest_side if direction == "outbound" else t.far_side) for t in live]
        pours = [t.bulk(e, total, rate=total / 3, chunk=8192 if not gso else 24000) for t, e in zip(live, ends)]
        for p in pours:
            p.join(15)
        time.sleep(0.8)
        lost = rule.count
        rule.remove()
        for t in live:
            t.finish()
    assert lost >= 3, lost
    expect = [finding("one-sided-retransmission", where="between", direction=direction)]
    also = []
    if gso:
        also.append("transit-loss")     # a dropped superframe is several packets, or one: not a count to be held to
    else:
        expect.append(finding("transit-loss", where="between", direction=direction, lost=lost))
    return dict(facts=f"{lost} {'(super)frames' if gso else 'packets'} dropped by the host's rule, {direction}", expect=expect, also=also)


@case("loss_acks_in", port=443)
def ack_loss(run, port):
    """The host drops a third of the server's pure ACKs on their way to the guest; TCP does not mind, but they are lost."""
    n = run.network()
    with run.capture("-s 96", "-s 96"):
        t = run.tcp(port)
        t.exchange()
        rule = n.host.rule("forward", f"oifname virbr0 tcp sport {port} meta length < 80 tcp flags == ack numgen random mod 3 == 0", "drop")
        t.bulk(t.c, 500000, rate=200000, chunk=2800).join(10)
        time.sleep(0.5)
        lost = rule.count
        rule.remove()
        t.finish()
    return dict(facts=f"{lost} pure ACKs dropped, inbound", expect=[finding("transit-loss", where="between", direction="inbound", lost=lost)],
                also=["one-sided-retransmission", "retransmission"])


@case("loss_beyond_out", direction="outbound", port=443, percent=3, total=600000)
@case("loss_beyond_out_gso", direction="outbound", port=8443, percent=12, total=900000, gso=True, inside="10.8.0")
@case("loss_beyond_in", direction="inbound", port=443, percent=3, total=600000)
def tcp_loss_beyond(run, direction, port, percent, total, **net):
    """The router drops {percent} % ({direction}): lost outside."""
    n = run.network(**net)
    with run.capture("-s 96", "-s 96"):
        t = run.tcp(port)
        t.exchange()
        match = f"iifname eth0 tcp dport {port}" if direction == "outbound" else f"iifname eth1 tcp sport {port}"
        rule = n.router.rule("forward", f"{match} meta length > 200 numgen random mod 1000 < {percent * 10}", "drop")
        t.bulk(t.c if direction == "outbound" else t.s, total, rate=total / 3, chunk=8192).join(15)
        time.sleep(0.8)
        lost = rule.count
        rule.remove()
        t.finish()
    assert lost >= 3
    if direction == "inbound":      # the original was never seen: both points have a hole that is filled later
        return dict(facts=f"{lost} packets dropped by the router before they reached the uplink; only the late copies are in the captures", also=["retransmission"])
    return dict(facts=f"{lost} packets dropped by the router", expect=[finding("retransmission", where="outside", direction="outbound")])


@case("loss_inside_in", direction="inbound", port=443, percent=3)
@case("loss_inside_out", direction="outbound", port=443, percent=3)
def tcp_loss_inside(run, direction, port, percent):
    """The guest's own link loses {percent} % of the {direction} segments."""
    run.network(wires=("inside",))

    def lossy(frame, way, wire):
        if wire.mode and len(frame) > 300 and way == ("in" if direction == "inbound" else "out") and wire.random.random() < percent / 100:
            wire.count["lost"] += 1
            return []
    w = run.wire("inside", lossy)
    with run.capture("-s 96", "-s 96"):
        t = run.tcp(port)
        t.exchange()
        w.mode = 1
        t.bulk(t.s if direction == "inbound" else t.c, 600000, rate=200000, chunk=8192).join(15)
        time.sleep(0.8)
        w.mode = 0
        t.finish()
    lost = w.stop()["lost"]
    assert lost >= 3
    if direction == "outbound":
        return dict(facts=f"{lost} segments lost on the wire before virbr0; only the late copies are in the captures", also=["retransmission"])
    return dict(facts=f"{lost} segments lost on the wire between virbr0 and the guest",
                expect=[finding("retransmission", where="inside", direction="inbound")])


@case("loss_udp_out", direction="outbound", port=5004, percent=6, rate=200)
@case("loss_udp_in", direction="inbound", port=5006, percent=8, rate=180, inside="10.12.0")
def udp_loss(run, direction, port, percent, rate, **net):
    """The host drops {percent} % of a UDP stream, {direction}, at random."""
    n = run.network(**net)
    with run.capture():
        t = run.udp(port)
        t.exchange(100, 100, times=3, pause=0.05)
        rule = n.host.rule("forward", side(direction, port, "udp") + f" numgen random mod 100 < {percent}", "drop")
        sent = t.flood(t.c if direction == "outbound" else t.s, [160, 172, 180], rate, 5)
        time.sleep(0.2)
    return dict(facts=f"{rule.count} of {sent} datagrams dropped by the host's rule, {direction}",
                expect=[finding("transit-loss", where="between", direction=direction, lost=rule.count, shape="random")])


@case("loss_to_gateway", percent=12)
def loss_to_gateway(run, percent):
    """The host drops {percent} % of what a guest sends by UDP to the server, and as much of what it sends to the gateway beyond the uplink."""
    n = run.network()
    with run.capture():
        t = run.udp(5004)
        t.exchange(100, 100, times=3, pause=0.05)
        gateway = n.guest.socket(socket.AF_INET, socket.SOCK_DGRAM)
        near = n.router.socket(socket.AF_INET, socket.SOCK_DGRAM)
        near.bind((n.gateway, 5005))
        gateway.connect((n.gateway, 5005))
        gateway.send(b"first")
        near.sendto(b"answer", near.recvfrom(100)[1])
        rules = [n.host.rule("forward", f"udp dport {port} numgen random mod 100 < {percent}", "drop") for port in (5004, 5005)]
        for _ in range(250):
            gateway.send(run.random.randbytes(120))
            t.c.send(run.random.randbytes(120))
            time.sleep(0.008)
        time.sleep(0.2)
        gateway.close(), near.close()
    lost = sum(rule.count for rule in rules)
    assert all(rule.count >= 10 for rule in rules)
    return dict(facts=f"{rules[0].count} datagrams to the server and {rules[1].count} to the gateway dropped by the host's rules",
                expect=[finding("transit-loss", where="between", direction="outbound", lost=lost, flows=2)])


@case("loss_udp_beyond", port=5004)
def udp_loss_beyond(run, port):
    """The router drops 8 % of a one-way UDP stream: beyond both points, so nothing in this pair can show it."""
    n = run.network()
    with run.capture():
        t = run.udp(port)
        t.exchange(100, 100, times=3, pause=0.05)
        rule = n.router.rule("forward", f"iifname eth0 udp dport {port} numgen random mod 100 < 8", "drop")
        sent = t.flood(t.c, [160, 400], 120, 4)
        time.sleep(0.2)
    return dict(facts=f"{rule.count} of {sent} datagrams dropped by the router, unseen at both points")


@case("loss_pps_policer", port=5060, unit="packets", limit=60, offered=200)
@case("loss_pps_policer_in", port=5061, unit="packets", limit=80, offered=220, direction="inbound")
@case("loss_byte_policer", port=1935, unit="bytes", limit=40000, offered=150)
def policer(run, port, unit, limit, offered, direction="outbound"):
    """The host lets {limit} {unit} a second of a UDP stream through ({direction}); {offered} datagrams a second are offered."""
    n = run.network()
    rate = f"limit rate over {limit}/second burst 5 packets" if unit == "packets" else f"limit rate over {limit} bytes/second burst 4000 bytes"
    with run.capture("-s 100", "-s 100"):
        t = run.udp(port)
        t.exchange(100, 100, times=3, pause=0.05)
        rule = n.host.rule("forward", f"{side(direction, port, 'udp')} {rate}", "drop")
        sent = t.flood(t.c if direction == "outbound" else t.s, [200, 600, 1000, 1300] if unit == "bytes" else [160, 300], offered, 5)
        time.sleep(0.2)
    expected = finding("transit-loss", where="between", direction=direction, lost=rule.count, shape="rate-limited")
    if unit == "packets":
        expected["rate"] = limit
    return dict(facts=f"{rule.count} of {sent} datagrams above {limit} {unit}/s dropped", expect=[expected])


@case("loss_queue_overflow", port=1935, kbit=400)
def queue(run, port, kbit):
    """The uplink is shaped to {kbit} kbit/s with a short queue; the guest offers three times as much UDP."""
    n = run.network()
    with run.capture("-s 100", "-s 100"):
        t = run.udp(port)
        t.exchange(100, 100, times=3, pause=0.05)
        n.host(f"tc qdisc add dev uplink root tbf rate {kbit}kbit burst 3000 limit 12000")
        sent = t.flood(t.c, [200, 700, 1200], kbit * 1000 * 3 / 8 / 740, 5)
        time.sleep(0.5)
        lost = int(n.host("tc -s qdisc show dev uplink").split("dropped ")[1].split(",")[0])
        n.host("tc qdisc del dev uplink root")
    return dict(facts=f"{lost} of {sent} datagrams dropped by tbf's full queue",
                expect=[finding("transit-loss", where="between", direction="outbound", lost=lost, shape="queue-overflow")])


@case("loss_periodic", shape="periodic", port=5004, period=0.5, rate=160)
@case("loss_bursty", shape="bursty", port=5004, rate=160)
@case("loss_size_soft", shape="size-dependent", port=5004, rate=120)
@case("loss_every_20th", shape=None, port=5004, rate=160)
def shaped(run, shape, port, rate, period=0.0, direction="outbound"):
    """A wire between the points loses datagrams of a UDP stream (shape: {shape})."""
    run.network(wires=("between",))
    state = {"bad": False, "n": 0}

    def lossy(frame, way, wire):
        if way != "out" or len(frame) < 120 or frame[23] != 17 or not wire.mode:
            return None
        state["n"] += 1
        if shape == "periodic":
            lose = (time.monotonic() - wire.started) % period < 0.045
        elif shape == "bursty":
            state["bad"] = wire.random.random() < (0.80 if state["bad"] else 0.015)
            lose = state["bad"]
        elif shape == "size-dependent":
            lose = len(frame) > 900 and wire.random.random() < 0.4
        else:
            lose = state["n"] % 20 == 0
        if lose:
            wire.count["lost"] += 1
            return []
    w = run.wire("between", lossy)
    with run.capture("-s 120", "-s 120"):
        t = run.udp(port)
        t.exchange(60, 60, times=3, pause=0.05)
        w.mode = 1
        sent = t.flood(t.c, [200, 500, 1000, 1300] if shape == "size-dependent" else [160, 180], rate, 6)
        time.sleep(0.3)
    lost = w.stop()["lost"]
    expected = finding("transit-loss", where="between", direction="outbound", lost=lost)
    if shape:
        expected["shape"] = shape
    if period:
        expected["period"] = period
    return dict(facts=f"{lost} of {sent} datagrams lost on the wire", expect=[expected])


@case("loss_size_step", port=6343)
def size_step(run, port):
    """The host drops every datagram above 1000 bytes of a UDP stream without DF, and nothing else."""
    n = run.network()
    import socket
    with run.capture("-s 120", "-s 120"):
        t = run.udp(port)
        t.c.setsockopt(socket.IPPROTO_IP, 10, 0)     # IP_PMTUDISC_DONT
        t.exchange(60, 60, times=3, pause=0.05)
        rule = n.host.rule("forward", side("outbound", port, "udp") + " meta length > 1000", "drop")
        sent = t.flood(t.c, [100, 400, 900, 1100, 1400], 80, 4)
        time.sleep(0.2)
    return dict(facts=f"{rule.count} of {sent} datagrams dropped, all above 1000 bytes",
                expect=[finding("transit-loss", where="between", direction="outbound", lost=rule.count, shape="size-dependent")], also=["pmtu-black-hole"])


@case("loss_total", port=514)
def total_loss(run, port):
    """One-way syslog that the host's firewall has never let out: all of it enters, none leaves, other traffic lives."""
    n = run.network()
    rule = n.host.rule("forward", side("outbound", port, "udp"), "drop")
    with run.capture():
        t, other = run.udp(port), run.tcp(443)
        for _ in range(40):
            t.c.send(run.random.randbytes(180))
            other.exchange()
            time.sleep(0.08)
    return dict(facts=f"{rule.count} datagrams of one flow dropped by the host, all there were",
                expect=[finding("transit-loss", where="between", direction="outbound", lost=rule.count, shape="total")],
                also=["connection-not-forwarded", "udp-stall"])
