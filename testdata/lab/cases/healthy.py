"""Decoys: traffic that looks like trouble and is none. Every case here expects nothing."""
import socket
import struct
import time

from labkit.run import case
from labkit.traffic import Echo, dns_answer, dns_query, serve_udp


def fine(facts):
    return dict(facts=facts)


@case("ok_mix", gso=True)
@case("ok_mix_plain", offload=False, inside="10.0.0", outside="100.64.7")
@case("ok_mix_routed", mode="route", guests=2, inside="10.99.1")
@case("ok_mix_bridged", mode="bridge", guests=2)
@case("ok_mix_bridged_gso", mode="bridge", gso=True)
@case("ok_mix_three_guests", guests=3, more_servers=("198.51.100.8", "198.51.100.9"), gso=True, uplink_gro=True)
@case("ok_mix_mtu9000", mtu=9000)
@case("ok_mix_checksums_finished", finish=True)
@case("ok_mix_gso_split", gso=True, finish=True, inside="172.31.0")
@case("ok_mix_vlan", tag=100)
@case("ok_mix_vlan_bridged", tag=42, mode="bridge")
@case("ok_mix_vxlan", mode="bridge", vxlan=77, mtu=1400)
def mix(run, tag=0, **net):
    """Uploads, downloads, request and response, QUIC, ping, DNS, orderly ends: nothing is wrong."""
    n = run.network(**net, wires=("between", "outside") if tag else ())
    if tag:     # a tag is put on by each wire and taken off by the kernel when the other one reads the frame
        header = b"\x81\0" + tag.to_bytes(2, "big")
        run.wire("between", lambda frame, way, _: [frame[:12] + header + frame[12:]] if way == "out" else None)
        run.wire("outside", lambda frame, way, _: [frame[:12] + header + frame[12:]] if way == "in" else None)
    serve_udp(run, n.server, 53, lambda q: dns_answer(q, n.server_address))
    with run.capture():
        q = run.quic(443)
        for g in n.guests:
            resolver = g.socket(socket.AF_INET, socket.SOCK_DGRAM)
            resolver.settimeout(1)
            echo = Echo(g, n.server_address, run.random.randrange(65536))
            for i in range(3):
                resolver.sendto(dns_query(run.random.randrange(65536), f"www{i}.lab.example"), (n.server_address, 53))
                resolver.recv(2000)
                t = run.tcp(443 + i, guest=g, address=run.random.choice(n.server_addresses))
                assert t.exchange(300, 2500, times=3, pause=0.02)
                assert t.up(15000) if i % 2 else t.down(20000)
                echo.send()
                t.finish()
                time.sleep(0.1)
            echo.collect()
        for _ in range(3):
            assert q.up(400) and q.down(3000)
            time.sleep(0.1)
        q.close()
    return {**fine("healthy"), "about": f"Uploads, downloads, request and response, QUIC, ping, DNS, orderly ends: nothing is wrong ({', '.join(f'{k}={v}' for k, v in {**net, 'tag': tag}.items() if v)})."}


@case("ok_stp_hello")
def stp_hello(run):
    """virbr0 has STP on, as libvirt sets it: a hello every two seconds, the guest's traffic, nothing else."""
    run.network(stp=True)
    time.sleep(5)       # listening and learning
    with run.capture():
        t = run.tcp(443)
        t.exchange(times=40, pause=0.15)
        t.finish()
    return fine("STP hellos on virbr0, healthy")


@case("ok_idle", seconds=7)
def idle(run, seconds):
    """Two TCP connections and a UDP session say nothing for {seconds} s and go on as if nothing had been."""
    run.network()
    with run.capture():
        t, u = [run.tcp(5222), run.tcp(443)], run.udp(7844)
        for _ in range(4):
            assert t[0].exchange() and t[1].exchange() and u.exchange()
            time.sleep(0.1)
        time.sleep(seconds)
        assert t[1].down(900) and t[0].exchange() and u.down(300) and u.exchange()
        t[0].finish()
    return fine("idle, then all data arrives; one connection ends in order, one stays open")


