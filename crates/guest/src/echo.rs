//! ICMP echo (RFC 792) on a raw socket: [`EchoSocket`] sends numbered requests and reads the numbers of the answers,
//! [`Losses`] keeps count. Needs the right to open raw sockets (root). Nothing here sleeps or starts a thread.
//!
//! ```text
//! 8 or 0 | 0 | checksum | id | number mod 2^16 | number, 8 bytes big-endian
//! type    code  2 bytes  2 B   2 bytes           payload
//! ```

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, ipproto, sockopt};

const REQUEST: u8 = 8;
const REPLY: u8 = 0;
const ECHO_BYTES: usize = 16;
/// Room for the longest IPv4 header and our packet; a longer packet is not ours.
const PACKET_BYTES: usize = 60 + ECHO_BYTES;

/// What came in on an [`EchoSocket`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// The answer to our request of this number.
    Answer(u64),
    /// Somebody else's numbered request, which the kernel answers.
    Request(u64),
}

/// A raw ICMP socket in the network namespace of the thread that opened it.
#[derive(Debug)]
pub struct EchoSocket {
    socket: OwnedFd,
    id: u16,
}

impl EchoSocket {
    /// Opens a socket whose requests carry `id`; two sockets in one namespace need two ids.
    ///
    /// # Errors
    /// `EPERM` without the right to open raw sockets.
    pub fn open(id: u16) -> io::Result<EchoSocket> {
        let socket = rustix::net::socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::ICMP))?;
        Ok(EchoSocket { socket, id })
    }

    /// From now on hears `peer` alone.
    ///
    /// # Errors
    /// What `connect(2)` says.
    pub fn only(self, from: Ipv4Addr) -> io::Result<EchoSocket> {
        rustix::net::connect(&self.socket, &SocketAddrV4::new(from, 0))?;
        Ok(self)
    }

    /// Sends request `number`.
    ///
    /// # Errors
    /// What `sendto(2)` says; a network that is away shows as `ENETUNREACH`, `EHOSTUNREACH` or `ENOBUFS`.
    pub fn send(&self, target: Ipv4Addr, number: u64) -> io::Result<()> {
        let packet = request(self.id, number);
        let address = SocketAddrV4::new(target, 0);
        rustix::net::sendto(&self.socket, &packet, SendFlags::DONTWAIT, &address)?;
        Ok(())
    }

    /// Waits for an echo packet of the form above, no longer than `within`; `None` when none came.
    ///
    /// # Errors
    /// What `recv(2)` says.
    pub fn receive(&self, within: Duration) -> io::Result<Option<Heard>> {
        let end = Instant::now() + within;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            sockopt::set_socket_timeout(&self.socket, sockopt::Timeout::Recv, Some(left))?;
            let mut packet = [0; PACKET_BYTES];
            match rustix::net::recv(&self.socket, &mut packet, RecvFlags::empty()) {
                Ok((filled, _)) => match heard(self.id, &packet[..filled.min(PACKET_BYTES)]) {
                    Some(heard) => return Ok(Some(heard)),
                    None => continue,
                },
                Err(rustix::io::Errno::AGAIN) => return Ok(None),
                // A soft error about an earlier send ("no route to host") is no reason to stop listening.
                Err(
                    rustix::io::Errno::INTR
                    | rustix::io::Errno::HOSTUNREACH
                    | rustix::io::Errno::NETUNREACH
                    | rustix::io::Errno::CONNREFUSED,
                ) => continue,
                Err(other) => return Err(other.into()),
            }
        }
    }
}

fn request(id: u16, number: u64) -> [u8; ECHO_BYTES] {
    let mut packet = [0; ECHO_BYTES];
    packet[0] = REQUEST;
    packet[4..6].copy_from_slice(&id.to_be_bytes());
    packet[6..8].copy_from_slice(&(number as u16).to_be_bytes());
    packet[8..16].copy_from_slice(&number.to_be_bytes());
    let sum = checksum(&packet);
    packet[2..4].copy_from_slice(&sum.to_be_bytes());
    packet
}

