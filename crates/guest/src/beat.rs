//! A beat: a UDP packet that the guest sends every few milliseconds, so that whoever hears them can tell how long it was
//! silent and how much it worked. Main type: [`Beat`]. Nothing here sends.
//!
//! ```text
//! number: 8 bytes | pages changed: 8 bytes        (big-endian)
//! ```

use std::net::Ipv4Addr;

/// Bytes in a beat.
pub const BEAT_BYTES: usize = 16;
/// The port of a guest whose address ends in 0.
const PORT_FIRST: u16 = 7000;

/// One beat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Beat {
    /// Counts from 0 on since boot.
    pub number: u64,
    /// Pages that the guest has changed since boot.
    pub pages_changed: u64,
}

impl Beat {
    /// The packet.
    pub fn to_bytes(self) -> [u8; BEAT_BYTES] {
        let mut bytes = [0; BEAT_BYTES];
        bytes[..8].copy_from_slice(&self.number.to_be_bytes());
        bytes[8..].copy_from_slice(&self.pages_changed.to_be_bytes());
        bytes
    }

    /// Reads a packet; `None` when it is no beat.
    pub fn from_bytes(bytes: &[u8]) -> Option<Beat> {
        let bytes: &[u8; BEAT_BYTES] = bytes.try_into().ok()?;
        let (number, pages_changed) = bytes.split_at(8);
        Some(Beat {
            number: u64::from_be_bytes(number.try_into().ok()?),
            pages_changed: u64::from_be_bytes(pages_changed.try_into().ok()?),
        })
    }
}

/// The UDP port, on both ends, of a guest's beats: of its own, so that one client can hear several guests.
pub fn port(guest: Ipv4Addr) -> u16 {
    PORT_FIRST + u16::from(guest.octets()[3])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beat_survives_its_packet() {
        let beat = Beat { number: 7, pages_changed: u64::MAX };
        assert_eq!(Beat::from_bytes(&beat.to_bytes()), Some(beat));
        assert_eq!(Beat::from_bytes(&[0; 15]), None);
    }
}
