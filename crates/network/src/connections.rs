//! Connections that other machines have with this one, from proc_pid_net(5), `tcp` and `tcp6`. Main type:
//! [`Connection`].

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The state of an established connection in the kernel's table (`TCP_ESTABLISHED` of net/tcp_states.h).
const ESTABLISHED: &str = "01";

/// An established TCP connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connection {
    /// This host's end.
    pub here: SocketAddr,
    /// The other end.
    pub there: SocketAddr,
}

/// The established TCP connections in the network namespace of this thread.
///
/// # Errors
/// When the kernel's files cannot be read.
pub fn connections() -> io::Result<Vec<Connection>> {
    let mut all = parse(&std::fs::read_to_string("/proc/thread-self/net/tcp")?);
    match std::fs::read_to_string("/proc/thread-self/net/tcp6") {
        Ok(text) => all.extend(parse(&text)),
        // A kernel without IPv6.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    Ok(all)
}

/// A line of headings, then lines that begin `  0: 0100007F:0277 00000000:0000 0A `: number, here, there, state.
fn parse(table: &str) -> Vec<Connection> {
    let line = |line: &str| {
        let mut words = line.split_ascii_whitespace().skip(1);
        let (here, there) = (end(words.next()?)?, end(words.next()?)?);
        (words.next()? == ESTABLISHED).then_some(Connection { here, there })
    };
    table.lines().skip(1).filter_map(line).collect()
}

/// `ADDRESS:PORT`, the address as words of 32 bits in the machine's order, the port as a number.
fn end(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let mut bytes = Vec::new();
    for word in 0..address.len() / 8 {
        let word = u32::from_str_radix(address.get(word * 8..word * 8 + 8)?, 16).ok()?;
        bytes.extend(word.to_ne_bytes());
    }
    let ip = match <[u8; 4]>::try_from(bytes.as_slice()) {
        Ok(four) => IpAddr::V4(Ipv4Addr::from(four)),
        Err(_) => Ipv6Addr::from(<[u8; 16]>::try_from(bytes.as_slice()).ok()?).to_canonical(),
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn only_established_connections_of_both_families() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue\n   \
            0: 0100007F:0277 00000000:0000 0A 00000000:00000000\n   \
            1: 010200C0:0016 070200C0:C822 01 00000000:00000000\n   \
            2: 0000000000000000FFFF0000010200C0:0016 0000000000000000FFFF0000080200C0:C823 01 00000000\n   \
            3: B80D0120000000000000000001000000:0016 B80D0120000000000000000002000000:D431 01 00000000\n\
            torn";
        let found: Vec<String> = parse(table).iter().map(|it| format!("{} {}", it.here, it.there)).collect();
        assert_eq!(
            found,
            [
                "192.0.2.1:22 192.0.2.7:51234",
                "192.0.2.1:22 192.0.2.8:51235",
                "[2001:db8::1]:22 [2001:db8::2]:54321"
            ]
        );
    }
}
