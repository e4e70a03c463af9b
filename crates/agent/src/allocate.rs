//! What a definition leaves open and this host fills in: machine type, UUID, MAC addresses, tap names. Main type:
//! [`Allocator`].

use domain::{FirmwareChoice, FirmwareRequest, Freezer, MacAddress};
use qemu::capabilities::Capabilities;
use qemu::firmware::Descriptions;
use uuid::Uuid;

/// Fills a definition in when it is frozen, from what this host's QEMU has.
pub(crate) struct Allocator<'a> {
    pub(crate) capabilities: &'a Capabilities,
    pub(crate) firmware: Descriptions,
    /// Of the next interface that has none here and has one elsewhere; the others get fresh ones.
    pub(crate) mac: Option<MacAddress>,
}

impl Freezer for Allocator<'_> {
    fn machine(&mut self, name: &str) -> Option<String> {
        self.capabilities.resolve_machine(name).map(str::to_owned)
    }

    fn firmware(&mut self, wanted: &FirmwareRequest<'_>) -> Option<FirmwareChoice> {
        self.firmware.choose(wanted)
    }

    fn uuid(&mut self) -> Uuid {
        Uuid::new_v4()
    }

    fn mac(&mut self) -> MacAddress {
        if let Some(mac) = self.mac.take() {
            return mac;
        }
        // 52:54:00 is the prefix that QEMU's own default and libvirt use.
        let random = Uuid::new_v4().into_bytes();
        MacAddress([0x52, 0x54, 0x00, random[0], random[1], random[2]])
    }
}

/// The tap of a domain's interface. The same on every host, within the kernel's 15 bytes; all of the UUID counts, since
/// people make UUIDs up.
pub(crate) fn tap_name(domain: Uuid, interface: usize) -> String {
    let folded = domain.as_u128().to_be_bytes().chunks(4).fold([0; 4], |mut folded: [u8; 4], part| {
        folded.iter_mut().zip(part).for_each(|(byte, other)| *byte ^= other);
        folded
    });
    format!("tap{:08x}-{interface}", u32::from_be_bytes(folded))
}

#[cfg(test)]
mod tests {
    use super::tap_name;
    use uuid::Uuid;

    #[test]
    fn tap_names_fit_the_kernel() {
        assert_eq!(tap_name(Uuid::from_u128(0xabcd_ef01 << 96), 0), "tapabcdef01-0");
        assert_ne!(tap_name(Uuid::from_u128(1), 0), tap_name(Uuid::from_u128(2), 0));
        assert!(tap_name(Uuid::max(), 99).len() <= network::LINK_NAME_BYTES_MAX);
    }
}