@case("ok_rst_after_exchange", flows=6)
def reset_after(run, flows):
    """Applications that close with RST when they have everything: linger 0 after the answer, RST after the other side's FIN, data for a closed socket after a FIN."""
    run.network()
    with run.capture():
        for i in range(flows):
            t = run.tcp(443 + i % 2)
            t.exchange(200, 3000, times=2)
            if i % 3 == 0:
                t.abort(t.c)
            elif i % 3 == 1:
                t.s.close()
                time.sleep(0.02)
                t.abort(t.c)
            else:
                t.c.close()
                time.sleep(0.02)
                t.s.send(b"late words")
                time.sleep(0.02)
                t.s.close()
            time.sleep(0.1)
    return fine(f"{flows} complete exchanges, ended with RST in three harmless ways")


@case("ok_refused", count=6)
def refused(run, count):
    """The guest knocks at closed ports: the server answers SYN with RST."""
    n = run.network()
    with run.capture():
        live = run.tcp(443)
        errors = 0
        for i in range(count):
            c = n.guest.socket()
            errors += c.connect_ex((n.server_address, 9000 + i)) == 111
            c.close()
            live.exchange()
            time.sleep(0.1)
        live.finish()
    assert errors == count
    return fine(f"{count} times ECONNREFUSED")


@case("ok_reject_icmp", port=25)
def reject_icmp(run, port):
    """The host's firewall refuses new connections to port {port} with ICMP, as a policy; the guest is told at once and obeys."""
    n = run.network()
    n.host.rule("forward", f"tcp dport {port} ct state new", "reject with icmp type admin-prohibited")
    with run.capture():
        live = run.tcp(443)
        for _ in range(2):
            c = n.guest.socket()
            c.settimeout(1)
            assert c.connect_ex((n.server_address, port)) != 0
            c.close()
            live.exchange(times=3, pause=0.1)
    return {**fine("2 SYNs rejected with ICMP 3/13, told to the guest"), "also": ["connection-not-forwarded", "transit-loss"]}


@case("ok_reorder_between", place="between")
@case("ok_reorder_outside", place="outside")
def reorder(run, place):
    """A wire ({place}) lets every seventh packet wait for 2 ms: others overtake it, none is lost."""
    run.network(wires=(place,))
    state = {"out": 0, "in": 0}

    def late(frame, way, wire):
        state[way] += 1
        if wire.mode and state[way] % 7 == 0:
            wire.count["delayed"] += 1
            return [(0.002, frame)]
    w = run.wire(place, late)
    with run.capture("-s 120", "-s 120"):
        t, u = run.tcp(443), run.udp(5004)
        t.exchange(), u.exchange()
        w.mode = 1
        t.bulk(t.s, 300000, rate=150000, chunk=8192)
        u.flood(u.c, [200, 300], 300, 2)
        u.flood(u.s, [200, 300], 300, 1)
        w.mode = 0
        time.sleep(0.5)
        t.finish()
    count = w.stop()["delayed"]
    return {**fine(f"{count} packets held for 2 ms by the wire, none lost"), "also": ["retransmission"] if place == "outside" else []}


@case("ok_same_source_port", guests=3)
def same_port(run, guests):
    """{guests} guests use the same source port to the same server and port, TCP and UDP: NAT gives all but one another port."""
    n = run.network(guests=guests)
    with run.capture():
        live = [run.tcp(443, guest=g, sport=33333) for g in n.guests]
        udp = [run.udp(5060, guest=g, sport=5060) for g in n.guests]
        for _ in range(8):
            for t in live:
                assert t.exchange()
            for u in udp:
                assert u.exchange()
            time.sleep(0.1)
        for t in live:
            t.finish()
    return fine("all data arrived; outer ports differ from the inner ones for all but one guest")


