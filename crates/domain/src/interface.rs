//! `<interface>`: a virtio network card behind a bridge. It never makes a tap.

use std::fmt;
use std::str::FromStr;

use crate::address::PciAddress;
use crate::word::words;

/// `<interface type='bridge'>` (QEMU's `virtio-net-pci` on a tap).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// `<source bridge=…>`: a bridge on the host.
    pub bridge: String,
    /// `<mac address=…>`.
    pub mac: Option<MacAddress>,
    /// `<model type=…>`.
    pub model: InterfaceModel,
    /// `<target dev=…>`: the tap's name on the host. None also for `vnet0` and its like, which libvirt makes up anew
    /// at each start.
    pub target: Option<String>,
    /// `<mtu size=…>`, in bytes: QEMU's `host_mtu`, and the tap's.
    pub mtu: Option<u32>,
    /// `<link state=…>`: whether the guest sees a cable; up where not written.
    pub link_up: bool,
    /// `<boot order=…>`, from 1.
    pub boot_order: Option<u32>,
    /// `<address type='pci'>`.
    pub address: Option<PciAddress>,
}

words! {
    /// What the guest sees as its network card.
    pub enum InterfaceModel {
        /// virtio-net on PCI.
        Virtio = "virtio",
    }
}

/// An Ethernet address. Its text is six bytes in lower-case hexadecimal with colons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacAddress(pub [u8; 6]);

impl MacAddress {
    /// Whether it names a group, which no card may have as its own address.
    pub fn is_multicast(self) -> bool {
        self.0[0] & 1 == 1
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, f] = self.0;
        write!(formatter, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
    }
}

/// A text that is not a MAC address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a MAC address: six bytes in hexadecimal with colons, like 52:54:00:12:34:56")]
pub struct MacAddressError {
    /// What was given.
    pub text: String,
}

impl FromStr for MacAddress {
    type Err = MacAddressError;

    fn from_str(text: &str) -> Result<MacAddress, MacAddressError> {
        let error = || MacAddressError { text: text.to_owned() };
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().ok_or_else(error)?;
            if part.is_empty() || part.len() > 2 || !part.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err(error());
            }
            *byte = u8::from_str_radix(part, 16).map_err(|_| error())?;
        }
        if parts.next().is_some() {
            return Err(error());
        }
        Ok(MacAddress(bytes))
    }
}
