"""Traffic between the guests and the server: TCP, UDP, QUIC, ICMP echo, DNS-like.

Both ends live in this process (each socket in its own namespace), so a case can be told step by step: send here, wait for
it there, let the fault happen, send again. Payload comes from the run's seeded generator.
"""
import asyncio
import socket
import ssl
import struct
import threading
import time

from .net import checksum

SO_LINGER_ABORT = struct.pack("ii", 1, 0)


def background(function, *args):
    t = threading.Thread(target=_quiet, args=(function, *args), daemon=True)
    t.start()
    return t


def _quiet(function, *args):
    try:
        function(*args)
    except OSError:
        pass    # the fault of the case ended this traffic


class Tcp:
    """One connection. c is the client's socket, s the server's. inbound=True: the outer side connects to a forwarded port."""

    def __init__(self, run, port=443, guest=None, address=None, sport=0, inbound=False, mss=None, ipv6=False, rcvbuf=None, cc="reno", timeout=5):
        net = run.net
        self.run, guest = run, guest or net.guest
        client, server = (net.server, guest) if inbound else (guest, net.server)
        family = socket.AF_INET6 if ipv6 else socket.AF_INET
        if ipv6:
            address = net.server_address6
        elif inbound:
            address = net.outside_address
        else:
            address = address or net.server_address
        key = (server.ns, port, family, rcvbuf, mss)
        listeners = run.__dict__.setdefault("listeners", {})
        if key not in listeners:
            l = server.socket(family, socket.SOCK_STREAM)
            l.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            l.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, cc.encode())
            if rcvbuf:
                l.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
            l.bind(("::" if ipv6 else "0.0.0.0", port))
            l.listen(64)
            l.settimeout(timeout)
            listeners[key] = l
            run.closers.append(l.close)
        self.c = client.socket(family, socket.SOCK_STREAM)
        self.c.settimeout(timeout)
        self.c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.c.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, cc.encode())
        if mss:
            self.c.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, mss)
        if sport:
            self.c.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.c.bind(("" if not ipv6 else "::", sport))
        self.c.connect((address, port))
        self.s, _ = listeners[key].accept()
        self.s.settimeout(timeout)
        self.s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.guest_side, self.far_side = (self.s, self.c) if inbound else (self.c, self.s)

    def send(self, sock, n):
        sock.sendall(self.run.random.randbytes(n))

    def receive(self, sock, n):
        """True if n bytes arrive in time."""
        try:
            while n > 0:
                got = len(sock.recv(min(n, 65536)))
                if not got:
                    return False
                n -= got
            return True
        except OSError:
            return False

    def up(self, n):
        """The guest sends n bytes and they arrive."""
        self.send(self.guest_side, n)
        return self.receive(self.far_side, n)

    def down(self, n):
        self.send(self.far_side, n)
        return self.receive(self.guest_side, n)

    def exchange(self, request=120, response=800, times=1, pause=0.0):
        for _ in range(times):
            if not (self.up(request) and self.down(response)):
                return False
            time.sleep(pause)
        return True

    def talk(self, pause=0.1, request=120, response=800):
        """Request and response, again and again in the background, until one end fails."""
        return background(self._talk, pause, request, response)

    def _talk(self, pause, request, response):
        while self.exchange(request, response):
            time.sleep(pause)

    def bulk(self, sender, total, rate=0, chunk=8192):
        """Sends total bytes in the background at about rate bytes per second; the other end reads them."""
        receiver = self.s if sender is self.c else self.c
        background(self._drain, receiver)
        return background(self._pour, sender, total, rate, chunk)

    def _pour(self, sock, total, rate, chunk):
        start, sent = time.monotonic(), 0
        while sent < total:
            n = min(chunk, total - sent)
            self.send(sock, n)
            sent += n
            if rate:
                time.sleep(max(0, start + sent / rate - time.monotonic()))

    def _drain(self, sock):
        sock.settimeout(None)
        while sock.recv(65536):
            pass

    def abort(self, sock):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, SO_LINGER_ABORT)
        sock.close()

    def finish(self):
        """An orderly end, client first."""
        self.c.shutdown(socket.SHUT_WR)
        time.sleep(0.01)
        self.s.close()
        time.sleep(0.01)
        self.c.close()

    def release(self):
        self.c.close()
        self.s.close()


