"""Attacks over sockets: the network, services of this machine, and families of sockets that lead past both."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import socket
import struct
import time

from isolation.attack_tools import Bait, Refused, text_of

SECONDS = 1.0
"""How long a connection may take; all of them are on this machine."""


def tcp_connect(bait: Bait) -> str:
    """Send the data away; use a service that listens on this machine only."""
    return _say(bait, socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", bait["tcp_port"]))


def tcp_connect_ipv6(bait: Bait) -> str:
    """The same over IPv6."""
    return _say(bait, socket.AF_INET6, socket.SOCK_STREAM, ("::1", bait["tcp6_port"]))


def tcp_connect_by_address(bait: Bait) -> str:
    """The same through the machine's address in the network."""
    return _say(bait, socket.AF_INET, socket.SOCK_STREAM, (bait["address"], bait["tcp_port"]))


def mptcp_connect(bait: Bait) -> str:
    """The same over multipath TCP, which a filter for TCP may not know."""
    return _say(bait, socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", bait["tcp_port"]), 262)


def tcp_fast_open(bait: Bait) -> str:
    """The same without connect(): data in the first packet."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as client:
        client.settimeout(SECONDS)
        client.sendto(bait["canary"].encode(), socket.MSG_FASTOPEN, ("127.0.0.1", bait["tcp_port"]))
    return "sent"


def udp_send(bait: Bait) -> str:
    """Send the data away in packets."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.sendto(bait["canary"].encode(), ("127.0.0.1", bait["udp_port"]))
    return ""  # a packet that is lost on the way says nothing here; the host sees whether it came


def dns_query(bait: Bait) -> str:
    """Send the data away as a name that is looked up."""
    question = struct.pack(">6H", 7, 0x0100, 1, 0, 0, 0)
    for label in (bait["canary"], "example"):
        question += bytes([len(label)]) + label.encode()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(SECONDS)
        client.connect(("127.0.0.1", bait["udp_port"]))
        client.send(question + b"\0\0\x01\0\x01")
        return f"answered: {client.recv(512)!r}"


def name_lookup(bait: Bait) -> str:
    """The same with the system's own resolver."""
    try:
        return f"it is {socket.getaddrinfo('localhost', 80)[0][4][0]}" if _outward(bait) else ""
    except socket.gaierror as error:
        raise Refused(str(error)) from None


def listen_for_host(bait: Bait) -> str:
    """Offer a service on this machine, e.g. a false Jupyter."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("0.0.0.0", bait["free_port"]))
        server.listen()
        server.settimeout(SECONDS)
        server.accept()  # the host knocks at this port again and again
    return "the host came"


def abstract_unix_socket(bait: Bait) -> str:
    """Use a service that listens on a name, e.g. a desktop's message bus."""
    return _say(bait, socket.AF_UNIX, socket.SOCK_STREAM, "\0" + bait["abstract_name"])


def abstract_unix_packet(bait: Bait) -> str:
    """The same in packets."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
        client.sendto(bait["canary"].encode(), "\0" + bait["abstract_name"] + "-packets")
    return "sent"


def pathname_unix_socket(bait: Bait) -> str:
    """Use a service that listens on a file, e.g. docker.sock, which is as good as being root."""
    return _say(bait, socket.AF_UNIX, socket.SOCK_STREAM, bait["socket_path"])


def pathname_unix_packet(bait: Bait) -> str:
    """The same in packets, e.g. the system's log."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
        client.sendto(bait["canary"].encode(), bait["packet_path"])
    return "sent"


def pathname_unix_packet_by_pair(bait: Bait) -> str:
    """The same with one end of a pair of sockets, which is made by another call."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs:
        ours.sendto(bait["canary"].encode(), bait["packet_path"])
    return "sent"


def pathname_unix_seqpacket(bait: Bait) -> str:
    """The same with ordered packets."""
    return _say(bait, socket.AF_UNIX, socket.SOCK_SEQPACKET, bait["ordered_path"])


def unix_socket_by_symlink(bait: Bait) -> str:
    """The same through a link in the workspace."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink("socket-link")
    os.symlink(bait["socket_path"], "socket-link")
    return _say(bait, socket.AF_UNIX, socket.SOCK_STREAM, "socket-link")


def vsock(bait: Bait) -> str:
    """Talk to the machine that this virtual machine runs on."""
    with socket.socket(40, socket.SOCK_STREAM):
        return "a vsock socket was made"


def see_host_sockets(bait: Bait) -> str:
    """See what listens on this machine (netlink)."""
    port = bait["tcp_port"]
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 4) as netlink:  # NETLINK_SOCK_DIAG
        netlink.settimeout(SECONDS)
        request = struct.pack("=BBBxI48x", socket.AF_INET, socket.IPPROTO_TCP, 0, 0xFFFFFFFF)
        netlink.send(struct.pack("=IHHII", 16 + len(request), 20, 0x301, 1, 0) + request)
        found, said = b"", b"."
        while said and struct.unpack_from("=H", said + b"\3\0" * 3, 4)[0] != 3:  # until NLMSG_DONE
            said = netlink.recv(65536)
            found += said
    return f"saw port {port}" if struct.pack(">H", port) in found else ""


