"""Resets: who cut the connection."""
import time

from labkit.net import raw_ip, tcp_segment
from labkit.run import case, finding
from labkit.traffic import forget, numbers, was_reset


@case("rst_host_1flow", flows=1, port=8443)
@case("rst_host_5flows", flows=5, port=443, inside="10.31.7", outside="100.64.3", quiet=2)
@case("rst_host_inbound", flows=2, port=2222, inbound=True)
def rst_by_host(run, flows, port, inbound=False, quiet=1, **net):
    """The host loses the NAT entries of {flows} live connections (port {port}); the far side speaks first, and the host's own stack resets it."""
    n = run.network(**net)
    if inbound:
        n.forward_port(port)
    with run.capture():
        live = [run.tcp(port, inbound=inbound) for _ in range(flows)]
        bystanders = [run.tcp(port + 1) for _ in range(quiet)]
        for _ in range(6):
            for t in [*live, *bystanders]:
                t.exchange()
            time.sleep(0.15)
        # An inbound connection would be taken up again by its DNAT rule, so that rule goes first (a firewall restart).
        if inbound:
            n.host("nft flush chain ip nat pre")
        for t in live:
            local = t.guest_side.getsockname()[1] if not inbound else t.c.getsockname()[1]
            n.host(f"conntrack -D -p tcp --sport {local}" if inbound else f"conntrack -D -p tcp --orig-port-src {local}")
        for t in live:
            t.send(t.far_side, 700)
            time.sleep(0.03)
        time.sleep(0.5)
        dead = sum(was_reset(t.far_side) for t in live)
        if not inbound:
            for t in live:
                t.send(t.guest_side, 90)
                time.sleep(0.02)
        for _ in range(4):
            for t in bystanders:
                t.exchange()
            time.sleep(0.2)
    assert dead == flows, f"{dead} of {flows} reset"
    return dict(facts=f"conntrack -D of {flows} live flows; {dead} far ends got ECONNRESET from the host, {quiet} other flows lived on",
                expect=[finding("tcp-reset", where="between", flows=flows)], also=["synchronous-drop"])