/// What an IPv4 packet holds: an answer to one of our requests, or a request that is not ours.
fn heard(id: u16, packet: &[u8]) -> Option<Heard> {
    let header = usize::from(packet.first()? & 0x0f) * 4;
    let echo: &[u8; ECHO_BYTES] = packet.get(header..)?.try_into().ok()?;
    if checksum(echo) != 0 {
        return None;
    }
    let ours = echo[4..6] == id.to_be_bytes();
    let number = u64::from_be_bytes(echo[8..16].try_into().expect("a slice of eight bytes"));
    match (echo[0], ours) {
        (REPLY, true) => Some(Heard::Answer(number)),
        (REQUEST, false) => Some(Heard::Request(number)),
        _ => None,
    }
}

/// The Internet checksum (RFC 1071) of an even number of bytes; 0 over a packet that holds its right checksum.
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 =
        bytes.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// Counts sent, answered and lost requests whose numbers go up by one from 0.
#[derive(Debug)]
pub struct Losses {
    lost_after: Duration,
    /// Requests from `first` on that are not settled, with the time they were sent and whether they were answered.
    waiting: VecDeque<(Instant, bool)>,
    first: u64,
    sent: u64,
    answered: u64,
    lost: u64,
    row: u64,
    row_max: u64,
}

impl Losses {
    /// Requests count as lost when they are older than `lost_after`.
    pub fn new(lost_after: Duration) -> Losses {
        Losses {
            lost_after,
            waiting: VecDeque::new(),
            first: 0,
            sent: 0,
            answered: 0,
            lost: 0,
            row: 0,
            row_max: 0,
        }
    }

    /// The number of the next request, which is sent now.
    pub fn sending(&mut self, now: Instant) -> u64 {
        self.waiting.push_back((now, false));
        self.sent += 1;
        self.sent - 1
    }

    /// Request `number` was answered. A second answer, or one that comes too late, changes nothing.
    pub fn answered_by(&mut self, number: u64) {
        let Some(place) = number.checked_sub(self.first) else { return };
        if let Some((_, answered)) = self.waiting.get_mut(place as usize) {
            *answered = true;
        }
    }

    /// Settles what is answered or too old.
    pub fn settle(&mut self, now: Instant) {
        while let Some((sent, answered)) = self.waiting.front().copied() {
            if !answered && now.saturating_duration_since(sent) < self.lost_after {
                return;
            }
            self.waiting.pop_front();
            self.first += 1;
            if answered {
                self.answered += 1;
                self.row = 0;
            } else {
                self.lost += 1;
                self.row += 1;
                self.row_max = self.row_max.max(self.row);
            }
        }
    }

    /// Sent, answered, lost, and the most lost in a row.
    pub fn counts(&self) -> (u64, u64, u64, u64) {
        (self.sent, self.answered, self.lost, self.row_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(kind: u8, id: u16, number: u64) -> Vec<u8> {
        let mut echo = request(id, number);
        echo[0] = kind;
        echo[2..4].fill(0);
        let sum = checksum(&echo);
        echo[2..4].copy_from_slice(&sum.to_be_bytes());
        let mut packet = vec![0x45];
        packet.resize(20, 0);
        packet.extend(echo);
        packet
    }

    fn check(packet: &[u8], expect: Option<Heard>) {
        assert_eq!(heard(7, packet), expect, "{packet:?}");
    }

    #[test]
    fn only_intact_answers_to_our_own_requests_and_requests_of_others_are_heard() {
        check(&packet(REPLY, 7, 70_000), Some(Heard::Answer(70_000)));
        check(&packet(REPLY, 8, 1), None);
        check(&packet(REQUEST, 8, 5), Some(Heard::Request(5)));
        check(&packet(REQUEST, 7, 5), None);
        check(&packet(REPLY, 7, 1)[..30], None);
        let mut damaged = packet(REPLY, 7, 1);
        damaged[30] ^= 1;
        check(&damaged, None);
        check(&[], None);
    }

    #[test]
    fn losses_are_counted_in_rows() {
        let start = Instant::now();
        let mut losses = Losses::new(Duration::from_secs(1));
        for number in 0..6 {
            assert_eq!(losses.sending(start), number);
        }
        for number in [0, 3, 3] {
            losses.answered_by(number);
        }
        losses.settle(start);
        assert_eq!(losses.counts(), (6, 1, 0, 0));
        losses.settle(start + Duration::from_secs(1));
        assert_eq!(losses.counts(), (6, 2, 4, 2));
        losses.answered_by(5);
        losses.settle(start + Duration::from_secs(9));
        assert_eq!(losses.counts(), (6, 2, 4, 2));
    }
}
