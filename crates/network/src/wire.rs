//! Netlink messages in a record, for whoever must undo a change after the process that made it is gone: their bytes in
//! hexadecimal, so that nothing that the kernel said is lost. Main functions: [`serialize`], [`deserialize`], as serde
//! wants them of a module.

use rtnetlink::packet_core::{Emitable, Parseable};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serializer};

pub(crate) fn serialize<S: Serializer>(message: &impl Emitable, serializer: S) -> Result<S::Ok, S::Error> {
    let mut bytes = vec![0; message.buffer_len()];
    message.emit(&mut bytes);
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    serializer.serialize_str(&text)
}

pub(crate) fn deserialize<'a, M: Parseable<[u8]>, D: Deserializer<'a>>(
    deserializer: D,
) -> Result<M, D::Error> {
    let text = String::deserialize(deserializer)?;
    let digits: Option<Vec<u32>> = text.chars().map(|digit| digit.to_digit(16)).collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0);
    let digits = digits.ok_or_else(|| D::Error::custom("this is no hexadecimal"))?;
    let pair = |pair: &[u32]| u8::try_from(pair[0] << 4 | pair[1]).expect("two digits of four bits");
    let bytes: Vec<u8> = digits.chunks_exact(2).map(pair).collect();
    M::parse(&bytes).map_err(D::Error::custom)
}