@case("rst_host_expired", flows=2, port=5432, idle=64)
def rst_expired(run, flows, port, idle):
    """The host forgets {flows} connections that are idle for longer than its timer (60 s); then the server speaks first, and the host's own stack resets it. A busy connection lives on."""
    n = run.network()
    n.host.sysctl(netfilter__nf_conntrack_tcp_timeout_established=60)
    with run.capture():
        live = [run.tcp(port) for _ in range(flows)]
        other = run.tcp(22)
        for t in live:
            t.exchange(times=4, pause=0.1)
        for _ in range(idle // 4):
            other.exchange(40, 60)
            time.sleep(4)
        for t in live:
            t.send(t.s, 300)
        time.sleep(0.2)
        dead = sum(was_reset(t.s) for t in live)
        other.exchange(40, 60, times=4, pause=0.2)
    assert dead == flows, dead
    return dict(facts=f"nf_conntrack_tcp_timeout_established=60, {idle} s of silence; {dead} server sockets got ECONNRESET from the host",
                expect=[finding("tcp-reset", where="between", cause="nat-expired", flows=flows)], also=["synchronous-drop"])


@case("rst_firewall_unseen", port=5222, flows=2)
def rst_unseen(run, port, flows):
    """As rst_firewall_outbound, with bridge-nf-call-iptables=1: the RST goes straight to the guest's tap and is in neither capture ({flows} connections)."""
    n = run.network()
    n.host.sysctl(**{"bridge__bridge-nf-call-iptables": 1})
    with run.capture():
        live = [run.tcp(port) for _ in range(flows)]
        other = run.tcp(443)
        for _ in range(8):
            for t in [*live, other]:
                t.exchange(200, 500)
            time.sleep(0.1)
        n.host(f"iptables -I FORWARD -p tcp --dport {port} -j REJECT --reject-with tcp-reset")
        for t in live:
            t.send(t.c, 200)
        time.sleep(0.2)
        dead = sum(was_reset(t.c) for t in live)
        other.exchange(200, 500, times=20, pause=0.25)
    assert dead == flows, dead
    return dict(facts=f"{dead} guests' sockets got ECONNRESET from the rule; the RSTs are in neither capture",
                expect=[finding("tcp-reset", where="between", cause="firewall-reject", flows=flows)], also=["synchronous-drop", "transit-loss"])


@case("rst_firewall_outbound", port=5222, flows=1)
@case("rst_firewall_outbound_many", port=8883, flows=4, guests=2, inside="172.20.5", iptables=True)
def rst_by_firewall_outbound(run, port, flows, iptables=False, **net):
    """A rule on the host answers the guests' packets to port {port} with tcp-reset in the server's name, {flows} connections in mid-life."""
    n = run.network(**net)
    with run.capture():
        live = [run.tcp(port, guest=n.guests[i % len(n.guests)]) for i in range(flows)]
        other = run.tcp(443)
        for _ in range(5):
            for t in [*live, other]:
                t.exchange(200, 500)
            time.sleep(0.1)
        if iptables:
            n.host(f"iptables -I FORWARD -i virbr0 -p tcp --dport {port} -j REJECT --reject-with tcp-reset")
        else:
            rule = n.host.rule("forward", f"iifname virbr0 tcp dport {port}", "reject with tcp reset")
        for t in live:
            t.send(t.c, 200)
        time.sleep(0.2)
        dead = sum(was_reset(t.c) for t in live)
        other.exchange(200, 500, times=5, pause=0.15)
        count = int(n.host("iptables -L FORWARD -v -n -x").splitlines()[2].split()[0]) if iptables else rule.count
    assert dead == flows == count, (dead, count)
    return dict(facts=f"{count} packets of the guest rejected by the rule; {dead} guests' sockets got ECONNRESET; the server saw no RST",
                expect=[finding("tcp-reset", where="between", cause="firewall-reject", flows=flows)],
                also=["synchronous-drop", "transit-loss"])


@case("rst_firewall_inbound", port=9418, flows=2, hook="forward")
def rst_by_firewall_inbound(run, port, flows, hook, **net):
    """A rule on the host rejects what the server sends to the guest from port {port}: the server gets the RST, virbr0 sees nothing of it."""
    n = run.network(**net)
    with run.capture():
        live = [run.tcp(port) for _ in range(flows)]
        other = run.tcp(443)
        for _ in range(5):
            for t in [*live, other]:
                t.exchange(200, 500)
            time.sleep(0.1)
        rule = n.host.rule(hook, f"oifname virbr0 tcp sport {port}", "reject with tcp reset")
        for t in live:
            t.send(t.s, 400)
        time.sleep(0.2)
        dead = sum(was_reset(t.s) for t in live)
        other.exchange(200, 500, times=5, pause=0.15)
    assert dead == flows == rule.count, (dead, rule.count)
    return dict(facts=f"{rule.count} packets of the server rejected; {dead} server sockets got ECONNRESET; virbr0 saw neither segment nor RST",
                expect=[finding("tcp-reset", where="between", flows=flows)], also=["synchronous-drop", "transit-loss"])


@case("rst_peer_upload", port=8080, direction="up", total=120000)
@case("rst_peer_download", port=80, direction="down", total=150000, gso=True)
@case("rst_guest_download", port=443, direction="down", total=120000, by="guest")
@case("rst_guest_upload", port=873, direction="up", total=120000, by="guest", inside="10.0.2")
@case("rst_peer_inbound", port=25, direction="up", total=60000, inbound=True)
def rst_by_end(run, port, direction, total, by="peer", inbound=False, **net):
    """The {by} aborts in the middle of a transfer ({direction}) on port {port}."""
    n = run.network(**net)
    if inbound:
        n.forward_port(port)
    with run.capture():
        t = run.tcp(port, inbound=inbound)
        other = run.tcp(5000)
        t.exchange(80, 200)
        t.bulk(t.guest_side if direction == "up" else t.far_side, total * 3, rate=total, chunk=4096)
        other.exchange(50, 50, times=5, pause=0.2)
        t.abort(t.far_side if by == "peer" else t.guest_side)
        other.exchange(50, 50, times=5, pause=0.2)
        other.finish()
    where, cause = ("outside", "peer-abort") if by == "peer" else ("inside", "guest-abort")
    return dict(facts=f"SO_LINGER 0 and close at the {by} after about {total} bytes of {total * 3}",
                expect=[finding("tcp-reset", where=where, cause=cause, flows=1)])


@case("rst_peer_half_open", port=6667, by="peer")
@case("rst_guest_half_open", port=6697, by="guest")
def rst_half_open(run, port, by):
    """The {by} loses its socket without a word (a reboot); the next segment that reaches it is answered with RST."""
    run.network()
    with run.capture():
        t, other = run.tcp(port), run.tcp(443)
        t.exchange(150, 150, times=6, pause=0.1)
        forget(t.s if by == "peer" else t.c)
        other.exchange(times=4, pause=0.2)
        t.send(t.c if by == "peer" else t.s, 150)
        time.sleep(0.2)
        dead = was_reset(t.c if by == "peer" else t.s)
        other.exchange(times=4, pause=0.1)
    assert dead
    return dict(facts=f"the {by}'s socket was removed in repair mode (no FIN, no RST); the other end got ECONNRESET on its next segment",
                expect=[finding("tcp-reset", where="outside" if by == "peer" else "inside", flows=1)])


@case("rst_conntrack_invalid", port=443, flows=1)
@case("rst_conntrack_invalid_3flows", port=3306, flows=3, outside="198.18.0", server="192.0.2.33")
def rst_conntrack_invalid(run, port, flows, **net):
    """A segment far outside the window comes from the server; conntrack calls it INVALID, it is not translated, the host's stack answers with RST, and the live connection dies ({flows} of them)."""
    n = run.network(**net)
    with run.capture():
        live = [run.tcp(port) for _ in range(flows)]
        other = run.tcp(8000)
        for _ in range(6):
            for t in [*live, other]:
                t.exchange(180, 900)
            time.sleep(0.1)
        for t in live:
            sent, received = numbers(t.s)
            address, sport = t.s.getpeername()
            raw_ip(n.server, tcp_segment(n.server_address, port, address, sport, sent + 30_000_000, received, 0x18, 501,
                                         run.random.randbytes(400), ident=run.random.randrange(65536)))
            time.sleep(0.05)
        dead = sum(was_reset(t.s) for t in live)
        for t in live:
            t.send(t.c, 180)
        other.exchange(180, 900, times=5, pause=0.15)
    assert dead == flows, dead
    return dict(facts=f"{flows} segments 30 MB beyond the window sent from the server; {dead} server sockets got ECONNRESET; the flows' entries lived on (the guest's next segment is translated)",
                expect=[finding("tcp-reset", where="between", cause="conntrack-invalid", flows=flows)], also=["synchronous-drop"])


@case("rst_forged", port=443, ttl=47)
@case("rst_forged_near_ttl", port=993, ttl=240, guest_too=False)
def rst_forged(run, port, ttl, guest_too=False):
    """Something on the path sends an RST in the server's name with TTL {ttl}; the server knows nothing of it and goes on sending."""
    n = run.network()
    with run.capture():
        t, other = run.tcp(port), run.tcp(8000)
        t.exchange(180, 900, times=6, pause=0.1)
        sent, received = numbers(t.s)
        address, sport = t.s.getpeername()
        raw_ip(n.router, tcp_segment(n.server_address, port, address, sport, sent, 0, 0x04, 0, ttl=ttl, ident=run.random.randrange(65536), df=False))
        time.sleep(0.1)
        dead = was_reset(t.c)
        t.send(t.s, 900)
        time.sleep(0.1)
        other.exchange(180, 900, times=5, pause=0.15)
    assert dead
    return dict(facts=f"RST injected by the router at the exact sequence number, TTL {ttl}, and 900 bytes of the real server after it; the guest's socket got ECONNRESET",
                expect=[finding("tcp-reset", where="outside", cause="forged", flows=1)])


@case("ok_rst_ignored", port=443)
def rst_ignored(run, port):
    """RSTs in the server's name whose sequence number is wrong: one in the window (challenge ACK), one far out of it. The connection lives on."""
    n = run.network()
    with run.capture():
        t = run.tcp(port)
        t.exchange(180, 900, times=4, pause=0.1)
        sent, received = numbers(t.s)
        address, sport = t.s.getpeername()
        for wrong in (10, -500):
            raw_ip(n.router, tcp_segment(n.server_address, port, address, sport, sent + wrong, 0, 0x04, 0, ttl=50, ident=run.random.randrange(65536), df=False))
            time.sleep(0.2)
        alive = t.exchange(180, 900, times=8, pause=0.1)
        t.finish()
    assert alive
    return dict(facts="two RSTs injected with wrong sequence numbers; the connection went on and was closed in order", expect=[])


@case("rst_peer_many", flows=4, port=443)
def rst_peer_many(run, flows, port):
    """A load balancer restarts: {flows} live connections to one server are reset by it within a moment; the guest's others live on."""
    run.network(more_servers=("198.51.100.8",))
    with run.capture():
        live = [run.tcp(port) for _ in range(flows)]
        other = run.tcp(port, address="198.51.100.8")
        for _ in range(5):
            for t in [*live, other]:
                t.exchange()
            time.sleep(0.15)
        for t in live:
            t.abort(t.s)
        other.exchange(times=6, pause=0.2)
    return dict(facts=f"SO_LINGER 0 and close of {flows} server sockets at once",
                expect=[finding("tcp-reset", where="outside", cause="peer-abort", flows=flows)], also=["synchronous-drop"])


@case("rst_host_ipv6", port=443, flows=3)
@case("rst_firewall_inbound_ipv6", port=8443, flows=2, reject=True)
def rst_ipv6(run, port, flows, reject=False):
    """IPv6 behind masquerade: {flows} connections are reset by the host, whose entries are gone (conntrack -F) or whose rule rejects what comes in (reject: {reject})."""
    n = run.network(mode="route", ipv6=True)
    n.masquerade6()
    run.tcp(80, ipv6=True).exchange()       # neighbour discovery may take seconds
    with run.capture("-s 128", "-s 128"):
        live, other = [run.tcp(port, ipv6=True) for _ in range(flows)], run.tcp(8000, ipv6=True)
        for t in live:
            t.exchange(times=5, pause=0.1)
        if reject:
            rule = n.host.rule("forward", f"oifname virbr0 tcp sport {port}", "reject with tcp reset", priority=0)
        else:
            n.host("conntrack -F -f ipv6")
        for t in live:
            t.send(t.s, 500)
        time.sleep(0.5)
        assert other.exchange()
        time.sleep(0.5)
    dead = sum(was_reset(t.s) for t in live)
    assert dead == flows and (not reject or rule.count == flows)
    return dict(facts=f"{dead} of {flows} server sockets were reset by the host", also=["synchronous-drop", "transit-loss"],
                expect=[finding("tcp-reset", where="between", cause="firewall-reject" if reject else "nat-state-lost", flows=flows)])
