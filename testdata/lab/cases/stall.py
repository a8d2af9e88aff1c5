"""UDP and QUIC flows that fall silent, and NAT mappings that change."""
import time

from labkit.run import case, finding


def timers(node, udp, stream):
    node.sysctl(netfilter__nf_conntrack_udp_timeout=udp, netfilter__nf_conntrack_udp_timeout_stream=stream)


@case("udp_expiry_push", port=5683, udp=2, stream=2, idle=3.5)
@case("udp_expiry_stream", port=4500, udp=1, stream=3, idle=4.5, chatter=8, outside="100.64.9")
@case("udp_expiry_dropped", port=1194, udp=2, stream=2, idle=3.2, input_drop=True)
@case("udp_expiry_3flows", port=3478, udp=2, stream=2, idle=3.5, flows=3, inside="10.44.0")
def udp_expiry(run, port, udp, stream, idle, chatter=1, flows=1, pushes=3, input_drop=False, **net):
    """Idle for {idle} s with NAT timers of {udp}/{stream} s, then only the server speaks on port {port}: its datagrams reach the host and stop there."""
    n = run.network(**net)
    timers(n.host, udp, stream)
    stray = n.host.rule("input", f"udp sport {port}", "drop" if input_drop else "accept")
    with run.capture():
        t = [run.udp(port, sport=40000 + 7 * i) for i in range(flows)]
        busy = run.udp(123)
        for x in t:
            x.exchange(180, 250, times=chatter, pause=0.3)
            x.peer = (n.outside_address, x.c.getsockname()[1])
        for _ in range(int(idle / 0.5)):
            busy.exchange(48, 48)
            time.sleep(0.5)
        arrived = 0
        for _ in range(pushes):
            for x in t:
                x.c.settimeout(0.05)
                arrived += x.down(400)
            busy.exchange(48, 48)
            time.sleep(0.5)
    assert arrived == 0 and stray.count == flows * pushes, (arrived, stray.count)
    return dict(facts=f"{stray.count} datagrams of the server reached the host's INPUT on {flows} expired flows, none reached a guest",
                expect=[finding("udp-stall", where="between", cause="nat-expired", protocol="udp", flows=flows)],
                also=["transit-loss", "synchronous-drop"])


@case("udp_expiry_healed", port=4501)
def udp_expiry_healed(run, port, pushes=3):
    """The entry expires after 2 s, {pushes} datagrams of the server are dropped in INPUT without a word, then the guest speaks from its old port and all goes on."""
    n = run.network()
    timers(n.host, 2, 2)
    stray = n.host.rule("input", f"udp sport {port}", "drop")
    with run.capture("-s 128", "-s 128"):
        t, busy = run.udp(port, sport=40021), run.udp(123)
        t.exchange(180, 250, times=4, pause=0.3)
        t.peer = (n.outside_address, t.c.getsockname()[1])
        for _ in range(8):
            busy.exchange(48, 48)
            time.sleep(0.45)
        t.c.settimeout(0.02)
        arrived = sum(t.down(300) or time.sleep(0.3) or 0 for _ in range(pushes))
        t.c.settimeout(1)
        assert t.exchange(180, 250, times=5, pause=0.3)
        for _ in range(8):
            busy.exchange(48, 48)
            time.sleep(0.45)
    assert arrived == 0 and stray.count == pushes, (arrived, stray.count)
    return dict(facts=f"{stray.count} datagrams of the server reached the host's INPUT on the expired flow, none the guest, which spoke 0.3 s later",
                expect=[finding("udp-stall", where="between", cause="nat-expired", protocol="udp", flows=1)], also=["transit-loss"])