@case("ok_zero_window", seconds=4)
def zero_window(run, seconds):
    """The server's application does not read for {seconds} s: zero window, probes by the guest, then all goes on."""
    run.network()
    with run.capture():
        t = run.tcp(8000, rcvbuf=8192)
        t.exchange(50, 50)
        t.c.settimeout(15)
        from labkit.traffic import background
        background(t.send, t.c, 60000)
        time.sleep(seconds)
        assert t.receive(t.s, 60000)
        t.exchange(50, 50)
        t.finish()
    return fine("zero window and persist probes, then 60000 bytes read")


@case("ok_keepalive", port=22)
def keepalive(run, port):
    """An idle connection with TCP keep-alives each second, all answered."""
    run.network()
    with run.capture():
        t = run.tcp(port)
        t.exchange(100, 300, times=3)
        for s, idle in ((t.c, 1), (t.s, 2)):
            s.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, idle)
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1)
        time.sleep(6)
        assert t.exchange()
        t.finish()
    return fine("keep-alives answered, data afterwards")


@case("ok_quic_idle", seconds=6)
def quic_idle(run, seconds):
    """A QUIC connection is silent for {seconds} s; then the server speaks first, and it arrives."""
    run.network()
    with run.capture():
        q = run.quic(7844)
        for _ in range(3):
            assert q.up(300) and q.down(900)
            time.sleep(0.2)
        time.sleep(seconds)
        assert q.down(1500) and q.up(300)
    return fine("idle, healthy; still open at the end")


@case("ok_quic_close", count=3)
def quic_close(run, count):
    """{count} QUIC connections, one after the other, each closed by the guest with CONNECTION_CLOSE; others go on."""
    run.network()
    with run.capture():
        t = run.tcp(22)
        for i in range(count):
            q = run.quic(443 + i)
            assert q.up(400) and q.down(5000)
            q.close()
            t.exchange(times=5, pause=0.2)
        t.exchange(times=8, pause=0.2)
    return fine("QUIC connections closed by the guest")


@case("ok_dns", count=12)
def dns(run, count):
    """{count} DNS questions from as many ports, each answered once; some NXDOMAIN-like late answers, no flow lives longer than its answer."""
    n = run.network(server="203.0.112.53", inside="10.1.1")

    def slow(query):
        time.sleep(0.03 * (len(query) % 4))
        return dns_answer(query, "192.0.2.80")
    serve_udp(run, n.server, 53, slow)
    with run.capture():
        for i in range(count):
            s = n.guest.socket(socket.AF_INET, socket.SOCK_DGRAM)
            s.settimeout(1)
            for kind in (1, 28):
                s.sendto(dns_query(run.random.randrange(65536), f"host{i}.lab.example", kind), (n.server_address, 53))
            s.recv(2000), s.recv(2000)
            s.close()
            time.sleep(0.1)
    return fine(f"{count * 2} questions, all answered")


@case("ok_guest_socket_closed", port=40404)
def guest_socket_closed(run, port):
    """The guest's program is gone and the server sends on: the guest itself answers ICMP port unreachable, which crosses both points."""
    run.network()
    with run.capture():
        t, u = run.tcp(443), run.udp(port)
        u.exchange(times=5, pause=0.1)
        u.c.close()
        for _ in range(4):
            u.s.sendto(run.random.randbytes(120), u.peer)
            t.exchange(times=2, pause=0.1)
    return {**fine("4 datagrams for a closed socket, each answered by the guest's own ICMP 3/3"), "also": ["udp-stall"]}


@case("ok_server_port_closed", port=40405)
def server_port_closed(run, port):
    """The guest sends UDP to a port where nobody listens: the server's ICMP port unreachable comes back through both points."""
    n = run.network()
    with run.capture():
        t = run.tcp(443)
        for i in range(5):
            s = n.guest.socket(socket.AF_INET, socket.SOCK_DGRAM)
            s.sendto(run.random.randbytes(80), (n.server_address, port))
            t.exchange(times=2, pause=0.1)
            s.close()
    return fine("5 datagrams, 5 ICMP 3/3 from the server")


