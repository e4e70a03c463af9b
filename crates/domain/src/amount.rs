//! Amounts of memory as libvirt writes them, with a unit beside the number. It never knows what the memory is for.

use crate::domain::Bytes;
use crate::limits::MEMORY_BYTES_MAX;
use crate::reader::{Node, Reader, text, whole};

impl<'a> Reader<'a> {
    /// An amount of memory with libvirt's units: KiB where none is written; `K`, `KiB` and their like count in 1024,
    /// `KB` and its like in 1000.
    pub(crate) fn amount(&mut self, node: Node<'a>) -> Option<u64> {
        self.amount_of(node, &text(node))
    }

    /// As [`amount`](Reader::amount), of a number that stands elsewhere than in the element's text.
    pub(crate) fn amount_of(&mut self, node: Node<'a>, number: &str) -> Option<u64> {
        let unit = node.attribute("unit").unwrap_or("KiB");
        let Some(scale) = scale(unit) else {
            let message = format!("`{unit}` is not a unit of memory");
            self.refuse_attribute(node, "unit", message, "write bytes, KiB, MiB, GiB or TiB");
            return None;
        };
        let digits = number.trim();
        let number = if digits.bytes().all(|digit| digit.is_ascii_digit()) { whole(digits) } else { None };
        let bytes = number
            .and_then(|number| number.checked_mul(scale))
            .filter(|it| (1..=MEMORY_BYTES_MAX).contains(it));
        if bytes.is_none() {
            let message = format!("`{digits}` {unit} is not an amount of memory that a guest can have");
            self.refuse(node, message, format!("write a whole number, at most {}", Bytes(MEMORY_BYTES_MAX)));
        }
        bytes
    }

    /// An amount in whole MiB, as QEMU takes it; another is refused.
    pub(crate) fn whole_mib(&mut self, node: Node<'a>) -> Option<Bytes> {
        let bytes = self.amount(node)?;
        if bytes % (1 << 20) != 0 {
            self.refuse(node, format!("{} is not a whole number of MiB", Bytes(bytes)), "write whole MiB");
            return None;
        }
        Some(Bytes(bytes))
    }
}

/// What a unit of memory stands for, in bytes.
pub(crate) fn scale(unit: &str) -> Option<u64> {
    let lower = unit.to_ascii_lowercase();
    if matches!(lower.as_str(), "b" | "byte" | "bytes") {
        return Some(1);
    }
    let mut letters = lower.chars();
    let power = 1 + "kmgtpe".find(letters.next()?)?;
    let base: u64 = match letters.as_str() {
        "" | "ib" => 1024,
        "b" => 1000,
        _ => return None,
    };
    base.checked_pow(u32::try_from(power).ok()?)
}
