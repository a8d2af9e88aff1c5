"""Services that do not answer, and ICMP that is rationed."""
import json
import socket
import struct
import time

from labkit.net import ipv4, raw_send
from labkit.run import case, finding
from labkit.traffic import Echo, dns_answer, dns_query, serve_udp

from .link import BROADCAST, mac_bytes


@case("icmp_policed_out", limit=10, rate=80, at="host", match="icmp type echo-request", where="between")
@case("icmp_policed_replies", limit=15, rate=100, at="host", match="icmp type echo-reply", where="between", inside="10.4.4")
@case("icmp_policed_beyond", limit=20, rate=100, at="router", match="icmp type echo-request", where="outside")
def icmp_policed(run, limit, rate, at, match, where, **net):
    """The {at} lets {limit} ICMP packets ({match}) a second through; the guest sends {rate} echo requests a second. TCP and UDP are untouched."""
    n = run.network(**net)
    node = n.router if at == "router" else n.host
    rule = node.rule("forward", f"{match} limit rate over {limit}/second burst 5 packets", "drop")
    with run.capture():
        t = run.tcp(443)
        t.talk(0.2)
        e = Echo(n.guest, n.server_address, run.random.randrange(65536))
        e.train(rate * 5, rate)
    return dict(facts=f"{rule.count} of {e.sent} dropped by the {at} above {limit}/s, {e.answered} answered",
                expect=[finding("icmp-rate-limit", where=where, rate=limit)], also=["transit-loss"])


@case("ok_ping_lossless_slow", rate=5)
def ping_slow(run, rate):
    """Pings below the limit of 10 a second that the host sets: all pass."""
    n = run.network()
    rule = n.host.rule("forward", "icmp type echo-request limit rate over 10/second burst 5 packets", "drop")
    with run.capture():
        e = Echo(n.guest, n.server_address, 777)
        e.train(25, rate)
    assert rule.count == 0 and e.answered == 25
    return dict(facts="25 of 25 answered")


@case("arp_unanswered_gateway", mode="bridge")
def arp_gateway(run, mode):
    """A bridged guest asks for its gateway and nobody answers: the requests cross both points."""
    n = run.network(mode=mode)
    with run.capture():
        t = run.tcp(443)
        t.exchange(times=10, pause=0.1)
        rule = n.router.rule("ingress:eth0", "", "drop", family="netdev", priority=0)
        n.guest("ip neigh flush dev eth0")
        for _ in range(3):
            s = n.guest.socket(socket.AF_INET, socket.SOCK_DGRAM)
            s.sendto(b"x" * 50, (n.server_address, 5000))
            time.sleep(3.3)
            s.close()
    return dict(facts=f"the router drops all that comes in after 1 s ({rule.count} frames); the guest's ARP for it is unanswered",
                expect=[finding("arp-unanswered")], also=["retransmission", "synchronous-drop"])


@case("arp_unanswered_uplink")
def arp_uplink(run):
    """The host asks for its gateway on the uplink and nobody answers; one guest flow is stuck behind it."""
    n = run.network()
    with run.capture():
        t = run.udp(5000)
        t.exchange(times=10, pause=0.1)
        rule = n.router.rule("ingress:eth0", "", "drop", family="netdev", priority=0)
        n.host("ip neigh flush dev uplink")
        for _ in range(20):
            t.c.send(run.random.randbytes(100)) if _ % 2 else None
            time.sleep(0.35)
    return dict(facts=f"the router drops all that comes in after 1 s ({rule.count} frames)", expect=[finding("arp-unanswered", where="outside")],
                also=["udp-stall", "transit-loss", "synchronous-drop"])


@case("arp_unanswered_neighbour")
def arp_neighbour(run):
    """The guest keeps asking for a neighbour on its own network that does not exist: on virbr0 only."""
    n = run.network()
    with run.capture():
        t = run.tcp(443)
        for i in range(4):
            s = n.guest.socket(socket.AF_INET, socket.SOCK_DGRAM)
            s.sendto(b"anyone there", (f"{n.inside}.77", 5000))
            t.exchange(times=8, pause=0.15)
            s.close()
    return dict(facts=f"ARP requests for {n.inside}.77 unanswered", expect=[finding("arp-unanswered")], also=[])