@case("ok_traceroute", hops=4)
def traceroute(run, hops):
    """A traceroute from the guest: datagrams whose TTL ends at the host, at the router, and at the server."""
    n = run.network()
    with run.capture():
        t = run.tcp(443)
        for ttl in range(1, hops + 1):
            for i in range(3):
                s = n.guest.socket(socket.AF_INET, socket.SOCK_DGRAM)
                s.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
                s.sendto(run.random.randbytes(32), (n.server_address, 33434 + ttl * 3 + i))
                time.sleep(0.06)
                s.close()
            t.exchange()
        t.finish()
    return fine("3 datagrams with TTL 1 end at the host, 3 with TTL 2 at the router: time exceeded")


@case("ok_mss_clamped", mss=1360)
def mss_clamped(run, mss):
    """The host clamps the MSS of both SYNs to {mss}: a cure, not a fault."""
    n = run.network()
    n.host("nft add table ip change")
    n.host("nft 'add chain ip change packets { type filter hook forward priority -150; }'")
    n.host(f"nft add rule ip change packets 'tcp flags & (syn|rst) == syn tcp option maxseg size set {mss}'")
    with run.capture():
        for port in (443, 8443):
            t = run.tcp(port)
            t.exchange(times=3)
            assert t.up(30000) and t.down(30000)
            t.finish()
    return fine(f"MSS 1460 became {mss} in both directions; healthy (mss-clamped is information)")


@case("ok_dscp_wiped")
def dscp(run):
    """The host sets DSCP EF of the guest's packets to 0 on the way out: information, not a fault."""
    n = run.network()
    n.host("nft add table ip change")
    n.host("nft 'add chain ip change packets { type filter hook forward priority -150; }'")
    n.host("nft add rule ip change packets iifname virbr0 ip dscp set cs0")
    with run.capture():
        t, u = run.tcp(443), run.udp(5060)
        for s in (t.c, u.c):
            s.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, 0xB8)
        for _ in range(20):
            t.exchange(), u.exchange()
            time.sleep(0.05)
        t.finish()
    return fine("TOS b8 on virbr0 is 00 on the uplink (header-rewritten is information)")


@case("ok_options_stripped")
def options_stripped(run):
    """The host removes SACK-permitted and timestamps from the guest's SYN: information, the connections work."""
    n = run.network()
    n.host("nft add table ip change")
    n.host("nft 'add chain ip change packets { type filter hook forward priority -150; }'")
    for option in ("sack-perm", "timestamp"):
        n.host(f"nft add rule ip change packets iifname virbr0 'tcp flags syn reset tcp option {option}'")
    with run.capture():
        for _ in range(3):
            t = run.tcp(443)
            t.exchange(times=4, pause=0.05)
            assert t.up(9000)
            t.finish()
    return fine("SYN options removed between the points (header-rewritten is information)")


@case("ok_fragments", size=4000)
def fragments(run, size):
    """UDP datagrams of {size} bytes cross in fragments, all of them."""
    run.network()
    with run.capture():
        u = run.udp(2049)
        assert u.exchange(size, size, times=8, pause=0.1)
    return fine("8 datagrams each way in 3 fragments, all arrived")


@case("ok_ping", count=60, rate=15)
def ping(run, count, rate):
    """{count} pings at {rate} a second, and a few big ones, all answered."""
    n = run.network()
    with run.capture():
        e = Echo(n.guest, n.server_address, 4242)
        e.train(count, rate)
        e.train(5, 10, size=1400)
    assert e.answered == e.sent
    return fine(f"{e.sent} echo requests, {e.answered} answers")


