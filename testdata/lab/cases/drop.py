"""Many flows at once: flushes, stalls, dead ends; and connections that never begin."""
import resource
import socket
import time

from labkit.run import case, finding
from labkit.traffic import background, was_reset

SYMPTOMS = ["retransmission", "one-sided-retransmission", "transit-loss", "tcp-reset", "udp-stall"]


def talkers(run, n, flows, pause=0.1, udp=0, base=443, guest=None):
    live = [run.tcp(base + (i % 3), guest=guest or n.guests[i % len(n.guests)], address=n.server_addresses[i % len(n.server_addresses)], timeout=20) for i in range(flows)]
    threads = [t.talk(pause) for t in live]
    for i in range(udp):
        u = run.udp(6000 + i)
        background(pingpong, u, pause)
    return live, threads


def pingpong(u, pause):
    u.c.settimeout(0.3), u.s.settimeout(0.3)
    while True:
        u.exchange(150, 150)
        time.sleep(pause)


@case("sync_flush_invalid_dropped", flows=5)
@case("sync_flush_two_guests", flows=8, guests=2, inside="10.50.1", more_servers=("198.51.100.8", "198.51.100.9"))
def sync_flush(run, flows, **net):
    """conntrack -F; the firewall drops INVALID and mid-stream packets are not taken up (nf_conntrack_tcp_loose=0): {flows} live connections go silent at once."""
    n = run.network(**net)
    n.host.sysctl(netfilter__nf_conntrack_tcp_loose=0)
    rules = [n.host.rule(h, "ct state invalid", "drop", priority=0) for h in ("forward", "input")]
    with run.capture():
        talkers(run, n, flows)
        time.sleep(2)
        n.host("conntrack -F")
        time.sleep(3)
    assert rules[0].count >= flows
    return dict(facts=f"conntrack -F after 2 s; {rules[0].count} + {rules[1].count} INVALID packets dropped in FORWARD and INPUT; all {flows} flows dead",
                expect=[finding("synchronous-drop", where="between", flows=flows)], also=[*SYMPTOMS, "nat-bypass"])


@case("sync_flush_new_cross", flows=4)
def sync_flush_new(run, flows):
    """conntrack -F with INVALID dropped, as sync_flush: {flows} live connections go silent at once, and connections that begin afterwards cross."""
    n = run.network(more_servers=("198.51.100.8",))
    n.host.sysctl(netfilter__nf_conntrack_tcp_loose=0)
    rules = [n.host.rule(h, "ct state invalid", "drop", priority=0) for h in ("forward", "input")]
    with run.capture():
        talkers(run, n, flows)
        time.sleep(2)
        n.host("conntrack -F")
        for _ in range(4):
            time.sleep(0.7)
            t = run.tcp(8000)
            assert t.exchange(times=2)
            t.finish()
    assert rules[0].count >= flows
    return dict(facts=f"conntrack -F after 2 s; {rules[0].count} + {rules[1].count} INVALID packets dropped; all {flows} flows dead, 4 new ones crossed",
                expect=[finding("synchronous-drop", where="between", cause="nat-flushed", flows=flows)], also=[*SYMPTOMS, "nat-bypass"])


@case("sync_firewall_new", flows=4, udp=0, more=6)
@case("sync_firewall_drop", flows=6, udp=0)
@case("sync_firewall_drop_mixed", flows=4, udp=2, inside="172.16.9", more_servers=("198.51.100.20",))
def sync_firewall(run, flows, udp, more=0, **net):
    """A rule that drops everything is put at the head of FORWARD: {flows} TCP and {udp} UDP flows stop crossing at once (and {more} new connections do not cross either)."""
    n = run.network(**net)
    with run.capture():
        talkers(run, n, flows, udp=udp)
        time.sleep(2)
        n.host("iptables -I FORWARD -j DROP")
        socks = try_connections(n, run, more, [8081, 8082], pause=0.2)
        time.sleep(3)
        for s in socks:
            s.close()
        count = int(n.host("iptables -L FORWARD -v -n -x").splitlines()[2].split()[0])
    return dict(facts=f"iptables -I FORWARD -j DROP after 2 s; {count} packets dropped", expect=[finding("synchronous-drop", where="between", flows=flows + udp, **({"cause": "firewall"} if more else {}))],
                also=[*(s for s in SYMPTOMS if s != "transit-loss"), "connection-not-forwarded"] if more else SYMPTOMS)


