"""The link layer: reflected and doubled frames, moving MACs, spanning tree."""
import json
import socket
import struct
import time

from labkit.net import ipv4, checksum, raw_send
from labkit.run import case, finding
from labkit.traffic import Echo

BROADCAST = b"\xff" * 6


def mac_bytes(text):
    return bytes.fromhex(text.replace(":", ""))


def arp(op, sender_mac, sender_ip, target_mac, target_ip, to=BROADCAST):
    return (to + sender_mac + b"\x08\x06" + struct.pack("!HHBBH", 1, 0x0800, 6, 4, op) + sender_mac + socket.inet_aton(sender_ip) +
            target_mac + socket.inet_aton(target_ip))


def multicast(run, n, count, pause=0.1):
    s = n.guest.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 255)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    net = n.guest.address.rsplit(".", 1)[0]
    for i in range(count):
        s.sendto(run.random.randbytes(60 + i), ("224.0.0.251", 5353) if i % 2 else (net + ".255", 138))
        time.sleep(pause)
    s.close()


@case("reflected_broadcasts", delay=0.0002, only_group=True)
@case("reflected_late", delay=0.045, only_group=True, padded=True)
@case("reflected_all", delay=0.001, only_group=False)
def reflected(run, delay, only_group, padded=False):
    """The switch beyond the uplink sends the bridged guest's frames back in after {delay} s (broadcasts and multicasts only: {only_group}; padded to 60 bytes: {padded})."""
    n = run.network(mode="bridge", wires=("outside",))

    def mirror(frame, way, wire):
        if wire.mode and way == "out" and (frame[0] & 1 or not only_group) and frame[6:12] == guest_mac:
            wire.count["reflected"] += 1
            return [frame, (delay, ("back", frame.ljust(60, b"\0") if padded else frame))]
    guest_mac = mac_bytes(n.guest.mac)
    w = run.wire("outside", mirror)
    with run.capture():
        t = run.tcp(443)
        t.exchange(times=3, pause=0.05)
        w.mode = 1
        for _ in range(5):
            multicast(run, n, 4, pause=0.03)
            if only_group:
                t.exchange(pause=0.05)
            else:
                t.exchange(60, 60, pause=0.05)
        w.mode = 0
        time.sleep(0.2)
    count = w.stop()["reflected"]
    assert count >= 10
    return dict(facts=f"{count} frames of the guest sent back by the wire after {delay} s", expect=[finding("reflected-frame", where="outside")],
                also=["duplicate-frame", "mac-move", "retransmission"])


@case("ok_repeated_questions", rounds=6)
def repeated_questions(run, rounds):
    """A guest asks its link by IPv6 multicast and repeats each question after a tenth of a second, as LLMNR and listener reports do: the same bytes, without an identification, and no reflection."""
    n = run.network(mode="bridge")
    n.guest.sysctl(ipv6__conf__all__disable_ipv6=0, ipv6__conf__eth0__disable_ipv6=0)
    time.sleep(2)
    with run.capture():
        t = run.tcp(443)
        s = n.guest.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        with n.guest:
            link = socket.if_nametoindex("eth0")
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, link)
        for _ in range(rounds):
            question = run.random.randbytes(30)
            for _ in range(2):
                s.sendto(question, ("ff02::1:3", 5355, 0, link))
                time.sleep(0.09 + 0.03 * run.random.random())
            t.exchange(times=2, pause=0.5)
        s.close()
        t.finish()
    return dict(facts=f"{rounds} questions by multicast, each asked twice by the guest itself", expect=[])


@case("duplicates_outbound", way="out")
@case("duplicates_inbound", way="in")
@case("duplicates_outbound_bridged", way="out", mode="bridge")
def duplicates(run, way, mode="nat"):
    """A wire between the points doubles every tenth frame ({way}, {mode}) within a millisecond: once at one point, twice at the other."""
    run.network(wires=("between",), mode=mode)
    state = {"n": 0}

    def double(frame, direction, wire):
        if wire.mode and direction == way and frame[12:14] == b"\x08\0":
            state["n"] += 1
            if state["n"] % 10 == 0:
                wire.count["doubled"] += 1
                return [frame, (0.0008, frame)]
    w = run.wire("between", double)
    with run.capture():
        t, u = run.tcp(443), run.udp(5004)
        t.exchange(), u.exchange()
        w.mode = 1
        for _ in range(60):
            t.exchange()
            u.up(100), u.down(100)
            time.sleep(0.02)
        w.mode = 0
        time.sleep(0.1)
    count = w.stop()["doubled"]
    return dict(facts=f"{count} frames doubled between the points, {way}", expect=[finding("duplicate-frame", where="between", packets=count)],
                also=["retransmission", "one-sided-retransmission"])