@case("ok_host_local_traffic")
def host_local(run):
    """The guest also talks with the host itself (a service on virbr0's address): those packets never belong on the uplink."""
    n = run.network()
    serve_udp(run, n.host, 53, lambda q: dns_answer(q, "192.0.2.1"))
    with run.capture():
        t = run.tcp(443)
        for i in range(15):
            s = n.guest.socket(socket.AF_INET, socket.SOCK_DGRAM)
            s.settimeout(1)
            s.sendto(dns_query(i, f"h{i}.lab.example"), (f"{n.inside}.1", 53))
            s.recv(2000)
            s.close()
            t.exchange()
            time.sleep(0.05)
        e = Echo(n.guest, f"{n.inside}.1", 77)
        e.train(5, 10)
        t.finish()
    return fine("15 DNS questions and 5 pings to the host itself, on virbr0 only")


@case("ok_host_own_traffic")
def host_own(run):
    """The host has traffic of its own on the uplink, and strangers scan its closed ports: nothing of it concerns the guest."""
    n = run.network()
    with run.capture():
        t = run.tcp(443)
        own = socket.socket
        for i in range(8):
            with n.server:
                scan = own(socket.AF_INET, socket.SOCK_STREAM)
                scan.connect_ex((n.outside_address, 20000 + i))
                scan.close()
                u = own(socket.AF_INET, socket.SOCK_DGRAM)
                u.sendto(b"scan" * 8, (n.outside_address, 30000 + i))
                u.close()
            c = n.host.socket()
            c.settimeout(2)
            c.connect((n.server_address, 443))
            s, _ = next(iter(run.listeners.values())).accept()
            c.sendall(b"host" * 50)
            s.recv(500)
            c.close(), s.close()
            t.exchange()
            time.sleep(0.1)
        t.finish()
    return fine("8 scanned TCP ports (RST by the host), 8 UDP ports (ICMP by the host), 8 connections of the host's own")


@case("ok_guest_to_guest")
def guest_to_guest(run):
    """Two guests talk with each other over the bridge, and with the world: the former never reaches the uplink."""
    n = run.network(guests=2)
    with run.capture():
        t = run.tcp(443)
        l = n.guests[1].socket()
        l.bind(("", 5000)), l.listen(4)
        c = n.guest.socket()
        c.connect((n.guests[1].address, 5000))
        s, _ = l.accept()
        for _ in range(15):
            c.sendall(run.random.randbytes(700))
            s.recv(2000)
            t.exchange()
            time.sleep(0.08)
        for x in (c, s, l):
            x.close()
        t.finish()
    return fine("guest-to-guest TCP on virbr0 only")


@case("ok_rst_after_fin")
def rst_after_fin(run):
    """The guest closes its connections in order; the server sends once more, to a socket that is gone: the guest's system answers with RST."""
    run.network()
    with run.capture():
        for _ in range(3):
            t = run.tcp(443)
            assert t.exchange(times=4, pause=0.05)
            t.c.close()
            time.sleep(0.1)
            t.s.sendall(run.random.randbytes(300))
            time.sleep(0.3)
    return dict(facts="3 connections closed by FIN, each with late data of the server that is answered by RST", expect=[])


@case("ok_host_scanned", ports=12)
def host_scanned(run, ports):
    """Somebody outside tries ports of the host itself, by TCP and UDP, while a guest's traffic goes on: the host resets and refuses, and no guest is concerned."""
    n = run.network()
    with run.capture():
        t, u = run.tcp(443), run.udp(5004)
        for i in range(ports):
            assert t.exchange() and u.exchange()
            s = n.server.socket(socket.AF_INET, socket.SOCK_STREAM)
            s.settimeout(1)
            refused = s.connect_ex((n.outside_address, 2000 + i))
            s.close()
            assert refused
            d = n.server.socket(socket.AF_INET, socket.SOCK_DGRAM)
            d.sendto(b"anybody there?", (n.outside_address, 3000 + i))
            d.close()
            time.sleep(0.1)
        t.finish()
    return dict(facts=f"{ports} TCP and {ports} UDP ports of the host tried from outside", expect=[])