@case("udp_peer_silent_after_pause", port=4506)
def udp_silent_after_pause(run, port, asked=5):
    """Question and answer, a pause of 6 s, then {asked} questions that leave from the same port and are dropped beyond the uplink."""
    n = run.network()
    with run.capture("-s 128", "-s 128"):
        t, busy = run.udp(port, sport=40031), run.udp(123)
        t.exchange(180, 250, times=6, pause=0.3)
        for _ in range(12):
            busy.exchange(48, 48)
            time.sleep(0.5)
        rule = n.router.rule("forward", f"udp dport {port}", "drop")
        t.s.settimeout(0.01)
        for i in range(asked + 3):
            if i < asked:
                t.up(180)
            busy.exchange(48, 48)
            time.sleep(0.5)
    assert rule.count == asked
    return dict(facts=f"{rule.count} datagrams of the guest dropped by the router after the pause",
                expect=[finding("udp-stall", where="outside", cause="peer-silent", protocol="udp", flows=1)])


@case("udp_expiry_alone", port=4500)
@case("udp_expiry_alone_quiet_guest", port=5684, told=4)
def udp_expiry_alone(run, port, told=0):
    """The only flow there is: the guest speaks, the server goes on for a while ({told} datagrams that reach the guest), both are silent for longer than the NAT's timer of 2 s, then only the server speaks. Nothing else shows that A's capture still ran; the host's ICMP port unreachable is on B."""
    n = run.network()
    timers(n.host, 2, 2)
    stray = n.host.rule("input", f"udp sport {port}", "accept")
    with run.capture():
        t = run.udp(port, sport=40011)
        t.exchange(180, 250, times=4, pause=0.3)
        for _ in range(told):
            time.sleep(0.5)
            assert t.down(200)
        t.peer = (n.outside_address, t.c.getsockname()[1])
        time.sleep(3.4)
        t.c.settimeout(0.05)
        arrived = sum(t.down(400) or time.sleep(0.6) or 0 for _ in range(4))
    assert arrived == 0 and stray.count == 4, (arrived, stray.count)
    return dict(facts=f"{stray.count} datagrams of the server reached the host's INPUT on the expired flow, none the guest",
                expect=[finding("udp-stall", where="between", cause="nat-expired", protocol="udp", flows=1)], also=["transit-loss"])


@case("udp_expiry_rebinding", port=7000)
@case("udp_expiry_rebinding_2flows", port=2123, flows=2, outside="198.18.7")
def udp_rebinding_after_push(run, port, flows=1, **net):
    """The entry expires, the server speaks first and is refused, then the guest speaks: its old outer port is taken by the stray entry, so it leaves from a new one."""
    n = run.network(**net)
    timers(n.host, 2, 2)
    with run.capture():
        t = [run.udp(port, sport=45000 + 11 * i) for i in range(flows)]
        for x in t:
            x.exchange(120, 200, times=3, pause=0.1)
        before = [x.peer for x in t]
        busy = run.udp(123)
        for _ in range(8):
            busy.exchange(48, 48)
            time.sleep(0.4)
        for x in t:
            x.c.settimeout(0.05)
            x.down(300)
        time.sleep(0.5)
        for x in t:
            x.c.settimeout(1)
        for x in t:
            assert x.exchange(120, 200, times=4, pause=0.2)
        after = [x.peer for x in t]
    assert all(a[1] != b[1] for a, b in zip(before, after))
    return dict(facts="; ".join(f"outer port {a[1]} became {b[1]}" for a, b in zip(before, after)),
                expect=[finding("nat-rebinding", cause="nat-expired", flows=flows)], also=["udp-stall", "transit-loss"])


@case("udp_rebinding_clean", port=27015, expire=True)
@case("udp_rebinding_midlife", port=27016, expire=False)
def udp_rebinding_clean(run, port, expire):
    """MASQUERADE picks random ports and the entry goes away, so the guest's next datagram leaves from another outer port; nothing is lost."""
    n = run.network(mode="route")       # routed network, with a masquerade rule of its own
    n.masquerade(to="random")
    timers(n.host, 2, 2)
    with run.capture():
        t = run.udp(port)
        t.exchange(100, 100, times=6, pause=0.2)
        before = t.peer[1]
        if expire:
            time.sleep(3.5)
        else:
            n.host("conntrack -F")
        ok = t.exchange(100, 100, times=8, pause=0.2)
        after = t.peer[1]
    assert ok and before != after
    return dict(facts=f"outer port {before} became {after} {'after 3.5 s of silence' if expire else 'by conntrack -F between two datagrams 0.2 s apart'}; all datagrams arrived",
                expect=[finding("nat-rebinding", cause="nat-expired" if expire else "unknown", flows=1)])


