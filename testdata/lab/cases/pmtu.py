"""Path MTU: who does not tell, who does not listen."""
import socket
import time

from labkit.run import case, finding


def narrow(node, dev, mtu):
    node(f"ip link set {dev} mtu {mtu}")


def report(where, cause, mtu, flows, facts, **more):
    expected = finding("pmtu-black-hole", where=where, cause=cause, flows=flows, **more)
    if mtu:
        expected["mtu"] = mtu
    return dict(facts=facts, expect=[expected], also=["retransmission", "one-sided-retransmission", "transit-loss"])


@case("pmtu_not_relayed_1400", mtu=1400, port=443)
@case("pmtu_not_relayed_1280_2flows", mtu=1280, port=22, flows=2, outside="100.64.1")
@case("pmtu_not_relayed_gso", mtu=1420, port=8443, gso=True)
@case("pmtu_not_relayed_inbound_service", mtu=1400, port=80, inbound=True)
@case("pmtu_ignored_1440", mtu=1440, port=5432, ignored=True)
@case("pmtu_ignored_2flows", mtu=1300, port=443, flows=2, ignored=True, inside="10.9.8")
def pmtu_out(run, mtu, port, flows=1, ignored=False, inbound=False, **net):
    """The path beyond the router carries {mtu} bytes; its ICMP comes back and somebody eats it (the host's firewall, or with ignored=True the guest's own). Small packets pass on the same connections."""
    n = run.network(**net)
    narrow(n.router, "eth1", mtu)
    if inbound:
        n.forward_port(port)
    rule = n.guest.rule("input", "icmp type destination-unreachable", "drop") if ignored else n.host.rule("forward", "icmp type destination-unreachable", "drop")
    with run.capture():
        live = [run.tcp(port, inbound=inbound) for _ in range(flows)]
        other = run.tcp(8000)
        for t in live:
            t.exchange(90, 400, times=4, pause=0.05)
        for t in live:
            t.guest_side.setblocking(False)
            t.guest_side.send(run.random.randbytes(20000))
        for _ in range(16):
            other.exchange(90, 300)
            time.sleep(0.25)
    assert rule.count >= 4 * flows, rule.count
    return report("inside" if ignored else "between", "icmp-ignored" if ignored else "icmp-not-relayed", mtu, flows,
                  f"{rule.count} ICMP 3/4 (mtu {mtu}) dropped by the {'guest' if ignored else 'host'}; {flows} uploads stuck")


@case("pmtu_absent_1300", mtu=1300, port=443, at="router")
@case("pmtu_absent_1476_3flows", mtu=1476, port=25, flows=3, at="router", inside="10.3.3")
@case("pmtu_absent_at_host", mtu=1400, port=443, at="host")
def pmtu_absent(run, mtu, port, at, flows=1, **net):
    """The {at} drops what is longer than {mtu} bytes and tells nobody."""
    n = run.network(**net)
    node = n.router if at == "router" else n.host
    rule = node.rule("forward", f"ip protocol tcp ip saddr {n.gateway.rsplit('.', 1)[0]}.0/24 meta length > {mtu}" if at == "router" else
                     f"iifname virbr0 ip protocol tcp meta length > {mtu}", "drop")
    with run.capture():
        live = [run.tcp(port) for _ in range(flows)]
        other = run.tcp(8000)
        for t in live:
            t.exchange(90, 400, times=4, pause=0.05)
            t.exchange(mtu - 200, 200)
        for t in live:
            t.c.setblocking(False)
            t.c.send(run.random.randbytes(30000))
        for _ in range(26):
            other.exchange(90, 300)
            time.sleep(0.25)
    assert rule.count >= 4 * flows
    return report("outside" if at == "router" else "between", "icmp-absent", None, flows,
                  f"{rule.count} packets above {mtu} bytes dropped by the {at} without ICMP; {flows} uploads stuck")