@case("sync_address_change", flows=5)
def sync_address(run, flows):
    """The uplink's address is taken away and another one is set (a DHCP client at work): all NAT entries die together."""
    n = run.network()
    with run.capture():
        talkers(run, n, flows, pause=0.25)
        time.sleep(2)
        n.host(f"ip addr del {n.outside_address}/24 dev uplink")
        time.sleep(0.3)
        n.host("ip addr add 203.0.113.77/24 dev uplink")
        n.host(f"ip route replace default via {n.gateway}")
        time.sleep(1.5)
        for _ in range(3):
            t = run.tcp(8000)
            t.exchange(times=2)
            t.finish()
        time.sleep(0.5)
    return dict(facts=f"address {n.outside_address} removed after 2 s, 203.0.113.77 set 0.3 s later; all {flows} flows dead, new ones work",
                expect=[finding("synchronous-drop", where="between", cause="address-flush", flows=flows)], also=[*SYMPTOMS, "nat-rebinding", "connection-not-forwarded"])


@case("rst_host_address_flush", flows=5, server_first=3)
def address_flush(run, flows, server_first):
    """The uplink's address is removed and set again within a moment (a DHCP renewal): all {flows} NAT entries die. The {server_first} flows whose server speaks first are reset by the host, the others heal."""
    n = run.network(inside="10.20.30")
    with run.capture():
        live = [run.tcp(443 + i % 2) for i in range(flows)]
        for _ in range(6):
            for t in live:
                t.exchange()
            time.sleep(0.15)
        n.host(f"ip addr del {n.outside_address}/24 dev uplink")
        n.host(f"ip addr add {n.outside_address}/24 dev uplink")
        n.host(f"ip route replace default via {n.gateway}")
        for t in live[:server_first]:
            t.send(t.s, 300)
        time.sleep(0.1)
        dead = sum(was_reset(t.s) for t in live[:server_first])
        healed = 0
        for t in live[server_first:]:
            healed += t.exchange(times=4, pause=0.1)
        for t in live[:server_first]:
            t.send(t.c, 100)
        time.sleep(0.3)
    assert dead == server_first and healed == flows - server_first, (dead, healed)
    return dict(facts=f"address removed and set again after 1 s; {dead} servers got ECONNRESET from the host, {healed} flows healed because the guest spoke first",
                expect=[finding("tcp-reset", where="between", cause="nat-state-lost", flows=dead)], also=["synchronous-drop"])


@case("sync_bridge_down", flows=4)
def sync_bridge(run, flows):
    """The bridge loses its address, and the host with it the route inwards (a network restarted half): what comes in for {flows} connections of the guest leaves the uplink again."""
    n = run.network(more_servers=("198.51.100.8",))
    n.router(f"ip route add blackhole {n.inside}.0/24")
    with run.capture():
        live = [run.tcp(443 + i % 2, address=n.server_addresses[i % 2], timeout=20) for i in range(flows)]
        for t in live:
            t.talk(0.1)
        time.sleep(2)
        n.host(f"ip addr del {n.inside}.1/24 dev virbr0")
        looped = n.router.rule("ingress:eth0", f"ip daddr {n.inside}.0/24", "accept", family="netdev", priority=0)
        time.sleep(4)
    assert looped.count > flows
    return dict(facts=f"address and route of virbr0 removed after 2 s; {looped.count} packets for the guest sent back out of the uplink; all {flows} flows dead",
                expect=[finding("synchronous-drop", where="between", cause="bridge-down", flows=flows)], also=[*SYMPTOMS, "nat-bypass", "arp-unanswered"])


