"""Two faults in one pair: neither may hide the other."""
import time

from labkit.run import case, finding
from labkit.traffic import Echo, was_reset


@case("two_loss_and_host_reset")
def loss_and_reset(run):
    """The host drops 4 % of one upload all the time, and later loses the NAT entries of two other connections, whose servers it resets."""
    n = run.network()
    with run.capture("-s 128", "-s 128"):
        up, live = run.tcp(8443), [run.tcp(443), run.tcp(444)]
        up.exchange()
        rule = n.host.rule("forward", "iifname virbr0 tcp dport 8443 meta length > 200 numgen random mod 100 < 4", "drop")
        pour = up.bulk(up.c, 700000, rate=200000, chunk=8192)
        for _ in range(12):
            for t in live:
                t.exchange()
            time.sleep(0.1)
        for t in live:
            n.host(f"conntrack -D -p tcp --orig-port-src {t.c.getsockname()[1]}")
            t.send(t.s, 500)
        time.sleep(0.3)
        dead = sum(was_reset(t.s) for t in live)
        pour.join(15)
        time.sleep(0.8)
        lost = rule.count
    assert dead == 2 and lost >= 5
    return dict(facts=f"{lost} packets of the upload dropped; conntrack -D of 2 other flows, reset by the host",
                expect=[finding("one-sided-retransmission", where="between", direction="outbound"), finding("transit-loss", where="between", direction="outbound", lost=lost),
                        finding("tcp-reset", where="between", cause="nat-state-lost", flows=2)], also=["synchronous-drop"])


@case("two_ping_limit_and_pmtu", mtu=1400)
def ping_and_pmtu(run, mtu):
    """The host lets 10 pings a second through, and it eats the ICMP that tells of the path's MTU ({mtu}): one upload is stuck."""
    n = run.network()
    n.router(f"ip link set eth1 mtu {mtu}")
    pings = n.host.rule("forward", "icmp type echo-request limit rate over 10/second burst 5 packets", "drop")
    too_big = n.host.rule("forward", "icmp type destination-unreachable", "drop")
    with run.capture():
        t = run.tcp(443)
        t.exchange(90, 400, times=4, pause=0.05)
        t.c.setblocking(False)
        t.c.send(run.random.randbytes(20000))
        e = Echo(n.guest, n.server_address, 321)
        e.train(300, 70)
    return dict(facts=f"{pings.count} of {e.sent} pings dropped, {too_big.count} ICMP 3/4 dropped",
                expect=[finding("icmp-rate-limit", where="between", rate=10), finding("pmtu-black-hole", where="between", cause="icmp-not-relayed", mtu=mtu, flows=1)],
                also=["transit-loss", "retransmission", "one-sided-retransmission"])


@case("two_resets", port=443)
def two_resets(run, port):
    """Two servers: one aborts its connection, and the host resets the other one after losing its NAT entry. Two findings, not one."""
    n = run.network(more_servers=("198.51.100.9",))
    with run.capture():
        a, b, c = run.tcp(port), run.tcp(port, address="198.51.100.9"), run.tcp(22)
        for _ in range(6):
            a.exchange(), b.exchange(), c.exchange()
            time.sleep(0.1)
        a.abort(a.s)
        c.exchange(times=4, pause=0.2)
        n.host(f"conntrack -D -p tcp --orig-port-src {b.c.getsockname()[1]}")
        b.send(b.s, 500)
        time.sleep(0.2)
        dead = was_reset(b.s)
        c.exchange(times=4, pause=0.2)
    assert dead
    return dict(facts="one server socket aborted, one reset by the host",
                expect=[finding("tcp-reset", where="outside", cause="peer-abort", flows=1), finding("tcp-reset", where="between", cause="nat-state-lost", flows=1)])