@case("ok_duplicates_outside")
def duplicates_outside(run):
    """The network beyond doubles frames on their way in: both points see both copies, so nothing happened between them."""
    run.network(wires=("outside",))
    state = {"n": 0}

    def double(frame, direction, wire):
        if wire.mode and direction == "in" and frame[12:14] == b"\x08\0":
            state["n"] += 1
            if state["n"] % 12 == 0:
                wire.count["doubled"] += 1
                return [frame, (0.0008, frame)]
    w = run.wire("outside", double)
    with run.capture():
        t, u = run.tcp(443), run.udp(5004)
        t.exchange(), u.exchange()
        w.mode = 1
        for _ in range(40):
            t.exchange(), u.exchange()
            time.sleep(0.02)
        w.mode = 0
    return dict(facts=f"{w.stop()['doubled']} inbound frames doubled beyond the uplink; both copies at both points", also=["duplicate-frame", "retransmission"])


@case("ok_mac_migrated", announcements=2)
def mac_migrated(run, announcements):
    """A guest moves to another host beyond the uplink: it falls silent inside, announces itself from outside ({announcements} gratuitous ARPs), and goes on from there."""
    n = run.network(mode="bridge", guests=2)
    mac, other = mac_bytes(n.guest.mac), n.guests[1]
    with run.capture():
        t, u = run.tcp(443), run.tcp(8080, guest=other)
        e = Echo(n.guest, other.address, 5)
        for i in range(6):
            t.exchange(times=2, pause=0.05)
            e.send()
            u.exchange(times=2, pause=0.05)
        t.finish()
        time.sleep(0.3)
        n.guest("ip link set eth0 down")
        for i in range(announcements):
            raw_send(n.router, "eth0", arp(1, mac, n.guest.address, b"\0" * 6, n.guest.address))
            time.sleep(0.3)
        for i in range(8):
            body = struct.pack("!BBHHH", 8, 0, 0, 999, i) + bytes(40)
            body = body[:2] + struct.pack("!H", checksum(body)) + body[4:]
            raw_send(n.router, "eth0", mac_bytes(other.mac) + mac + b"\x08\0" + ipv4(n.guest.address, other.address, 1, body, ident=7000 + i))
            u.exchange(times=2, pause=0.05)
    return dict(facts=f"the guest's link went down inside, then {announcements} gratuitous ARPs and 8 pings with its MAC came from outside", expect=[])


@case("ok_igmp_querier", seconds=10, port=443)
@case("ok_igmp_querier_fast", seconds=8, port=8080, every=1)
def igmp_querier(run, seconds, port, every=4):
    """The router asks who listens to which group, the guests and the host's bridge report, the bridge from its own MAC and no address, and the router sends datagrams to a group back in, from its own MAC, as an mDNS reflector does."""
    n = run.network(mode="bridge", guests=2)
    n.host(f"ip link set virbr0 type bridge mcast_snooping 1 mcast_querier 1 mcast_startup_query_count 100 mcast_startup_query_interval {every * 100}")
    router_mac = mac_bytes(json.loads(n.router("ip -j link show eth0"))[0]["address"])
    group, all_hosts = "239.1.2.3", "224.0.0.1"
    to = lambda group: b"\x01\x00\x5e" + bytes([socket.inet_aton(group)[1] & 127]) + socket.inet_aton(group)[2:]
    listeners = []
    for g in n.guests:
        s = g.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.bind(("", 5353))
        s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 255)
        s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 0)
        listeners.append(s)
    with run.capture("-s 128", "-s 128"):
        t, u = run.tcp(port), run.tcp(22, guest=n.guests[1])
        e = Echo(n.guest, n.guests[1].address, 5)
        for s, g in zip(listeners, n.guests):
            s.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(group) + socket.inet_aton(g.address))
        for i in range(2 * seconds):
            assert t.exchange(60, 60) and u.exchange(60, 60)
            e.send()
            data = run.random.randbytes(60)
            listeners[i % 2].sendto(data, (group, 5353))
            datagram = struct.pack("!HHHH", 5353, 5353, 8 + len(data), 0) + data
            raw_send(n.router, "eth0", to(group) + router_mac + b"\x08\0" + ipv4(n.gateway, group, 17, datagram, ttl=255, ident=100 + i))
            if i % (2 * every) == 0:
                query = struct.pack("!BBH4sBBH", 0x11, 10, 0, bytes(4), 2, 10, 0)
                query = query[:2] + struct.pack("!H", checksum(query)) + query[4:]
                raw_send(n.router, "eth0", to(all_hosts) + router_mac + b"\x08\0" + ipv4(n.gateway, all_hosts, 2, query, ttl=1, ident=500 + i))
            time.sleep(0.4)
    for s in listeners:
        s.close()
    return dict(facts=f"a querier beyond the uplink, {2 * seconds} datagrams to a group and as many sent on by the router; all other data arrived", expect=[])