@case("quic_expiry", port=443, stream=2, idle=3.5)
@case("quic_expiry_dropped", port=8443, stream=3, idle=4.5, input_drop=True, size=900)
def quic_expiry(run, port, stream, idle, input_drop=False, size=5000):
    """A real QUIC connection on port {port}; only the server speaks after {idle} s of silence, and the NAT entry lives {stream} s: the packets stop at the host."""
    n = run.network()
    timers(n.host, stream, stream)
    stray = n.host.rule("input", f"udp sport {port}", "drop" if input_drop else "accept")
    with run.capture():
        q = run.quic(port)
        for _ in range(4):
            assert q.up(200) and q.down(600)
            time.sleep(0.1)
        time.sleep(idle)
        arrived = q.down(size, timeout=4)
    assert not arrived and stray.count >= 3, (arrived, stray.count)
    return dict(facts=f"{stray.count} QUIC packets of the server reached the host's INPUT, none the guest",
                expect=[finding("udp-stall", where="between", cause="nat-expired", protocol="quic", flows=1)], also=["transit-loss", "nat-rebinding"])


@case("quic_expiry_after_push", port=443, stream=2)
def quic_expiry_after_push(run, port, stream):
    """A real QUIC connection; the server streams for a while and the guest only acknowledges, then both are silent for longer than the NAT's timer of {stream} s, and the server speaks again: the packets stop at the host. There is no other traffic."""
    n = run.network()
    timers(n.host, stream, stream)
    stray = n.host.rule("input", f"udp sport {port}", "accept")
    with run.capture():
        q = run.quic(port)
        assert q.up(200)
        for _ in range(8):
            assert q.down(900)
            time.sleep(0.25)
        time.sleep(stream + 1.4)
        arrived = q.down(4000, timeout=3)
    assert not arrived and stray.count >= 3, (arrived, stray.count)
    return dict(facts=f"{stray.count} QUIC packets of the server reached the host's INPUT, none the guest",
                expect=[finding("udp-stall", where="between", cause="nat-expired", protocol="quic", flows=1)], also=["transit-loss", "nat-rebinding"])


@case("quic_rebinding", port=443)
def quic_rebinding(run, port):
    """QUIC over a NAT with random ports whose entry expires in 3 s of silence: the guest's next packet leaves from a new port, the server validates the path, the connection lives on."""
    n = run.network(mode="route")
    n.masquerade(to="random")
    timers(n.host, 2, 2)
    with run.capture():
        q = run.quic(port)
        for _ in range(3):
            assert q.up(300) and q.down(700)
            time.sleep(0.2)
        time.sleep(3.2)
        ok = [q.up(300) and q.down(700) for _ in range(4)]
    assert all(ok)
    ports = {l.split("dport=")[2].split()[0] for l in open(f"{run.folder}/conntrack.log") if "[NEW]" in l and f"dport={port}" in l}
    assert len(ports) == 2, ports
    return dict(facts=f"outer ports {sorted(ports)}; all data arrived", expect=[finding("nat-rebinding", cause="nat-expired", flows=1)])


@case("quic_blackhole_in", port=443, direction="inbound")
@case("quic_blackhole_out", port=443, direction="outbound", inside="192.168.50")
@case("quic_blackhole_out_8443", port=8443, direction="outbound", outside="198.18.3")
def quic_blackhole(run, port, direction, **net):
    """QUIC in full flow; the host begins to drop its {direction} half without a word."""
    n = run.network(**net)
    with run.capture():
        q = run.quic(port)
        other = run.tcp(22)
        for _ in range(10):
            q.up(250), q.down(900)
            other.exchange(60, 60)
            time.sleep(0.1)
        match = f"udp sport {port} oifname virbr0" if direction == "inbound" else f"udp dport {port} iifname virbr0"
        rule = n.host.rule("forward", match, "drop")
        for _ in range(10):
            q.push("c", 250), q.push("s", 900)
            other.exchange(60, 60)
            time.sleep(0.35)
    return dict(facts=f"{rule.count} {direction} QUIC packets dropped by the rule, the last 3.5 s of the flow; TCP went on",
                expect=[finding("udp-stall", where="between", cause="dropped", direction=direction, protocol="quic", flows=1)], also=["transit-loss"])