TCP_REPAIR, TCP_REPAIR_QUEUE, TCP_QUEUE_SEQ, RECV_QUEUE, SEND_QUEUE, REPAIR_OFF_SILENTLY = 19, 20, 21, 1, 2, -1


def numbers(sock):
    """(next sequence number to send, next one expected) of a live socket; nothing is sent for it."""
    found = []
    sock.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
    for queue in (SEND_QUEUE, RECV_QUEUE):
        sock.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR_QUEUE, queue)
        found.append(sock.getsockopt(socket.IPPROTO_TCP, TCP_QUEUE_SEQ) & 0xFFFFFFFF)
    sock.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, REPAIR_OFF_SILENTLY)
    return tuple(found)


def forget(sock):
    """The socket disappears and its peer is told nothing, as after a power cut."""
    sock.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
    sock.close()


def was_reset(sock):
    """Whether this end was told of a reset."""
    try:
        sock.settimeout(0.5)
        sock.recv(1)
        return False
    except ConnectionResetError:
        return True
    except OSError:
        return False


class Udp:
    """A guest's connected UDP socket and the server's; the server answers to wherever the last datagram came from."""

    def __init__(self, run, port=7844, guest=None, address=None, sport=0, connected=True):
        net = run.net
        self.run, self.peer = run, None
        servers = run.__dict__.setdefault("udp_servers", {})
        if port not in servers:
            servers[port] = net.server.socket(socket.AF_INET, socket.SOCK_DGRAM)
            servers[port].bind((address or net.server_address, port))
            servers[port].settimeout(1)
            run.closers.append(servers[port].close)
        self.s = servers[port]
        self.c = (guest or net.guest).socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.c.settimeout(1)
        if sport:
            self.c.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.c.bind(("", sport))
        self.c.connect((address or net.server_address, port))

    def up(self, n=200):
        self.c.send(self.run.random.randbytes(n))
        try:
            _, self.peer = self.s.recvfrom(65536)
            return True
        except OSError:
            return False

    def down(self, n=200):
        self.s.sendto(self.run.random.randbytes(n), self.peer)
        try:
            self.c.recv(65536)
            return True
        except OSError:
            return False

    def exchange(self, request=150, response=300, times=1, pause=0.0):
        return all([self.up(request) and (self.down(response), time.sleep(pause))[0] for _ in range(times)])

    def flood(self, sock, sizes, rate, seconds):
        """Datagrams of the given sizes at a rate per second, one way and unread; returns how many were sent."""
        start, n = time.monotonic(), 0
        while (now := time.monotonic() - start) < seconds:
            while n < now * rate:
                data = struct.pack("!I", n) + self.run.random.randbytes(self.run.random.choice(sizes) - 4)
                if sock is self.c:
                    self.c.send(data)
                else:
                    self.s.sendto(data, self.peer)
                n += 1
            time.sleep(0.002)
        return n

    def release(self):
        self.c.close()


class Echo:
    """ICMP echo from a raw socket: echo(0..n), counted."""

    def __init__(self, node, address, ident):
        self.sock = node.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        self.sock.connect((address, 0))
        self.sock.settimeout(0)
        self.ident, self.sent, self.answered = ident, 0, 0

    def send(self, size=56):
        self.sent += 1
        head = struct.pack("!BBHHH", 8, 0, 0, self.ident, self.sent)
        body = bytes(i & 255 for i in range(size))
        self.sock.send(head[:2] + struct.pack("!H", checksum(head + body)) + head[4:] + body)

    def collect(self):
        try:
            while data := self.sock.recv(65536):
                if data[20] == 0 and struct.unpack("!H", data[24:26])[0] == self.ident:
                    self.answered += 1
        except OSError:
            pass

    def train(self, count, rate, size=56):
        start = time.monotonic()
        for i in range(count):
            time.sleep(max(0, start + i / rate - time.monotonic()))
            self.send(size)
            self.collect()
        time.sleep(0.2)
        self.collect()


def dns_query(ident, name, kind=1):
    labels = b"".join(bytes([len(p)]) + p.encode() for p in name.split("."))
    return struct.pack("!HHHHHH", ident, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!HH", kind, 1)


def dns_answer(query, address):
    return (query[:2] + struct.pack("!HHHHH", 0x8180, 1, 1, 0, 0) + query[12:] +
            b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 300, 4) + socket.inet_aton(address))