def see_host_interfaces(bait: Bait) -> str:
    """Learn in which networks this machine is."""
    names = [name for _, name in socket.if_nameindex() if name != "lo"]
    return " ".join(names)


def see_host_ports(bait: Bait) -> str:
    """See what listens on this machine (/proc/net)."""
    return f"saw port {bait['tcp_port']}" if re.search(f":{bait['tcp_port']:04X} ", text_of("/proc/net/tcp")) else ""


def see_host_unix_sockets(bait: Bait) -> str:
    """See which sockets there are to attack."""
    return f"saw {bait['abstract_name']}" if bait["abstract_name"] in text_of("/proc/net/unix") else ""


def hear_kernel_events(bait: Bait) -> str:
    """Hear of every process of the machine, or of its devices (netlink connector, uevent)."""
    heard = []
    for protocol in (11, 15):  # NETLINK_CONNECTOR, NETLINK_KOBJECT_UEVENT
        with contextlib.suppress(OSError), socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, protocol) as netlink:
            netlink.bind((0, 1))
            heard.append(str(protocol))
    return f"joined groups of netlink {' '.join(heard)}" if heard and _outward(bait) else ""


def raw_socket(bait: Bait) -> str:
    """Write packets with any sender."""
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP):
        return "a raw socket was made"


def packet_socket(bait: Bait) -> str:
    """Read all traffic of this machine."""
    with socket.socket(17, socket.SOCK_RAW, socket.htons(3)):
        return "a packet socket was made"


def rare_families(bait: Bait) -> str:
    """Reach parts of the kernel that hardly anybody uses or tests: most ways to root began there."""
    usual = {0, 1, 2, 10, 16, 17, 40}
    made = []
    for family in set(range(46)) - usual:
        for kind in (socket.SOCK_DGRAM, socket.SOCK_RAW, socket.SOCK_SEQPACKET, socket.SOCK_STREAM):
            try:
                socket.socket(family, kind).close()
            except OSError as error:
                # These say that the family itself was refused or is not in this kernel; others that it is there.
                if error.errno in (errno.EAFNOSUPPORT, errno.EPERM, errno.EACCES, errno.ENOSYS):
                    continue
                if error.errno in (errno.ESOCKTNOSUPPORT, errno.EPROTONOSUPPORT):
                    made.append(f"{family}?")
                    continue
                raise
            made.append(str(family))
    return "families " + " ".join(dict.fromkeys(made)) if made else ""


def _say(bait: Bait, family: int, kind: int, address: object, protocol: int = 0) -> str:
    with socket.socket(family, kind, protocol) as client:
        client.settimeout(SECONDS)
        client.connect(address)  # type: ignore[arg-type]  # of whichever family
        client.sendall(bait["canary"].encode())
        time.sleep(0.05)
    return f"connected to {address!r}"


def _outward(bait: Bait) -> bool:
    """True when the interfaces that are seen are the host's: in an empty network a lookup or a group leads nowhere."""
    return any(name != "lo" for _, name in socket.if_nameindex())