@case("sync_gateway_gone", flows=4)
def sync_gateway(run, flows):
    """The router stops answering anything, ARP included: what the guest sends never leaves the host, which asks for its gateway in vain."""
    n = run.network(more_servers=("198.51.100.8",))
    with run.capture():
        talkers(run, n, flows)
        time.sleep(2)
        rule = n.router.rule("ingress:eth0", "", "drop", family="netdev", priority=0)
        n.host("ip neigh flush dev uplink")
        time.sleep(5)
    return dict(facts=f"the router drops all that comes in ({rule.count} frames) after 2 s", expect=[finding("synchronous-drop", cause="gateway-unreachable", flows=flows)],
                also=[*SYMPTOMS, "arp-unanswered"])


@case("sync_peers_dead", flows=4)
def sync_outside(run, flows):
    """The router goes on answering ARP and drops all that it should forward: everything leaves the uplink, nothing comes back."""
    n = run.network(more_servers=("198.51.100.8", "198.51.100.9"))
    with run.capture():
        talkers(run, n, flows)
        time.sleep(2)
        rule = n.router.rule("forward", "", "drop")
        time.sleep(4)
    return dict(facts=f"the router drops all that it should forward after 2 s: {rule.count} packets; {flows} flows dead", expect=[finding("synchronous-drop", where="outside", flows=flows)], also=SYMPTOMS)


def feed(run, u, pause=0.025):
    """Both ends send without waiting for each other, so that each side's silence shows."""
    while True:
        u.c.send(run.random.randbytes(120))
        u.s.sendto(run.random.randbytes(160), u.peer)
        time.sleep(pause)


@case("stall_guest_short", flows=4, seconds=0.8, place="inside")
@case("stall_guest_long", flows=3, seconds=2.5, place="inside", udp=1)
@case("stall_guest_sends", flows=4, seconds=1.4, place="inside", into=False)
@case("stall_host", flows=4, seconds=1.2, place="between")
@case("stall_upstream", flows=4, seconds=1.5, place="outside")
def stall(run, flows, seconds, place, udp=0, into=True):
    """The {place} link freezes for {seconds} s (also towards the guest: {into}), holds what it has, and resumes: a burst, nothing lost."""
    n = run.network(wires=(place,))
    w = run.wire(place)
    with run.capture("-s 128", "-s 128"):
        u = run.udp(7000)
        u.exchange()
        background(feed, run, u)
        talkers(run, n, flows, pause=0.06, udp=udp)
        time.sleep(1.5)
        w.freeze(into=into)
        time.sleep(seconds)
        w.thaw()
        time.sleep(1.7)
    return dict(facts=f"the wire ({place}) holds all frames for {seconds} s, then delivers them",
                expect=[finding("synchronous-stall", where=place, flows=flows, duration=seconds)], also=["retransmission"])


@case("stall_guest_ipv6", flows=4, seconds=1.6)
def stall_ipv6(run, flows, seconds):
    """IPv6: the guest's link freezes for {seconds} s, holds what it has, and resumes."""
    n = run.network(mode="route", ipv6=True, wires=("inside",))
    w = run.wire("inside")
    run.tcp(80, ipv6=True).exchange()
    with run.capture("-s 128", "-s 128"):
        for i in range(flows):
            run.tcp(443 + i, ipv6=True, timeout=20).talk(0.15)
        time.sleep(1.5)
        w.freeze()
        time.sleep(seconds)
        w.thaw()
        time.sleep(1.7)
    return dict(facts=f"the wire (inside) holds all frames for {seconds} s, then delivers them",
                expect=[finding("synchronous-stall", where="inside", flows=flows, duration=seconds)], also=["retransmission"])