def serve_udp(run, node, port, answer):
    """answer(data) -> reply or None, for each datagram, until the run ends."""
    sock = node.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("", port))
    run.closers.append(lambda: (sock.shutdown(socket.SHUT_RDWR), sock.close()))

    def loop():
        while True:
            data, peer = sock.recvfrom(65536)
            if peer is None:    # closed at the end of the run
                return
            if (reply := answer(data)) is not None:
                sock.sendto(reply, peer)
    return background(loop)


class Quic:
    """A real QUIC connection (aioquic) from the guest to the server, each end with its own event loop in its own namespace.

    up(n) and down(n) send n bytes on a stream and tell whether they arrived within `timeout`; push(n) only sends.
    """

    def __init__(self, run, port=443, guest=None, idle_timeout=60.0, sport=0):
        from aioquic.asyncio import serve
        from aioquic.asyncio.protocol import QuicConnectionProtocol
        from aioquic.quic.configuration import QuicConfiguration
        from aioquic.quic.connection import QuicConnection
        from aioquic.quic import events
        self.run, self.got, self.tasks = run, {"c": 0, "s": 0}, {}
        net, outer = run.net, self
        certificate, key = _certificate()

        class End(QuicConnectionProtocol):
            side = "s"

            def quic_event_received(self, event):
                if isinstance(event, events.StreamDataReceived):
                    outer.got[self.side] += len(event.data)
                elif isinstance(event, events.HandshakeCompleted):
                    setattr(outer, self.side, self)
                    ready[self.side].set()

        class Client(End):
            side = "c"

        ready = {"c": threading.Event(), "s": threading.Event()}
        self.loops = {}

        async def server():
            config = QuicConfiguration(is_client=False, alpn_protocols=["lab"], idle_timeout=idle_timeout)
            config.certificate, config.private_key = certificate, key
            return await serve(net.server_address, port, configuration=config, create_protocol=End)

        async def client():
            config = QuicConfiguration(is_client=True, alpn_protocols=["lab"], idle_timeout=idle_timeout, verify_mode=ssl.CERT_NONE, server_name="lab.example")
            loop = asyncio.get_running_loop()
            connection = QuicConnection(configuration=config)
            _, protocol = await loop.create_datagram_endpoint(lambda: Client(connection), local_addr=("0.0.0.0", sport))
            protocol.connect((net.server_address, port))
            return protocol

        def live(side, node, start):
            with node:
                loop = self.loops[side] = asyncio.new_event_loop()
                loop.set_exception_handler(lambda *_: None)
                try:
                    self.tasks[side] = loop.run_until_complete(start())
                    up[side].set()
                    loop.run_forever()
                finally:
                    loop.close()
        up = {"c": threading.Event(), "s": threading.Event()}
        for side, node, start in (("s", net.server, server), ("c", guest or net.guest, client)):
            background(live, side, node, start)
            if not up[side].wait(5):
                raise RuntimeError("QUIC end did not start")
        if not (ready["c"].wait(5) and ready["s"].wait(5)):
            raise RuntimeError("QUIC handshake did not end")
        self.streams = {"c": 0, "s": 1}

    def push(self, side, n):
        end, data = getattr(self, side), self.run.random.randbytes(n)

        def send():
            end._quic.send_stream_data(self.streams[side], data)
            end.transmit()
        self.loops[side].call_soon_threadsafe(send)

    def _move(self, side, other, n, timeout):
        want = self.got[other] + n
        self.push(side, n)
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            if self.got[other] >= want:
                return True
            time.sleep(0.005)
        return False

    def up(self, n=300, timeout=2):
        return self._move("c", "s", n, timeout)

    def down(self, n=300, timeout=2):
        return self._move("s", "c", n, timeout)

    def close(self):
        self.loops["c"].call_soon_threadsafe(self.c.close)
        time.sleep(0.3)

    def release(self):
        for side, loop in self.loops.items():
            def stop(loop=loop, side=side):
                transport = getattr(getattr(self, side, None), "_transport", None)
                if transport:
                    transport.close()
                loop.call_soon(loop.stop)
            if not loop.is_closed():
                loop.call_soon_threadsafe(stop)
        time.sleep(0.1)


def _certificate():
    """A fresh self-signed certificate, for this run only."""
    import datetime
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "lab.example")])
    now = datetime.datetime.now(datetime.timezone.utc)
    cert = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
            .not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=1))
            .sign(key, hashes.SHA256()))
    return cert, key