def dhcp_discover(run, mac, transaction):
    bootp = struct.pack("!BBBBIHH4s4s4s4s", 1, 1, 6, 0, transaction, 0, 0x8000, *[b"\0" * 4] * 4) + mac.ljust(16, b"\0") + bytes(192)
    bootp += b"\x63\x82\x53\x63" + b"\x35\x01\x01" + b"\x37\x04\x01\x03\x06\x0f" + b"\xff"
    udp = struct.pack("!HHHH", 68, 67, 8 + len(bootp), 0) + bootp
    return BROADCAST + mac + b"\x08\0" + ipv4("0.0.0.0", "255.255.255.255", 17, udp, ident=run.random.randrange(65536), tos=0x10, df=False)


@case("dhcp_unanswered", mode="nat", count=4)
@case("dhcp_unanswered_bridged", mode="bridge", count=5)
def dhcp(run, mode, count):
    """A guest broadcasts DHCPDISCOVER {count} times and no server answers ({mode})."""
    n = run.network(mode=mode, guests=2)
    mac = mac_bytes(n.guests[1].mac)
    with run.capture():
        t = run.tcp(443)
        transaction = run.random.randrange(1 << 32)
        for _ in range(count):
            raw_send(n.guests[1], "eth0", dhcp_discover(run, mac, transaction))
            t.exchange(times=4, pause=0.3)
    return dict(facts=f"{count} DHCPDISCOVER, no offer; seen {'on virbr0 only' if mode == 'nat' else 'at both points'}",
                expect=[finding("dhcp-unanswered")], also=[])


@case("ok_dhcp_answered", count=4)
def dhcp_answered(run, count):
    """A guest asks for an address {count} times and gets an offer each time (it has many to choose from, and starts again)."""
    n = run.network(guests=2)
    mac = mac_bytes(n.guests[1].mac)
    with run.capture():
        t = run.tcp(443)
        for i in range(count):
            discover = dhcp_discover(run, mac, 7000 + i)
            raw_send(n.guests[1], "eth0", discover)
            # The host's offer is the same message from the other side (RFC 2131, table 3).
            bootp = b"\x02" + discover[43:58] + socket.inet_aton(n.guests[1].address) + discover[62:]
            bootp = bootp.replace(b"\x35\x01\x01", b"\x35\x01\x02")
            udp = struct.pack("!HHHH", 67, 68, 8 + len(bootp), 0) + bootp
            raw_send(n.host, "virbr0", BROADCAST + mac_bytes(json.loads(n.host("ip -j link show virbr0"))[0]["address"]) + b"\x08\0" + ipv4(f"{n.inside}.1", "255.255.255.255", 17, udp, ident=i + 1, df=False))
            t.exchange(times=4, pause=0.3)
        t.finish()
    return dict(facts=f"{count} DHCPDISCOVER, {count} offers", expect=[])


@case("dns_unanswered_outside", at="server", count=6)
@case("dns_unanswered_between", at="host", count=6)
@case("dns_unanswered_some", at="server", count=9, every=3)
def dns(run, at, count, every=1):
    """The {at} drops DNS questions (each of them, or one in {every}); the guest asks again and again, {count} names."""
    n = run.network(server="198.51.100.53")
    serve_udp(run, n.server, 53, lambda q: dns_answer(q, "192.0.2.80"))
    match = "udp dport 53" + (f" numgen inc mod {every} == 0" if every > 1 else "")
    rule = (n.server.rule("input", match, "drop") if at == "server" else n.host.rule("forward", match, "drop"))
    with run.capture():
        t, answered, sent = run.tcp(443), 0, 0
        for i in range(count):
            s = n.guest.socket(socket.AF_INET, socket.SOCK_DGRAM)
            s.settimeout(0.7)
            query = dns_query(run.random.randrange(65536), f"host{i}.lab.example")
            for _ in range(1 if every > 1 else 2):
                s.sendto(query, (n.server_address, 53))
                sent += 1
                try:
                    s.recv(2000)
                    answered += 1
                    break
                except OSError:
                    pass
            s.close()
            t.exchange()
        time.sleep(2)
    return dict(facts=f"{rule.count} of {sent} DNS questions dropped by the {at}, {answered} answered",
                expect=[finding("dns-unanswered", where="outside" if at == "server" else "between")],
                also=["transit-loss", "connection-not-forwarded", "udp-stall"])