@case("stall_one_guest", flows=6, seconds=1.1)
@case("stall_one_guest_sends", flows=8, seconds=0.9, into=False, inside="10.77.3")
def stall_one_guest(run, flows, seconds, into=True, **net):
    """Of two guests the link of one freezes for {seconds} s (also towards the guest: {into}), holds what it has, and resumes; the other guest's connections go on all the time."""
    n = run.network(guests=2, wires=("inside",), **net)
    w = run.wire("inside")
    with run.capture("-s 128", "-s 128"):
        talkers(run, n, flows, pause=0.06)
        time.sleep(1.5)
        w.freeze(into=into)
        time.sleep(seconds)
        w.thaw()
        time.sleep(1.5)
    return dict(facts=f"the wire of guest 1 holds all frames for {seconds} s, then delivers them; guest 2 has no wire",
                expect=[finding("synchronous-stall", where="inside", flows=flows // 2, duration=seconds)], also=["retransmission"])


@case("ok_one_guest_pauses", flows=6, seconds=1.2)
def one_guest_pauses(run, flows, seconds):
    """Of two guests the applications of one pause for {seconds} s together, while its kernel acknowledges what the server sends; the other guest's connections go on."""
    n = run.network(guests=2)
    with run.capture("-s 128", "-s 128"):
        talkers(run, n, flows // 2, pause=0.06, guest=n.guests[1])
        quiet = [run.tcp(443, guest=n.guests[0], timeout=20) for _ in range(flows // 2)]
        for t in quiet * 6:
            assert t.exchange(100, 200)
            time.sleep(0.05)
        until = time.time() + seconds
        while time.time() < until:
            for t in quiet:
                t.send(t.s, 200)
            time.sleep(0.3)
        for t in quiet * 6:
            t.exchange(100, 200)
            time.sleep(0.05)
    return dict(facts=f"{flows // 2} clients of guest 1 send nothing for {seconds} s, and nothing is lost or repeated", expect=[])


@case("tcp_peer_dead", who="peer", flows=1)
@case("tcp_guest_dead", who="guest", flows=1)
def tcp_end_dead(run, who, flows):
    """The {who} stops answering one connection (its own firewall drops it); the other end retransmits in vain, other flows live."""
    n = run.network()
    with run.capture():
        t, other = run.tcp(443), run.tcp(22)
        t.exchange(200, 600, times=8, pause=0.1)
        node = n.server if who == "peer" else n.guest
        rule = node.rule("input", f"tcp {'dport' if who == 'peer' else 'sport'} 443", "drop")
        t.send(t.c if who == "peer" else t.s, 1000)
        other.exchange(100, 100, times=16, pause=0.25)
    assert rule.count >= 4
    return dict(facts=f"the {who} drops {rule.count} segments of the flow: one original and its retransmissions, seen at both points",
                expect=[finding("retransmission", where="outside" if who == "peer" else "inside", direction="outbound" if who == "peer" else "inbound", flows=1)])


@case("tcp_keepalive_death", port=6379)
def keepalive_death(run, port):
    """An idle connection with keep-alive each second; the host begins to drop the answers, and after four probes the guest gives up with RST."""
    n = run.network()
    with run.capture():
        t, other = run.tcp(port), run.tcp(22)
        t.exchange(100, 300, times=4, pause=0.1)
        t.c.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, v in ((socket.TCP_KEEPIDLE, 1), (socket.TCP_KEEPINTVL, 1), (socket.TCP_KEEPCNT, 4)):
            t.c.setsockopt(socket.IPPROTO_TCP, option, v)
        for i in range(20):
            if i == 5:
                rule = n.host.rule("forward", f"oifname virbr0 tcp sport {port}", "drop")
            other.exchange(100, 100)
            time.sleep(0.4)
    assert rule.count >= 4
    return dict(facts=f"{rule.count} answers to keep-alive probes dropped by the host; the guest's RST is only the consequence",
                expect=[finding("transit-loss", where="between", direction="inbound", lost=rule.count)], also=["tcp-reset", "one-sided-retransmission", "retransmission"])


def try_connections(n, run, count, ports, pause=0.1, addresses=None, proto="tcp"):
    """New connections that nobody has to answer."""
    socks = []
    for i in range(count):
        c = n.guests[i % len(n.guests)].socket(socket.AF_INET, socket.SOCK_STREAM if proto == "tcp" else socket.SOCK_DGRAM)
        c.setblocking(False)
        c.connect_ex(((addresses or n.server_addresses)[i % len(addresses or n.server_addresses)], ports[i % len(ports)]))
        if proto == "udp":
            c.send(run.random.randbytes(100))
        socks.append(c)
        time.sleep(pause)
    return socks


@case("new_not_forwarded", count=10)
@case("new_not_forwarded_udp", count=12, proto="udp", inside="10.60.2")
def not_forwarded(run, count, proto="tcp", **net):
    """The host drops what opens a new connection ({proto}, {count} of them, three destinations) while old connections live on."""
    n = run.network(more_servers=("198.51.100.8", "198.51.100.9"), **net)
    with run.capture():
        talkers(run, n, 3)
        time.sleep(1)
        rule = n.host.rule("forward", "iifname virbr0 ct state new", "drop")
        socks = try_connections(n, run, count, [8081, 8082], proto=proto)
        time.sleep(2)
        for s in socks:
            s.close()
    return dict(facts=f"{rule.count} packets of {count} new {proto} connections dropped by the host; 3 old ones live on",
                expect=[finding("connection-not-forwarded", where="between", flows=count)], also=["transit-loss", "one-sided-retransmission", "connection-unanswered"])


@case("new_port_exhausted", count=12)
@case("new_port_exhausted_3", ports="5000-5002", count=10, port=8883)
def port_exhausted(run, count, ports="40000-40003", port=443):
    """MASQUERADE has a handful of ports ({ports}); {count} connections to one service: the first few get out, the SYNs of the rest stay in the host."""
    n = run.network(mode="route")
    n.masquerade("tcp dport " + str(port), f"to :{ports}")
    n.masquerade("tcp dport != " + str(port))
    low, high = map(int, ports.split("-"))
    with run.capture():
        live, _ = talkers(run, n, 2, base=6000)
        opened = []
        for _ in range(high - low + 1):
            opened.append(run.tcp(port))
            opened[-1].talk(0.2)
        socks = try_connections(n, run, count - len(opened), [port])
        time.sleep(2.5)
        for s in socks:
            s.close()
    lost = count - len(opened)
    return dict(facts=f"{len(opened)} connections got the {len(opened)} ports, the SYNs of {lost} others were dropped by NAT", 
                expect=[finding("connection-not-forwarded", where="between", flows=lost)], also=["transit-loss", "one-sided-retransmission"])


@case("new_port_exhausted_udp", port=5004)
@case("new_port_exhausted_udp_wide", port=4500, ports="20000-20011", count=30, guests=3, quiet=0.4)
def port_exhausted_udp(run, port, ports="6000-6003", count=12, guests=1, quiet=0.35):
    """MASQUERADE has a handful of ports ({ports}) for one service over UDP; of {count} flows those that come first get them, the datagrams of the rest stay in the host until one of the first falls silent and its mapping expires."""
    n = run.network(mode="route", guests=guests)
    n.masquerade(f"udp dport {port}", f"to :{ports}")
    n.masquerade(f"udp dport != {port}")
    n.masquerade("meta l4proto tcp")
    n.host.sysctl(netfilter__nf_conntrack_udp_timeout=2, netfilter__nf_conntrack_udp_timeout_stream=2)
    low, high = map(int, ports.split("-"))
    given = high - low + 1
    with run.capture("-s 128", "-s 128"):
        talkers(run, n, 1, pause=0.4, base=6000)
        flows = [run.udp(port, guest=n.guests[i % guests]) for i in range(count)]
        for flow in flows:
            flow.c.settimeout(0.005), flow.s.settimeout(0.005)
        crossed = set()
        for turn in range(12):
            for i, flow in enumerate(flows):
                if (i or turn < 4) and flow.exchange(150, 150):      # the first falls silent after a second
                    crossed.add(i)
            time.sleep(quiet)
    assert len(crossed) == given + 1, crossed
    return dict(facts=f"the {given} first of {count} flows got the {given} ports; one more did when the mapping of the first had expired, {count - given - 1} never",
                expect=[finding("connection-not-forwarded", where="between", cause="port-exhausted", flows=count - given - 1)], also=["transit-loss", "udp-stall"])


@case("new_refused_service", port=8443)
@case("new_refused_service_udp", port=5004, proto="udp", count=9)
def refused_service(run, port, proto="tcp", count=8):
    """The host drops what opens a new flow to one service ({proto}); those that were there go on, and new ones to other services cross."""
    n = run.network(guests=2)
    with run.capture("-s 128", "-s 128"):
        live = [(run.tcp if proto == "tcp" else run.udp)(port, guest=n.guests[i % 2]) for i in range(4)]
        for flow in live:
            flow.talk(0.2) if proto == "tcp" else background(pingpong, flow, 0.3)
        time.sleep(1)
        rule = n.host.rule("forward", f"iifname virbr0 {proto} dport {port} ct state new", "drop")
        socks = try_connections(n, run, count, [port], pause=0.2, proto=proto)
        for i in range(5):
            (run.tcp if proto == "tcp" else run.udp)(7000 + i).exchange(100, 100, times=2)
        time.sleep(1.2)
        for s in socks:
            s.close()
    assert rule.count >= count
    return dict(facts=f"{rule.count} packets of {count} new flows to {proto} port {port} dropped by a rule; 4 old ones live on, 5 new ones to other ports crossed",
                expect=[finding("connection-not-forwarded", where="between", cause="firewall", flows=count)], also=["transit-loss"])


def connected(s):
    try:
        return bool(s.getpeername())
    except OSError:
        return False


@case("new_table_full", count=14, fill=600)
def table_full(run, count, fill):
    """The host's connection table is full (nf_conntrack_max, {fill} idle connections): of {count} new connections to three servers most stay in the host, a few get the entries that others give back."""
    most = "/proc/sys/net/netfilter/nf_conntrack_max"     # one for all namespaces; those with fewer entries do not notice
    resource.setrlimit(resource.RLIMIT_NOFILE, (4 * fill, 4 * fill))
    n = run.network(more_servers=("198.51.100.8", "198.51.100.9"))
    listeners = [n.server.socket() for _ in range(3)]
    for listener, port in zip(listeners, (9, 8081, 8082)):
        listener.bind(("0.0.0.0", port))
        listener.listen(fill)
    idle = []
    for _ in range(fill):
        c = n.guest.socket()
        c.connect((n.server_address, 9))
        idle.append((c, listeners[0].accept()[0]))
    usual = open(most).read()
    try:
        with run.capture("-s 128", "-s 128"):
            talkers(run, n, 3)
            time.sleep(1)
            with open(most, "w") as f:
                f.write(n.host("conntrack -C"))
            socks = []
            for i in range(count):
                # An idle entry goes now and then, as idle entries do.
                if i % 5 == 4:
                    n.host(f"conntrack -D -p tcp --orig-port-src {idle.pop()[0].getsockname()[1]}")
                socks += try_connections(n, run, 1, [8081 + i % 2], addresses=[n.server_addresses[i % 3]])
            time.sleep(2)
            stuck = sum(not connected(s) for s in socks)
            drops = sum(int(x.split("=")[1]) for x in n.host("conntrack -S").split() if x.startswith("drop="))
    finally:
        with open(most, "w") as f:
            f.write(usual)
    for s in [*listeners, *socks, *(end for pair in idle for end in pair)]:
        s.close()
    assert drops >= stuck > 5 and stuck < count, (drops, stuck)
    return dict(facts=f"{drops} packets dropped since the table was full; {stuck} of {count} new connections never left the host",
                expect=[finding("connection-not-forwarded", where="between", cause="table-full", flows=stuck)], also=["transit-loss", "one-sided-retransmission"])


@case("new_unanswered", count=5, port=8443)
@case("new_unanswered_1", count=1, port=3389, outside="198.18.4")
def unanswered(run, count, port, **net):
    """The server drops SYNs to port {port} without a word: {count} connection attempts cross both points and get no answer."""
    n = run.network(**net)
    rule = n.server.rule("input", f"tcp dport {port}", "drop")
    with run.capture():
        talkers(run, n, 2)
        socks = try_connections(n, run, count, [port], pause=0.2)
        time.sleep(3.5)
        for s in socks:
            s.close()
    return dict(facts=f"{rule.count} SYNs of {count} connections dropped by the server",
                expect=[finding("connection-unanswered", where="outside", flows=count)], also=["retransmission"])


@case("new_unanswered_inbound", port=2222)
def unanswered_inbound(run, port):
    """The outer side opens connections to a forwarded port and the guest drops them: SYNs cross both points inwards, no answer."""
    n = run.network()
    n.forward_port(port)
    rule = n.guest.rule("input", f"tcp dport {port}", "drop")
    with run.capture():
        talkers(run, n, 2)
        socks = []
        for _ in range(3):
            c = n.server.socket()
            c.setblocking(False)
            c.connect_ex((n.outside_address, port))
            socks.append(c)
            time.sleep(0.2)
        time.sleep(3.3)
        for s in socks:
            s.close()
    return dict(facts=f"{rule.count} SYNs of 3 connections dropped by the guest", expect=[finding("connection-unanswered", where="inside", flows=3)], also=["retransmission"])


@case("nat_bypass_new_flows", port=8080)
def nat_bypass(run, port):
    """The MASQUERADE rule is removed: old flows stay translated, new ones leave with the inner address, and no answer finds its way."""
    n = run.network()
    with run.capture():
        talkers(run, n, 2)
        time.sleep(1)
        n.host("nft flush chain ip nat post")
        socks = try_connections(n, run, 4, [port], pause=0.2)
        u = [n.guest.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
        for _ in range(4):
            for s in u:
                s.sendto(run.random.randbytes(90), (n.server_address, 5000))
            time.sleep(0.5)
        for s in [*socks, *u]:
            s.close()
    return dict(facts="4 TCP and 2 UDP flows left untranslated", expect=[finding("nat-bypass")], also=["connection-unanswered", "retransmission", "transit-loss"])


@case("nat_bypass_second_guest", port=443)
def nat_bypass_guest(run, port):
    """Only the first guest's address is covered by the MASQUERADE rule; the second guest's packets leave untranslated."""
    n = run.network(mode="route", guests=2)
    n.router(f"ip route del {n.inside}.0/24")
    n.masquerade(f"ip saddr {n.guest.address}")
    with run.capture():
        talkers_of_one = run.tcp(port)
        talkers_of_one.talk(0.1)
        socks = []
        for _ in range(3):
            c = n.guests[1].socket()
            c.setblocking(False)
            c.connect_ex((n.server_address, port))
            socks.append(c)
            time.sleep(0.3)
        time.sleep(3)
        for s in socks:
            s.close()
    return dict(facts="3 connections of guest 2 left untranslated, guest 1's were translated", expect=[finding("nat-bypass")], also=["connection-unanswered", "retransmission"])
