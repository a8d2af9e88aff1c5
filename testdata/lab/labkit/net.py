"""Network namespaces and the topology: guests - virbr0 [host] uplink - router - server.

Everything lives in namespaces of its own, named after this process, so nothing touches the machine's real network
and two labs can run side by side.
"""
import ctypes
import json
import os
import shlex
import socket
import struct
import subprocess
import threading
import time

CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)
_home = os.open("/proc/self/ns/net", os.O_RDONLY)
_where = threading.local()


def _setns(fd):
    if _libc.setns(fd, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


class Node:
    """One network namespace. `with node:` moves the calling thread into it: sockets made and programs started there belong to it."""

    def __init__(self, prefix, name):
        self.name, self.ns, self.counters = name, f"{prefix}-{name}", 0
        subprocess.run(["ip", "netns", "add", self.ns], check=True)
        self.fd = os.open(f"/run/netns/{self.ns}", os.O_RDONLY)
        self("ip link set lo up")

    def __enter__(self):
        stack = _where.__dict__.setdefault("stack", [_home])
        stack.append(self.fd)
        _setns(self.fd)
        return self

    def __exit__(self, *_):
        _where.stack.pop()
        _setns(_where.stack[-1])

    def __call__(self, command, check=True):
        """Runs a command inside and returns what it printed."""
        with self:
            p = subprocess.run(shlex.split(command), text=True, capture_output=True)
        if check and p.returncode:
            raise RuntimeError(f"{self.name}: {command}: {p.stderr.strip()}")
        return p.stdout

    def popen(self, command, **kw):
        with self:
            return subprocess.Popen(shlex.split(command), **kw)

    def socket(self, *args):
        with self:
            return socket.socket(*args)

    def sysctl(self, **values):
        for key, value in values.items():
            with self, open("/proc/sys/net/" + key.replace("__", "/"), "w") as f:
                f.write(str(value))

    def offload(self, dev, **features):
        """offload("eth0", tx=False, gso=False)"""
        self(f"ethtool -K {dev} " + " ".join(f"{k} {'on' if v else 'off'}" for k, v in features.items()), check=False)

    def rule(self, hook, match, verdict, priority=-10, family="inet", kind="filter"):
        """Adds a counted nftables rule and returns it; rule.count is its truth, rule.remove() ends the fault."""
        return Rule(self, hook, match, verdict, priority, family, kind)

    def close(self):
        os.close(self.fd)
        subprocess.run(["ip", "netns", "del", self.ns])


class Rule:
    def __init__(self, node, hook, match, verdict, priority, family, kind):
        node.counters += 1
        self.node, self.counter = node, f"c{node.counters}"
        self.table = f"{family} fault"
        self.chain = f"{self.table} {hook}{abs(priority)}{kind[0]}"
        where = f"priority {priority}"
        if family == "netdev":
            hook, _, device = hook.partition(":")
            self.chain = f"{self.table} {hook}"
            where = f"device {device} {where}"
        node(f"nft add table {self.table}")
        node(f"nft 'add chain {self.chain} {{ type {kind} hook {hook} {where}; }}'")
        node(f"nft add counter {self.table} {self.counter}")
        out = node(f"nft -j -e -a 'add rule {self.chain} {match} counter name {self.counter} {verdict}'")
        self.handle = json.loads(out)["nftables"][0]["add"]["rule"]["handle"]

    @property
    def count(self):
        out = json.loads(self.node(f"nft -j list counter {self.table} {self.counter}"))
        return next(x["counter"]["packets"] for x in out["nftables"] if "counter" in x)

    def remove(self):
        self.node(f"nft delete rule {self.chain} handle {self.handle}")


def plain(node, dev):
    """No offload at all: every frame as it would be on a cable, with its checksum complete."""
    node.offload(dev, tx=False, tso=False, gso=False, gro=False)


class Net:
    """The namespaces of one case.

    mode    nat (MASQUERADE on the uplink), route (no translation) or bridge (the guest is in the uplink's network)
    wires   places where a userspace wire joins two links: inside (guest 1's link), between (host and capture point B), outside
    gso     superframes on the inner side; offload: partial checksums from guest and host (as virtio-net and a NIC would show)
    uplink_gro  the uplink merges what comes in, as a NIC's driver does
    finish  partial checksums are finished before capture point B, in software
    vxlan   with mode bridge: virbr0 reaches the router through a VXLAN tunnel of this number over the uplink
    """

    def __init__(self, run, mode="nat", guests=1, inside="192.168.122", outside="203.0.113", host_address=5, server="198.51.100.7",
                 more_servers=(), wires=(), gso=False, offload=True, mtu=1500, guest_host=10, ipv6=False, stp=False, uplink_gro=False, finish=False, vxlan=0):
        self.run, self.mode, self.nodes = run, mode, []
        run.net = self                  # so that a network that fails half-way is removed, too
        self.prefix = f"pl{os.getpid()}"
        self.wires, self.wire_nodes = wires, {}
        rng = run.random
        mac = lambda: "52:54:00:" + ":".join(f"{rng.randrange(256):02x}" for _ in range(3))
        self.host, self.router, self.server = (self.node(n) for n in ("host", "router", "server"))
        self.guests = [self.node(f"guest{i + 1}") for i in range(guests)]
        self.guest = self.guests[0]
        self.outside_address = f"{outside}.{host_address}"
        self.gateway = f"{outside}.1"
        self.server_address, self.server_addresses = server, [server, *more_servers]
        self.inside = inside
        segment = outside if mode == "bridge" else inside

        self.up = "up0" if "between" in wires else "uplink"
        self.b_node, self.b_dev = (None, "uplink")
        if os.path.exists("/proc/sys/net/bridge"):   # else the bridge would run the IP firewall, and a REJECT would bypass virbr0
            self.host.sysctl(**{f"bridge__bridge-nf-call-{t}": 0 for t in ("iptables", "ip6tables", "arptables")})
        self.host("ip link add virbr0 type bridge forward_delay 200 stp_state %d" % stp)
        self.host(f"ip link set virbr0 address {mac()} up")
        for i, g in enumerate(self.guests):
            if i == 0 and "inside" in wires:
                w = self.wire_node("inside")
                self.cable(g, "eth0", w, "left")
                self.cable(w, "right", self.host, "vnet1")
            else:
                self.cable(g, "eth0", self.host, f"vnet{i + 1}")
            g(f"ip link set eth0 address {mac()}")
            g.mac = json.loads(g("ip -j link show eth0"))[0]["address"]   # as text
            self.host(f"ip link set vnet{i + 1} master virbr0")
        if "between" in wires:
            w = self.wire_node("between")
            self.cable(self.host, "up0", w, "left")
            self.b_node, left = w, (w, "uplink")
        else:
            self.b_node, left = self.host, (self.host, "uplink")
        if "outside" in wires:
            w = self.wire_node("outside")
            self.cable(*left, w, "left")
            self.cable(w, "right", self.router, "eth0")
        else:
            self.cable(*left, self.router, "eth0")
        self.host(f"ip link set {self.up} address {mac()}")
        self.router(f"ip link set eth0 address {mac()}")
        near = "eth0"       # the router's device in the guest's or the host's network
        if vxlan:
            for node, dev, own, other in ((self.host, self.up, "192.0.2.1", "192.0.2.2"), (self.router, "eth0", "192.0.2.2", "192.0.2.1")):
                node(f"ip addr add {own}/24 dev {dev}")
                node(f"ip link add vxlan0 type vxlan id {vxlan} local {own} remote {other} dstport 4789")
            self.up, near = "vxlan0", "vxlan0"
        self.host(f"ip link set {self.up} up")
        self.router(f"ip link set {near} up")
        self.cable(self.router, "eth1", self.server, "eth0")

        self.router(f"ip addr add {outside}.1/24 dev {near}")
        net = server.rsplit(".", 1)[0]
        self.router(f"ip addr add {net}.254/24 dev eth1")
        for a in self.server_addresses:
            self.server(f"ip addr add {a}/24 dev eth0")
        self.server(f"ip route add default via {net}.254")
        self.router.sysctl(ipv4__ip_forward=1)
        if mode == "bridge":
            self.host(f"ip link set {self.up} master virbr0")
        else:
            self.host(f"ip addr add {inside}.1/24 dev virbr0")
            self.host(f"ip addr add {self.outside_address}/24 dev {self.up}")
            self.host(f"ip route add default via {outside}.1")
            self.host.sysctl(ipv4__ip_forward=1)
        for i, g in enumerate(self.guests):
            g.address = f"{segment}.{guest_host + i}"
            g(f"ip addr add {g.address}/24 dev eth0")
            g(f"ip route add default via {segment}.1")
        if mode == "nat":
            self.masquerade()
        elif mode == "route":
            self.router(f"ip route add {inside}.0/24 via {self.outside_address}")
        if ipv6:
            self.add_ipv6()
        if mtu != 1500:
            for n in self.nodes:
                for d in json.loads(n("ip -j link")):
                    if d["ifname"] != "lo":
                        n(f"ip link set {d['ifname']} mtu {mtu}")
        for n in [*self.guests, self.router, self.server]:
            dev = [d["ifname"] for d in json.loads(n("ip -j link")) if d["ifname"] != "lo"]
            for d in dev:
                # The far side always sends frames as a cable carries them; the guest's own offload is the parameter.
                plain(n, d) if n not in self.guests else n.offload(d, tx=offload, tso=gso, gso=gso, gro=gso)
        self.host.offload("vnet1", gro=gso, gso=gso, tso=gso)
        if not offload or wires:
            for dev in [self.up, "virbr0", *[f"vnet{i + 1}" for i in range(guests)]]:
                plain(self.host, dev)
        for w in self.wire_nodes.values():
            for d in ("left", "right", "uplink"):
                plain(w, d)
        if "inside" in wires:
            plain(self.guest, "eth0")
        self.host.offload("uplink", gro=uplink_gro)
        if finish:
            self.host.offload("uplink", tx=False)
        self.server_side = net

    def node(self, name):
        n = Node(self.prefix, name)
        self.nodes.append(n)
        n.sysctl(ipv6__conf__all__disable_ipv6=1, ipv6__conf__default__disable_ipv6=1)
        return n

    def wire_node(self, place):
        self.wire_nodes[place] = self.node("wire-" + place)
        return self.wire_nodes[place]

    def cable(self, a, a_dev, b, b_dev):
        subprocess.run(["ip", "link", "add", a_dev, "netns", a.ns, "type", "veth", "peer", "name", b_dev, "netns", b.ns], check=True)
        a(f"ip link set {a_dev} up")
        b(f"ip link set {b_dev} up")

    def wire_ends(self, place):
        """(node, device towards the guest, device towards the server) of a wire."""
        return self.wire_nodes[place], "left", "uplink" if place == "between" else "right"

    def masquerade(self, match="", to=""):
        self.host("nft add table ip nat")
        self.host("nft 'add chain ip nat post { type nat hook postrouting priority 100; }'")
        self.host(f"nft add rule ip nat post ip saddr {self.inside}.0/24 oifname {self.up} {match} masquerade {to}")

    def masquerade6(self):
        """Translates the guests' IPv6 addresses to the uplink's."""
        self.host("nft add table ip6 nat")
        self.host("nft 'add chain ip6 nat post { type nat hook postrouting priority 100; }'")
        self.host(f"nft add rule ip6 nat post ip6 saddr fd00:122::/64 oifname {self.up} masquerade")

    def forward_port(self, port, guest=None, to=None, proto="tcp"):
        """An inbound service: PORT of the host's outer address leads to the guest."""
        guest = guest or self.guest
        self.host("nft add table ip nat")
        self.host("nft 'add chain ip nat pre { type nat hook prerouting priority -100; }'")
        self.host(f"nft add rule ip nat pre iifname {self.up} {proto} dport {port} dnat to {guest.address}:{to or port}")

    def add_ipv6(self):
        """fd00:122::/64 inside, 2001:db8:5::/64 at the uplink, 2001:db8:7::/64 at the server; routed, no translation."""
        nodes = [*self.guests, self.host, self.router, self.server]
        for n in nodes:
            n.sysctl(ipv6__conf__all__disable_ipv6=0, ipv6__conf__default__disable_ipv6=0)
            for d in json.loads(n("ip -j link")):
                n.sysctl(**{f"ipv6__conf__{d['ifname']}__disable_ipv6": 0, f"ipv6__conf__{d['ifname']}__accept_dad": 0})
        for n in (self.host, self.router):
            n.sysctl(ipv6__conf__all__forwarding=1)
        self.host("ip addr add fd00:122::1/64 dev virbr0 nodad")
        self.host(f"ip addr add 2001:db8:5::5/64 dev {self.up} nodad")
        self.host("ip route add default via 2001:db8:5::1")
        self.router("ip addr add 2001:db8:5::1/64 dev eth0 nodad")
        self.router("ip addr add 2001:db8:7::fe/64 dev eth1 nodad")
        self.router("ip route add fd00:122::/64 via 2001:db8:5::5")
        self.server("ip addr add 2001:db8:7::7/64 dev eth0 nodad")
        self.server("ip route add default via 2001:db8:7::fe")
        for i, g in enumerate(self.guests):
            g.address6 = f"fd00:122::{i + 10:x}"
            g(f"ip addr add {g.address6}/64 dev eth0 nodad")
            g("ip route add default via fd00:122::1")
        self.server_address6 = "2001:db8:7::7"

    def close(self):
        for n in reversed(self.nodes):
            n.close()


def raw_send(node, dev, frame):
    """Sends one Ethernet frame out of a device, as any host on that link could."""
    s = node.socket(socket.AF_PACKET, socket.SOCK_RAW)
    s.bind((dev, 0))
    s.send(frame)
    s.close()


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ipv4(src, dst, proto, payload, ttl=64, ident=0, tos=0, df=True):
    head = struct.pack("!BBHHHBBH4s4s", 0x45, tos, 20 + len(payload), ident, 0x4000 if df else 0, ttl, proto, 0,
                       socket.inet_aton(src), socket.inet_aton(dst))
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload


def tcp_segment(src, sport, dst, dport, seq, ack, flags, window=0, payload=b"", **ip):
    seg = struct.pack("!HHIIBBHHH", sport, dport, seq & 0xFFFFFFFF, ack & 0xFFFFFFFF, 0x50, flags, window, 0, 0) + payload
    pseudo = socket.inet_aton(src) + socket.inet_aton(dst) + struct.pack("!BBH", 0, 6, len(seg))
    seg = seg[:16] + struct.pack("!H", checksum(pseudo + seg)) + seg[18:]
    return ipv4(src, dst, 6, seg, **ip)


def raw_ip(node, packet):
    """Sends a ready IPv4 packet by the node's own routing, with the header as it is."""
    s = node.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    s.sendto(packet, (socket.inet_ntoa(packet[16:20]), 0))
    s.close()


def until(test, timeout=5, every=0.02):
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        if test():
            return True
        time.sleep(every)
    return False