@case("pmtu_download_ignored", mtu=1400, port=443)
def pmtu_in(run, mtu, port):
    """The guest's network carries {mtu} bytes only; the host tells the server by ICMP, and the server does not hear it: the download is stuck."""
    n = run.network()
    narrow(n.host, "virbr0", mtu)
    rule = n.server.rule("input", "icmp type destination-unreachable", "drop")
    with run.capture():
        t, other = run.tcp(port), run.tcp(8000)
        t.exchange(90, 400, times=4, pause=0.05)
        t.s.setblocking(False)
        t.s.send(run.random.randbytes(20000))
        for _ in range(16):
            other.exchange(90, 300)
            time.sleep(0.25)
    assert rule.count >= 4
    return dict(facts=f"{rule.count} ICMP 3/4 (mtu {mtu}) of the host dropped at the server; the big segments are on the uplink alone",
                expect=[finding("pmtu-black-hole", mtu=mtu, flows=1)], also=["retransmission", "one-sided-retransmission", "transit-loss"])


@case("pmtu_host_bottleneck_ignored", mtu=1400, port=443)
def pmtu_host_ignored(run, mtu, port):
    """The uplink itself carries {mtu} bytes only; the host tells the guest, and the guest's firewall eats it."""
    n = run.network()
    narrow(n.host, "uplink", mtu)
    rule = n.guest.rule("input", "icmp type destination-unreachable", "drop")
    with run.capture():
        t, other = run.tcp(port), run.tcp(8000)
        t.exchange(90, 400, times=4, pause=0.05)
        t.c.setblocking(False)
        t.c.send(run.random.randbytes(20000))
        for _ in range(16):
            other.exchange(90, 300)
            time.sleep(0.25)
    assert rule.count >= 4
    return report("inside", "icmp-ignored", mtu, 1, f"{rule.count} ICMP 3/4 (mtu {mtu}) of the host on virbr0, dropped by the guest; the big segments are on virbr0 alone")


@case("pmtu6_not_relayed", mtu=1280, port=443, relayed=False)
@case("ok_pmtu6", mtu=1400, port=443, relayed=True)
def pmtu6(run, mtu, port, relayed):
    """IPv6, routed; the path beyond the router carries {mtu} bytes (packet-too-big relayed: {relayed})."""
    n = run.network(mode="route", ipv6=True)
    narrow(n.router, "eth1", mtu)
    if not relayed:
        rule = n.host.rule("forward", "icmpv6 type packet-too-big", "drop")
    run.tcp(port, ipv6=True).exchange()     # neighbour discovery may take seconds; not in the captures, nor in the first RTT
    with run.capture():
        t, other = run.tcp(port, ipv6=True), run.tcp(8000, ipv6=True)
        t.exchange(90, 400, times=4, pause=0.05)
        if relayed:
            assert t.up(60000)
            t.exchange(90, 400)
            t.finish()
            other.finish()
            return dict(facts="packet-too-big relayed and obeyed: one retransmission, then smaller segments")
        t.c.setblocking(False)
        t.c.send(run.random.randbytes(20000))
        for _ in range(16):
            other.exchange(90, 300)
            time.sleep(0.25)
    assert rule.count >= 4
    return report("between", "icmp-not-relayed", mtu, 1, f"{rule.count} packet-too-big (mtu {mtu}) dropped by the host")


@case("ok_pmtu", mtu=1400, at="router", port=443)
@case("ok_pmtu_gso", mtu=1300, at="router", port=8080, gso=True)
@case("ok_pmtu_host_bottleneck", mtu=1492, at="host", port=443)
@case("ok_pmtu_download", mtu=1400, at="virbr0", port=443)
def pmtu_healthy(run, mtu, at, port, **net):
    """Path MTU discovery works: the {at} carries {mtu} bytes, says so, and the sender obeys."""
    n = run.network(**net)
    narrow({"router": n.router, "host": n.host, "virbr0": n.host}[at], {"router": "eth1", "host": "uplink", "virbr0": "virbr0"}[at], mtu)
    with run.capture():
        for _ in range(2):
            t = run.tcp(port)
            t.exchange(90, 400, times=2, pause=0.05)
            assert t.down(60000) if at == "virbr0" else t.up(60000)
            t.exchange(90, 400, times=2, pause=0.05)
            t.finish()
    return dict(facts=f"ICMP 3/4 (mtu {mtu}) obeyed at once: all data arrived")