@case("udp_blackhole_in", port=51820, direction="inbound")
@case("udp_blackhole_out", port=5004, direction="outbound", flows=2)
def udp_blackhole(run, port, direction, flows=1):
    """UDP ping-pong; the host begins to drop its {direction} half."""
    n = run.network()
    with run.capture():
        t = [run.udp(port, sport=33000 + i) for i in range(flows)]
        other = run.tcp(22)
        for _ in range(20):
            for x in t:
                x.exchange(160, 160)
            other.exchange(60, 60)
            time.sleep(0.05)
        match = f"udp sport {port} oifname virbr0" if direction == "inbound" else f"udp dport {port} iifname virbr0"
        rule = n.host.rule("forward", match, "drop")
        for x in t:
            x.c.settimeout(0.01), x.s.settimeout(0.01)
        for _ in range(30):
            for x in t:
                x.up(160), x.down(160)
            other.exchange(60, 60)
            time.sleep(0.1)
    return dict(facts=f"{rule.count} {direction} datagrams of {flows} flows dropped by the rule for the last 3 s",
                expect=[finding("udp-stall", where="between", cause="dropped", direction=direction, protocol="udp", flows=flows)],
                also=["transit-loss", "synchronous-drop"])


@case("quic_peer_silent", protocol="quic", port=443, who="peer")
@case("udp_peer_silent", protocol="udp", port=3000, who="peer")
@case("quic_guest_silent", protocol="quic", port=443, who="guest")
@case("udp_guest_silent", protocol="udp", port=3001, who="guest")
def end_silent(run, protocol, port, who):
    """The {who} falls silent on {protocol} port {port} while the other end goes on speaking; other flows live."""
    n = run.network()
    with run.capture():
        t = run.quic(port) if protocol == "quic" else run.udp(port)
        other = run.tcp(22)
        for _ in range(12):
            t.up(200), t.down(400)
            other.exchange(60, 60)
            time.sleep(0.08)
        node = n.server if who == "peer" else n.guest
        rules = [node.rule("input", f"udp {'dport' if who == 'peer' else 'sport'} {port}", "drop"),
                 node.rule("output", f"udp {'sport' if who == 'peer' else 'dport'} {port}", "drop")]
        for _ in range(12):
            if protocol == "quic":
                t.push("c" if who == "peer" else "s", 300)
            else:
                (t.c.send if who == "peer" else lambda d: t.s.sendto(d, t.peer))(run.random.randbytes(200))
            other.exchange(60, 60)
            time.sleep(0.3)
    return dict(facts=f"from 1 s on the {who} itself drops what comes and sends nothing ({rules[0].count} packets dropped at its input), 3.6 s until the end",
                expect=[finding("udp-stall", where="outside" if who == "peer" else "inside", cause=f"{who}-silent", protocol=protocol, flows=1)])


@case("udp_guest_unplugged", port=6000, guests=2)
@case("udp_guest_unplugged_alone", port=6000, guests=1)
def guest_unplugged(run, port, guests):
    """The guest's link goes away ({guests} on the bridge; alone, its virbr0 loses its carrier, too); the server goes on sending, the host's ARP for the guest is not answered, and the host sends ICMP host unreachable."""
    n = run.network(guests=guests)
    with run.capture():
        t = run.udp(port)
        t.exchange(200, 200, times=12, pause=0.1)
        n.guest("ip link set eth0 down")
        n.host("ip neigh flush dev virbr0")
        for _ in range(24):
            t.s.sendto(run.random.randbytes(200), t.peer)
            time.sleep(0.25)
    return dict(facts="the guest's interface is down from 1.3 s on; 24 datagrams of the server follow",
                expect=[finding("udp-stall", cause="guest-silent", flows=1)], also=["arp-unanswered", "transit-loss", "synchronous-drop"])