@case("ok_reset_after_death")
def reset_after_death(run):
    """A guest ends an exchange by RST, which the server's own firewall drops; eleven seconds later, when the host has forgotten the dead connection, the server writes to it and the host answers with RST."""
    n = run.network()
    rule = n.server.rule("input", "tcp flags & rst == rst iifname eth0", "drop")
    with run.capture():
        t, other = run.tcp(443), run.tcp(22)
        assert t.exchange(times=4, pause=0.05)
        t.c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        t.c.close()
        for _ in range(24):
            assert other.exchange(60, 60)
            time.sleep(0.48)
        t.s.sendall(run.random.randbytes(200))
        time.sleep(0.1)
        other.finish()
    assert rule.count >= 1
    return dict(facts="the connection was dead for 11 s when the host reset it", expect=[])


@case("ok_groups_and_broadcasts", times=10)
def groups_and_broadcasts(run, times):
    """A guest behind NAT speaks to groups and by broadcast, which no host forwards, beside traffic that crosses."""
    n = run.network()
    with run.capture():
        t = run.tcp(443)
        s = n.guest.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 255)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        for _ in range(times):
            for group in (("224.0.0.251", 5353), ("239.255.255.250", 1900), ("255.255.255.255", 67), (n.inside + ".255", 138)):
                s.sendto(run.random.randbytes(80), group)
            assert t.exchange()
            time.sleep(0.1)
        s.close()
        t.finish()
    return dict(facts=f"{4 * times} datagrams to groups and by broadcast, none forwarded", expect=[])


@case("ok_source_port_reused", sport=41000, port=443)
def source_port_reused(run, sport, port):
    """A guest closes connections and opens the next ones from the same port, while the server is still in TIME-WAIT."""
    run.network()
    with run.capture("-s 128", "-s 128"):
        for _ in range(4):
            t = run.tcp(port, sport=sport)
            t.exchange(times=3, pause=0.02)
            # The server closes first, so that its end waits and the guest's port is free.
            t.s.close()
            time.sleep(0.05)
            t.c.close()
            time.sleep(0.3)
    return fine("4 connections between the same ports, one after the other")


@case("ok_late_answers", port=5060, wait=33)
def late_answers(run, port, wait):
    """Datagrams whose answer comes later than the 30 s after which Linux forgets a flow that is new; this one is not."""
    run.network()
    with run.capture():
        t, other = run.udp(port), run.tcp(443)
        good = t.exchange(times=6, pause=0.6) and t.up()
        for _ in range(wait):
            other.exchange()
            time.sleep(1)
        good = good and t.down() and t.exchange(times=2, pause=0.1)
    assert good
    return fine(f"an answer {wait} s after its question; all data arrived")


@case("ok_gateway_takes_over", port=443)
def gateway_takes_over(run, port):
    """The router's address moves to the MAC of a VRRP group (RFC 9568), as when another router takes over."""
    n = run.network()
    with run.capture():
        flows = [run.tcp(port) for _ in range(3)]
        for t in flows:
            t.exchange(times=5, pause=0.05)
        n.router("ip link set eth0 address 00:00:5e:00:01:0a")
        n.host(f"ip neigh flush dev {n.up}")
        time.sleep(0.1)
        good = [t.exchange(times=8, pause=0.05) for t in flows + [run.tcp(port)]]
    return fine(f"{len(good)} connections went on through the new MAC")


@case("ok_quic_moves", port=443)
def quic_moves(run, port):
    """A QUIC client goes on from another port of the guest, as after a change of its network: the server validates the path."""
    n = run.network()
    source = "iptables -t nat -{} POSTROUTING -p udp --dport {} -j SNAT --to-source {}:{}"
    n.guest(source.format("A", port, n.guest.address, 50100))
    with run.capture("-s 128", "-s 128"):
        q, other = run.quic(port), run.tcp(443)
        good = [q.up(300) and q.down(700) for _ in range(8)]
        other.exchange()
        n.guest(source.format("D", port, n.guest.address, 50100))
        n.guest(source.format("A", port, n.guest.address, 50200))
        n.guest("conntrack -F")
        good += [q.up(300) and q.down(700) for _ in range(12)]
        other.exchange()
    assert all(good)
    return fine("source port 50100, then 50200; all data arrived")