@case("ok_pmtu_rediscovery", mtu=1400, port=443)
@case("ok_pmtu6_rediscovery", mtu=1380, port=443, ipv6=True)
def pmtu_rediscovery(run, mtu, port, expires=2, ipv6=False):
    """Path MTU discovery again and again: the guest forgets what it learned after {expires} s (mtu_expires, 600 s unless told otherwise), tries a large segment, is told, and obeys."""
    n = run.network(mode="route" if ipv6 else "nat", ipv6=ipv6)
    narrow(n.router, "eth1", mtu)
    n.guest.sysctl(**{f"ipv{6 if ipv6 else 4}__route__mtu_expires": expires})
    told = n.router.rule("output", "icmpv6 type packet-too-big" if ipv6 else "icmp type destination-unreachable", "accept")
    run.tcp(port, ipv6=ipv6).exchange()     # neighbour discovery may take seconds
    with run.capture("-s 128", "-s 128"):
        t, other = run.tcp(port, ipv6=ipv6), run.tcp(8000, ipv6=ipv6)
        for _ in range(10):
            assert t.up(9000) and other.exchange(90, 300)
            time.sleep(0.7)
        t.finish()
        other.finish()
    assert told.count >= 3, told.count
    return dict(facts=f"told of the MTU of {mtu} {told.count} times in 7 s, each time obeyed at once; all data arrived")


@case("ok_udp_mtu_probes", port=4433, limit=1300)
def mtu_probes(run, port, limit):
    """A UDP sender looks for the path MTU as RFC 8899 says: three datagrams of each size that is too large; the data go on."""
    n = run.network()
    rule = n.host.rule("forward", f"iifname virbr0 udp dport {port} meta length > {limit}", "drop")
    with run.capture("-s 128", "-s 128"):
        t, other = run.udp(port), run.tcp(443)
        t.c.setsockopt(socket.IPPROTO_IP, 10, 3)     # IP_MTU_DISCOVER, IP_PMTUDISC_PROBE
        good = t.exchange(1172, 200, times=10, pause=0.05)
        other.exchange()
        for size in (1452, 1400, 1350, 1320):
            for _ in range(3):
                t.c.send(run.random.randbytes(size))
                good = t.exchange(1172, 200, times=5, pause=0.05) and good
            other.exchange()
    assert rule.count == 12 and good
    return dict(facts=f"{rule.count} probes of the path MTU died in the host; all data arrived")


@case("ok_udp_pmtu", mtu=1400, port=4433)
def udp_pmtu(run, mtu, port):
    """A UDP sender with DF learns the path MTU from one ICMP and sends smaller datagrams from then on."""
    n = run.network()
    narrow(n.router, "eth1", mtu)
    with run.capture():
        t = run.udp(port)
        t.c.setsockopt(socket.IPPROTO_IP, 10, 2)     # IP_MTU_DISCOVER, IP_PMTUDISC_DO
        t.exchange(200, 200, times=5, pause=0.05)
        t.c.send(run.random.randbytes(1450))
        time.sleep(0.1)
        refused = 0
        for _ in range(3):
            try:
                t.c.send(run.random.randbytes(1450))
            except OSError:
                refused += 1
        t.c.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        good = t.exchange(mtu - 28, 200, times=10, pause=0.05)
    assert refused == 3 and good
    return dict(facts="one datagram of 1450 bytes lost, ICMP 3/4 relayed, three refused with EMSGSIZE, then 1372 bytes pass")