@case("mac_move", rounds=8, port=443)
@case("mac_move_slow", rounds=5, port=8443, pause=0.6)
def mac_move(run, rounds, port, pause=0.15):
    """A guest's MAC appears beyond the uplink while the guest still lives inside (a clone, or a wrong migration): its frames come in from outside, by turns with the real ones."""
    n = run.network(mode="bridge", guests=2)
    mac, other = mac_bytes(n.guest.mac), n.guests[1]
    with run.capture():
        t = run.tcp(port)
        e = Echo(n.guest, other.address, 5)
        sent = 0
        for i in range(rounds):
            t.exchange(times=2, pause=0.05)
            e.send()
            # The twin beyond the uplink announces itself and pings guest 2: other frames than any that left from inside.
            raw_send(n.router, "eth0", arp(1, mac, n.guest.address, b"\0" * 6, n.guest.address))
            body = struct.pack("!BBHHH", 8, 0, 0, 999, i) + bytes(40)
            body = body[:2] + struct.pack("!H", checksum(body)) + body[4:]
            raw_send(n.router, "eth0", mac_bytes(other.mac) + mac + b"\x08\0" + ipv4(n.guest.address, other.address, 1, body, ident=7000 + i))
            sent += 2
            time.sleep(pause)
    return dict(facts=f"{sent} frames with the guest's MAC injected beyond the uplink, {rounds} of them gratuitous ARP", expect=[finding("mac-move")],
                also=["reflected-frame", "retransmission", "arp-unanswered"])


@case("stp_topology_change", changes=3)
@case("stp_topology_change_once", changes=1, quiet=8)
@case("ok_stp_steady", changes=0, quiet=8)
def stp(run, changes, quiet=0):
    """A switch with spanning tree beyond the uplink; {quiet} s after the start one of its other ports goes down and up {changes} times, and its BPDUs carry the topology-change flag to the bridged guest's host."""
    n = run.network(mode="bridge")
    # The router's end of the uplink becomes a switch, with the router's address on it.
    r = n.router
    r("ip addr flush dev eth0")
    r("ip link add sw type bridge stp_state 1 forward_delay 200 hello_time 100")
    r("ip link set eth0 master sw")
    r("ip link add spare type veth peer name spare-end")
    r("ip link set spare master sw up"), r("ip link set sw up")
    r(f"ip addr add {n.gateway}/24 dev sw")
    r("ip link set spare-end up")
    # The flag of the spare port's own beginning stays set for a while (forward delay and maximum age, 802.1D).
    time.sleep(40 if quiet else 5)
    with run.capture():
        t = run.tcp(443)
        for _ in range(quiet):
            t.exchange(pause=1)
        for _ in range(changes):
            r("ip link set spare-end down")
            t.exchange(times=5, pause=0.2)
            r("ip link set spare-end up")
            t.exchange(times=20, pause=0.25)
    return dict(facts=f"the spare port went down and up {changes} times; kernel STP announced it", expect=[finding("stp-topology-change")] if changes else [], also=[])
